"""The time of the local stack, which tests may move.

Threads wait for a moment, not for a number of seconds: a moment that has passed before the wait
began is simply over, so no wake-up can be lost between reading the clock and waiting on it.
"""

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol

GLANCE_SECONDS = 0.1


class Clock(Protocol):
    """Tells the time and lets a thread wait for a moment."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""

    def wait_until(self, moment: datetime | None, wake: threading.Event) -> None:
        """Return once `moment` is reached or `wake` is set; with None, only `wake` ends the wait.

        May return early: callers look again at their facts, then wait again.
        """


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)

    def wait_until(self, moment: datetime | None, wake: threading.Event) -> None:
        """Wait in real time; see `Clock`."""
        if moment is None:
            wake.wait()
            return
        seconds = (moment - self.now()).total_seconds()
        wake.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))


class LaggingClock(SystemClock):
    """The machine's own time, but for a while behind it: a moment of the day that is still ahead.

    So a rotation window that opened on the last full hour opens when the clock catches up.
    """

    def __init__(self, lag: timedelta) -> None:
        self._lag = lag
        self._caught_up = threading.Event()

    def now(self) -> datetime:
        """Return the time, less the lag until it has caught up."""
        return super().now() - (timedelta() if self._caught_up.is_set() else self._lag)

    def catch_up(self) -> None:
        """Be on time from now on."""
        self._caught_up.set()

    def wait_until(self, moment: datetime | None, wake: threading.Event) -> None:
        """Wait, and look again now and then whether the clock has caught up; see `Clock`."""
        if self._caught_up.is_set() or moment is None:
            super().wait_until(moment, wake)
            return
        seconds = (moment - self.now()).total_seconds()
        wake.wait(min(max(seconds, 0.0), GLANCE_SECONDS))


class MovableClock:
    """A time that stands still until `advance` moves it."""

    def __init__(self, start: datetime) -> None:
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self._waiting: list[tuple[datetime | None, threading.Event]] = []

    def now(self) -> datetime:
        """Return the time to which the clock was moved, in UTC."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Move the time forward and wake every thread whose moment has come."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            for moment, wake in self._waiting:
                if moment is not None and moment <= self._now:
                    wake.set()

    def wait_until(self, moment: datetime | None, wake: threading.Event) -> None:
        """Wait until the time has been moved to `moment`; see `Clock`."""
        with self._lock:
            if moment is not None and moment <= self._now:
                return
            waiter = (moment, wake)
            self._waiting.append(waiter)
        try:
            wake.wait()
        finally:
            with self._lock:
                self._waiting.remove(waiter)
