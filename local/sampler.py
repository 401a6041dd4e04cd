"""What is true on the stack at this moment: pods old and new, sessions left, how visitors fare.

Read from the cluster, from Redis and from the visitors themselves, never from the rotation's own
account of itself.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
import urllib3

from keyturn.rollout.pod_annotations import KEY_VERSION
from local import console
from local.cluster import StatusError
from local.stack import SESSION_DATABASE, LocalStack
from local.traffic import Visitors, VisitorsReport

POLL_SECONDS = 0.15


@dataclass(frozen=True)
class PodCounts:
    """A service's pods by the key version that they were made for."""

    wanted: int
    new: int
    old: int
    terminating: int

    def __str__(self) -> str:
        parts = [f"{self.new} of {self.wanted} new"] if self.new else []
        parts += [f"{self.old} old"] if self.old else []
        parts += [f"{self.terminating} old terminating"] if self.terminating else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Reading:
    """One look at the stack."""

    pods: dict[str, PodCounts]
    sessions: int
    visitors: VisitorsReport


@dataclass
class Gauges:
    """Looks at the stack again and again on a thread of its own, from `start` to `close`."""

    stack: LocalStack
    visitors: Visitors
    on_reading: Callable[[Reading], None]
    rotation_id: str = ""
    _closed: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._poll, name="gauges", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> "Gauges":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def read(self) -> Reading:
        """Look once."""
        pods = {
            name: count_pods(self.stack.pods(name), wanted, self.rotation_id)
            for name, wanted in console.REPLICAS.items()
        }
        return Reading(pods, self._sessions(), self.visitors.report())

    def _sessions(self) -> int:
        with self.stack.redis.client(SESSION_DATABASE) as client:
            return int(client.dbsize())

    def _poll(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            # A part that has died is reported by the stack; there is just nothing to read then.
            with contextlib.suppress(redis.RedisError, urllib3.exceptions.HTTPError, StatusError):
                self.on_reading(self.read())


@dataclass
class Countdown:
    """How fast the sessions fall during a purge, and how long it will still take.

    Without a purge nothing is counted down: what is there then are logins that nobody ends.
    """

    most: int = 0
    counting: bool = False  # whether the last reading was counted down
    _purging: bool = False
    _begun: tuple[int, float] | None = None

    def purge(self, *, working: bool) -> None:
        """A purge is at work, or is over."""
        self._purging = working
        self._begun = self._begun if working else None

    def tell(self, sessions: int, at: float) -> str:
        """What to say of a reading taken at `at` (monotonic seconds)."""
        self.most = max(self.most, sessions)
        if self._purging and (self._begun is None or sessions >= self._begun[0]):
            self._begun = (sessions, at)
        most, since = self._begun or (sessions, at)
        fallen, seconds = most - sessions, at - since
        # A purge that ends the rest before the next reading may be over already.
        self.counting = fallen > 0 and sessions * seconds >= fallen * POLL_SECONDS
        if not self.counting:
            return f"{sessions:,}"
        rate = fallen / seconds
        return f"{sessions:,}, {rate:,.0f} a second fewer, about {sessions / rate:.1f} s to go"


def count_pods(pods: list[dict[str, Any]], wanted: int, rotation_id: str) -> PodCounts:
    """Sort a service's pods into new, old and terminating old ones. Pure."""
    metadata = [pod["metadata"] for pod in pods]
    old = [one for one in metadata if not _of_version(one, rotation_id)]
    leaving = sum("deletionTimestamp" in one for one in old)
    return PodCounts(wanted, len(metadata) - len(old), len(old) - leaving, leaving)


def _of_version(metadata: dict[str, Any], rotation_id: str) -> bool:
    return bool(rotation_id) and (metadata.get("annotations") or {}).get(KEY_VERSION) == rotation_id
