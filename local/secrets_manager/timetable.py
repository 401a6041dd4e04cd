"""Starts rotations when their windows open: one thread that waits on the clock."""

import threading
import uuid
from datetime import datetime

from local.secrets_manager.rotation import Rotations
from local.secrets_manager.schedule import Window
from local.secrets_manager.secret import Secret
from local.secrets_manager.store import SecretStore

CLOSE_SECONDS = 5.0


class Timetable:
    """Watches the schedules of a store's secrets until it is closed."""

    def __init__(self, store: SecretStore, rotations: Rotations) -> None:
        self._store = store
        self._rotations = rotations
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="rotation timetable", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        self._store.schedule_changed.set()
        self._thread.join(CLOSE_SECONDS)

    def _watch(self) -> None:
        while not self._closed:
            self._store.schedule_changed.clear()
            with self._store.transaction() as now:
                openings = [self._attend(secret, now) for secret in self._store.all()]
            earliest = min((opens for opens in openings if opens), default=None)
            if not self._closed:
                self._store.clock.wait_until(earliest, self._store.schedule_changed)

    def _attend(self, secret: Secret, now: datetime) -> datetime | None:
        """Start the secret's rotation if its window is open; return when the next one opens."""
        window = next_window(secret, now)
        if window is None or secret.rotation is None:
            return None
        if window.opens > now:
            return window.opens
        secret.rotation.attempted = window.opens
        if not self._rotations.running(secret):
            self._rotations.start(secret, secret.blocked_by or str(uuid.uuid4()), now)
        return self._attend(secret, now)


def next_window(secret: Secret, now: datetime) -> Window | None:
    """Return the window, open or ahead, in which a scheduled rotation is still to start.

    A window in which one was started is used up, whatever came of it: the retries belong to the
    rotation itself. A version left with AWSPENDING is taken up again in the next window.
    """
    settings = secret.rotation
    if settings is None or not settings.enabled or settings.schedule is None or secret.deleted:
        return None
    base = secret.schedule_base
    since = max(base, settings.attempted) if settings.attempted else base
    return settings.schedule.window_due(since, now)
