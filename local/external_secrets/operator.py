"""The operator's loop: an ExternalSecret is looked at when it or its Secret changes, or is due.

A sync writes the Secret first and then how it went, as the original does; one that failed is tried
again after a growing pause. Only `data` is served, without templates.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import urllib3

from local.cluster import StatusError, timestamps
from local.cluster.client import MERGE, ClusterClient
from local.cluster.reflector import Reflector
from local.cluster.resources import SECRETS, Json
from local.external_secrets import sync_rules
from local.external_secrets.provider import ProviderError
from local.external_secrets.sync_rules import EXTERNAL_SECRETS

log = logging.getLogger(__name__)

Read = Callable[[Mapping[str, str]], str]
Tell = Callable[[str], None]
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True)
class Sync:
    """A sync that has brought what the provider gave: of which object, and from when to when."""

    name: str
    began: datetime
    ended: datetime


def _silent(_text: str) -> None:
    """Say nothing."""


class SecretsOperator:
    """Syncs the ExternalSecrets of a namespace until `close`, while `may_sync` is set.

    `read` gives the value of a `remoteRef`, or raises ProviderError. A sync takes `seconds` longer
    than it has to, so that those who do not wait for it are found out. `syncs` are those that went
    well, oldest first.
    """

    def __init__(
        self,
        client: ClusterClient,
        namespace: str,
        read: Read,
        *,
        seconds: float = 0.0,
        tell: Tell = _silent,
    ) -> None:
        self.seconds = seconds
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncs: list[Sync] = []
        self._client, self._namespace, self._read, self._tell = client, namespace, read, tell
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._targets: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._worker = threading.Thread(target=self._work, name="external-secrets", daemon=True)
        self._worker.start()
        self._reflectors = [
            Reflector(client, EXTERNAL_SECRETS, namespace, self._on_external_secret),
            Reflector(client, SECRETS, namespace, self._on_secret),
        ]

    def close(self) -> None:
        """Stop; a sync that is held back is let go."""
        for reflector in self._reflectors:
            reflector.close()
        self._closed.set()
        self.may_sync.set()
        with self._changed:
            self._changed.notify()
        self._worker.join()

    def _on_external_secret(self, kind: str, found: Json) -> None:
        name = found["metadata"]["name"]
        if kind == "DELETED":
            self._targets.pop(name, None)
            return
        self._targets[name] = sync_rules.target_of(found)
        self._enqueue(name)

    def _on_secret(self, _kind: str, secret: Json) -> None:
        """Look at who fills it, if it is one that we have written."""
        metadata = secret["metadata"]
        if (metadata.get("labels") or {}).get(sync_rules.MANAGED) != "true":
            return
        for name, target in list(self._targets.items()):
            if target == metadata["name"]:
                self._enqueue(name)

    def _enqueue(self, name: str, seconds: float = 0.0) -> None:
        due = time.monotonic() + seconds
        with self._changed:
            self._due[name] = min(due, self._due.get(name, due))
            self._changed.notify()

    def _next(self) -> str | None:
        """Wait for an ExternalSecret that is due; None at the end."""
        with self._changed:
            while not self._closed.is_set():
                now = time.monotonic()
                for name in [name for name, due in self._due.items() if due <= now]:
                    del self._due[name]
                    return name
                self._changed.wait(min((due - now for due in self._due.values()), default=None))
        return None

    def _work(self) -> None:
        while name := self._next():
            try:
                again = self._reconcile(name)
            except (StatusError, urllib3.exceptions.HTTPError, ProviderError) as error:
                log.info("ExternalSecret %s is tried again: %s", name, error)
                again = min(2 * self._pauses.get(name, FIRST_PAUSE / 2), LONGEST_PAUSE)
                self._pauses[name] = again
            else:
                self._pauses.pop(name, None)
            if again is not None:
                self._enqueue(name, again)

    def _reconcile(self, name: str) -> float | None:
        """Look at one, and sync it if that is due; the seconds until the next look, None if never.

        Raises what made the sync fail, after the status says so.
        """
        began = timestamps.now()
        found = _found_or_none(lambda: self._client.get(EXTERNAL_SECRETS, self._namespace, name))
        if found is None:
            return None
        target = sync_rules.target_of(found)
        secret = _found_or_none(lambda: self._client.get(SECRETS, self._namespace, target))
        if sync_rules.should_refresh(found, began) or not sync_rules.is_secret_valid(secret):
            if not self._may_go_on(name):
                return None
            self._sync(found, secret, began)
        interval = sync_rules.interval_of(found).total_seconds()
        return interval if interval > 0 else None

    def _may_go_on(self, name: str) -> bool:
        """Take the time that a sync takes; False where it has ended meanwhile."""
        if self.seconds:
            self._tell(f"{name} is due; the sync takes {self.seconds:g} s")
        self._closed.wait(self.seconds)
        self.may_sync.wait()
        return not self._closed.is_set()

    def _sync(self, found: Json, secret: Json | None, began: datetime) -> None:
        name = found["metadata"]["name"]
        try:
            values = {
                one["secretKey"]: self._read(one["remoteRef"])
                for one in found["spec"].get("data") or []
            }
        except ProviderError:
            self._report_failure(found, "could not get secret data from provider")
            raise
        try:
            self._write(sync_rules.secret_of(found, values, secret), secret)
        except StatusError:
            self._report_failure(found, "could not update Secret")
            raise
        self.syncs.append(Sync(name, began, timestamps.now()))
        self._patch_status(name, sync_rules.done(found, began, timestamps.now()))
        self._tell(f"{name} has filled Secret {self._namespace}/{sync_rules.target_of(found)}")

    def _write(self, body: Json, existing: Json | None) -> None:
        """Write the Secret if nobody has since it was read."""
        if existing is None:
            self._client.create(SECRETS, self._namespace, body)
            return
        body["metadata"]["resourceVersion"] = existing["metadata"]["resourceVersion"]
        name = body["metadata"]["name"]
        self._client.patch(SECRETS, self._namespace, name, body, content_type=MERGE)

    def _report_failure(self, found: Json, message: str) -> None:
        name = found["metadata"]["name"]
        self._patch_status(name, sync_rules.failed(found, message, timestamps.now()))
        self._tell(f"{name}: {message}")

    def _patch_status(self, name: str, status: Json) -> None:
        self._client.patch(
            EXTERNAL_SECRETS,
            self._namespace,
            name,
            {"status": status},
            content_type=MERGE,
            subresource="status",
        )


def _found_or_none(get: Callable[[], Json]) -> Json | None:
    try:
        return get()
    except StatusError as error:
        if error.code != 404:
            raise
        return None
