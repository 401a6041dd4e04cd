"""The secrets of one account in one region, behind one lock.

Every reader and writer works in a `transaction`. Events that a transaction causes are sent once
its lock is released, so that whoever receives one may call back.
"""

import contextlib
import random
import string
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from local.clock import Clock
from local.secrets_manager import labels as label_rules
from local.secrets_manager.errors import marked_for_deletion, secret_not_found
from local.secrets_manager.secret import Secret

Event = dict[str, Any]
SUFFIX_LENGTH = 6


class SecretStore:
    """Finds secrets by name or ARN and announces the labels that move.

    `emit` receives EventBridge events on the thread that caused them; it must not raise.
    """

    def __init__(
        self, account: str, region: str, clock: Clock, emit: Callable[[Event], None]
    ) -> None:
        self.account = account
        self.region = region
        self.clock = clock
        self.reads_before_visible = 0
        self.changes = threading.Condition(threading.Lock())
        self.schedule_changed = threading.Event()
        self._emit = emit
        self._events: list[Event] = []
        self._secrets: dict[str, Secret] = {}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[datetime]:
        """Hold the lock and yield the time; afterwards wake waiters, then send the events."""
        with self.changes:
            try:
                yield self.clock.now()
            finally:
                events, self._events = self._events, []
                self.changes.notify_all()
        for event in events:
            self._emit(event)

    def create(self, name: str, now: datetime) -> Secret:
        """Add a secret; its ARN ends in six random characters, as AWS's do."""
        suffix = "".join(random.choices(string.ascii_letters + string.digits, k=SUFFIX_LENGTH))
        arn = f"arn:aws:secretsmanager:{self.region}:{self.account}:secret:{name}-{suffix}"
        self._secrets[name] = Secret(name, arn, created=now, changed=now)
        return self._secrets[name]

    def remove(self, secret: Secret) -> None:
        """Forget a secret at once."""
        del self._secrets[secret.name]

    def all(self) -> list[Secret]:
        """List the secrets in the order of their creation, without those whose time is over."""
        now = self.clock.now()
        for secret in list(self._secrets.values()):
            if secret.deleted is not None and secret.deleted <= now:
                self.remove(secret)
        return list(self._secrets.values())

    def named(self, name: str) -> Secret | None:
        """Return the secret of that name, one that is marked for deletion included."""
        return next((secret for secret in self.all() if secret.name == name), None)

    def find(self, secret_id: str) -> Secret:
        """Return a secret by name, ARN or ARN without its suffix; a full ARN wins.

        Raises ResourceNotFoundException. Source: user guide, "Finding a secret from a partial ARN".
        """
        secrets = self.all()
        for secret in secrets:
            if secret_id in (secret.name, secret.arn):
                return secret
        for secret in secrets:
            if secret_id == secret.arn[: -(SUFFIX_LENGTH + 1)]:
                return secret
        raise secret_not_found()

    def find_active(self, secret_id: str) -> Secret:
        """Return a secret that is not marked for deletion, or raise as AWS does."""
        secret = self.find(secret_id)
        if secret.deleted is not None:
            raise marked_for_deletion()
        return secret

    def relabel(self, secret: Secret, after: dict[str, str], now: datetime) -> None:
        """Give a secret its new labels and announce those that moved."""
        for label, version_id in label_rules.announced(secret.labels, after):
            self._events.append(self._label_event(secret, label, version_id, now))
        secret.labels = after
        secret.changed = now
        self.schedule_changed.set()

    def _label_event(self, secret: Secret, label: str, version_id: str, now: datetime) -> Event:
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Secret Label Updated",
            "source": "aws.secretsmanager",
            "account": self.account,
            "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self.region,
            "resources": [secret.arn],
            "detail": {"name": secret.name, "labelUpdated": label, "versionId": version_id},
        }
