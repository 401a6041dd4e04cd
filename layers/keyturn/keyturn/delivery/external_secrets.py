"""Have the External Secrets Operator deliver the promoted key, and wait for the proof.

The request is one annotation. A status alone proves nothing: `Ready` stays true from an earlier
sync, `syncedResourceVersion` returns to an earlier value if a controller removes the annotation,
and the operator may have read the old value.

The delivery is done when the operator has completed a sync that began in a later second than the
first request (`refreshTime` has whole seconds) and the Kubernetes Secret, read back, holds the
promoted key. Another sync is requested if the last one delivered the old value, if it began in the
second of the first request and so proves nothing, and if none begins: the response to a request may
have been lost.

Source: external-secrets, `externalsecret_controller.go` (`shouldRefresh`, `markAsDone`).
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from keyturn import errors
from keyturn.delivery.kubernetes_secret import SecretContent, TargetSecret, location_of
from keyturn.delivery.strategy import KeyLocation, PromotedKey
from keyturn.run import polling
from keyturn.run.ledger import DeliverKeyEntry
from keyturn.run.times import format_timestamp, parse_timestamp

SYNC_LIMIT = polling.SYNC_LIMIT
ANSWER_LIMIT = timedelta(minutes=1)


@dataclass(frozen=True)
class ExternalSecret:
    """The relevant fields of an ExternalSecret (external-secrets.io) and its status."""

    name: str
    writes: str
    refresh_policy: str = "Periodic"
    refresh_interval: str = "1h"
    immutable: bool = False
    pinned: bool = False
    ready: bool = False
    refreshed_at: datetime | None = None


class Operator(Protocol):
    """The operations on an ExternalSecret that a delivery needs."""

    name: str

    def read(self) -> ExternalSecret:
        """Read the ExternalSecret. Raises ServiceNotFound."""

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        """Annotate it with a token, which makes the operator sync at once."""


@dataclass(frozen=True)
class ExternalSecretsDelivery:
    """Delivery by an ExternalSecret that fills the Kubernetes Secret."""

    target: TargetSecret
    operator: Operator
    secret_name: str

    def check_ready(self) -> None:
        """Verify that a sync could deliver the key; change nothing.

        Raises ServiceNotFound, SyncImpossible, DeliveryRefused, AccessDenied.
        """
        external = self.operator.read()
        problem = sync_blocker(external, self.secret_name)
        if problem:
            raise errors.SyncImpossible(f"{self.operator.name} {problem} Nothing was changed.")
        self._refuse_immutable(self.target.read())
        self.operator.force_sync("dry-run", dry_run=True)

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Request a sync, or check its progress. Raises SyncOverdue, DeliveryRefused."""
        seen = self.operator.read()
        held = self.target.read()
        if held.contains(promoted.key) and (
            not last or synced_since(seen, parse_timestamp(last["startedAt"]))
        ):
            done = self._progress("done", last, summary="the operator has delivered the key")
            return {**done, "delivery": held.resource_version}
        self._refuse_immutable(held)
        if last and at - parse_timestamp(last["startedAt"]) > SYNC_LIMIT:
            raise errors.SyncOverdue(
                f"{self.operator.name}, asked to sync (times: {last['asked']}), did not finish a"
                f" sync with the promoted key within {SYNC_LIMIT.total_seconds():.0f} s. No pod was"
                " restarted. See its conditions: kubectl describe externalsecret"
            )
        if not last or _is_to_be_asked_again(seen, parse_timestamp(last["askedAt"]), at):
            return self._ask(promoted, last, at)
        return self._progress("waiting", last, summary="waiting for the operator's sync")

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether the Secret holds the promoted key, whoever wrote it last."""
        return self.target.read().contains(promoted.key)

    def locations(self) -> list[KeyLocation]:
        """The Secret that the operator fills."""
        return [location_of(self.target)]

    def _refuse_immutable(self, held: SecretContent) -> None:
        """Refuse a configuration with which no sync would deliver the key."""
        if held.immutable:
            raise errors.DeliveryRefused(
                f"{self.target.name} is immutable, so the operator cannot write the new key."
                " Replace it with a mutable one."
            )

    def _ask(self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime) -> DeliverKeyEntry:
        """Annotate with a token of the version and the attempt, so that a retry is the same."""
        asked = last.get("asked", 0) + 1
        self.operator.force_sync(f"{promoted.version}-{asked}", dry_run=False)
        now: DeliverKeyEntry = {"asked": asked, "askedAt": format_timestamp(at)}
        return self._progress("waiting", now, summary=f"sync requested ({asked})")

    def _progress(
        self, state: Literal["waiting", "done"], last: DeliverKeyEntry, *, summary: str
    ) -> DeliverKeyEntry:
        progress: DeliverKeyEntry = {
            "state": state,
            "target": f"{self.target.name} by {self.operator.name}",
            "written": False,
            "says": summary,
        }
        if last:
            progress |= {"asked": last["asked"], "askedAt": last["askedAt"]}
        return progress


def sync_blocker(external: ExternalSecret, secret_name: str) -> str | None:
    """Why the ExternalSecret would never deliver the new key, if so. Pure."""
    if external.writes != secret_name:
        return f"writes the Secret {external.writes}, but the pods read {secret_name}."
    if external.refresh_policy == "CreatedOnce":
        return "has refreshPolicy CreatedOnce: it ignores every request. Make it Periodic."
    if external.refresh_policy == "Periodic" and not _is_positive(external.refresh_interval):
        return "has refreshInterval 0: once synced, it ignores every request. Give it an interval."
    if external.immutable:
        return "makes its Secret immutable. Remove target.immutable."
    if external.pinned:
        return "is pinned to one version of the secret. Remove remoteRef.version."
    return None


def synced_since(seen: ExternalSecret, request: datetime) -> bool:
    """Whether a whole sync began after a request, and has ended. Pure.

    `refreshTime` is the start of the sync, truncated to the second: a sync in the second of the
    request may have begun before it. The operator runs one sync of an ExternalSecret at a time, so
    no sync that began earlier can still write.
    """
    return seen.ready and seen.refreshed_at is not None and seen.refreshed_at > request


def may_be_synced_since(seen: ExternalSecret, request: datetime) -> bool:
    """Whether the last completed sync may be the one that a request started. Pure."""
    second = request.replace(microsecond=0)
    return seen.ready and seen.refreshed_at is not None and seen.refreshed_at >= second


def _is_to_be_asked_again(seen: ExternalSecret, asked_at: datetime, at: datetime) -> bool:
    """Whether the last request was answered without a proof, or not in time.

    Another request in the same second would prove no more.
    """
    unproved = may_be_synced_since(seen, asked_at) and at - asked_at >= timedelta(seconds=1)
    return unproved or at - asked_at > ANSWER_LIMIT


def _is_positive(duration: str) -> bool:
    """Whether a Go duration such as '1h0m0s' is above zero."""
    return not duration.startswith("-") and bool(re.search("[1-9]", duration))
