"""Names of sessions, names that only resemble them, and a store that is slow."""

from dataclasses import dataclass, field

from tests.fakes import FakeClock, FakeSessionStore

# Keys that are no sessions.
LOOK_ALIKES = {"sessions:1", "session", "xsession:1", "Session:1", "user:session:1", "session;1"}
# The `run_id` of each primary.
RUNS = [["run-1"], ["run-1", "other-1", "another-1"]]


def keys(count: int) -> set[str]:
    """The keys of this many sessions."""
    return {f"session:{number:05}" for number in range(count)}


@dataclass
class SlowStore(FakeSessionStore):
    """Takes its time for each page."""

    clock: FakeClock = field(default_factory=FakeClock)
    page_seconds: float = 0.0

    def page_turned(self, keys: int) -> None:
        self.clock.seconds += self.page_seconds
        super().page_turned(keys)
