"""The rotation engine: calls the rotation function step by step, and again if a step fails.

Each rotation has a thread of its own. The steps run in order and stop at the first that fails;
then the whole rotation is tried again with the same token, a bounded number of times and spaced on
the clock, as long as its version keeps AWSPENDING (AWS publishes neither number nor spacing).
The promotion takes AWSPENDING away. A rotation whose function removes the label by a call of its
own is taken for incomplete, and tried again.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from local.secrets_manager import labels as label_rules
from local.secrets_manager.rotation_run import (
    ROTATION_STEPS,
    TEST_STEPS,
    FunctionOutcome,
    RotationReport,
    Run,
    StepListener,
    StepRun,
    step_error,
)
from local.secrets_manager.secret import Secret, Version
from local.secrets_manager.store import SecretStore

ATTEMPTS = 5
CLOSE_SECONDS = 5.0

Invoke = Callable[[str, bytes], FunctionOutcome]


class Rotations:
    """Starts, follows and ends the rotations of a store's secrets.

    Methods that take `now` are called inside a transaction of the store.
    """

    def __init__(self, store: SecretStore, invoke: Invoke, retry_seconds: float) -> None:
        self._store = store
        self._invoke = invoke
        self._retry = timedelta(seconds=retry_seconds)
        self._runs: dict[tuple[str, str], Run] = {}
        self._threads: list[threading.Thread] = []
        self._listeners: list[StepListener] = []
        self._closed = False

    def listen(self, listener: StepListener) -> None:
        """Call `listener` at every step from now on, on the rotation's thread."""
        self._listeners.append(listener)

    def find(self, secret: Secret, version_id: str) -> Run | None:
        """Return the last rotation of a secret to a version."""
        return self._runs.get((secret.arn, version_id))

    def running(self, secret: Secret) -> list[Run]:
        """List the rotations of a secret that are not over."""
        return [run for run in self._runs.values() if run.secret is secret and run.running]

    def start(self, secret: Secret, version_id: str, now: datetime) -> None:
        """Give AWSPENDING to the version, without a value if it is new, and begin."""
        secret.versions.setdefault(version_id, Version(version_id, now))
        self._begin(Run(secret, version_id, ROTATION_STEPS, now), now)

    def start_test(self, secret: Secret, version_id: str, now: datetime) -> None:
        """Run testSecret alone, on a temporary version that holds the current value."""
        value = secret.current.value if secret.current else None
        secret.versions[version_id] = Version(version_id, now, value)
        self._begin(Run(secret, version_id, TEST_STEPS, now), now)

    def doubt(self, secret: Secret, version_id: str) -> None:
        """Take a rotation under way for incomplete: its AWSPENDING is removed by another call."""
        for run in self.running(secret):
            run.pending_removed = run.pending_removed or run.version_id == version_id

    def drop_stale(self, secret: Secret, now: datetime) -> None:
        """End the rotations that the secret's labels no longer call for."""
        for run in self.running(secret):
            if secret.deleted is not None or not run.stands():
                run.end("abandoned", now)

    def cancel(self, secret: Secret, now: datetime) -> None:
        """End the secret's rotations and leave its labels as they are."""
        for run in self.running(secret):
            run.end("cancelled", now)

    def wait(self, secret: Secret, version_id: str, timeout_seconds: float) -> RotationReport:
        """Wait in real time until the rotation is over; TimeoutError, LookupError if none is."""
        with self._store.changes:
            run = self.find(secret, version_id)
            if run is None:
                raise LookupError(f"no rotation of {secret.name} to {version_id} was started")
            if not self._store.changes.wait_for(lambda: not run.running, timeout_seconds):
                done = [step.step for step in run.history]
                raise TimeoutError(
                    f"the rotation of {secret.name} to {version_id} is not over after "
                    f"{timeout_seconds:g} s; steps so far: {', '.join(done) or 'none'}"
                )
            return run.report()

    def close(self) -> None:
        """Start nothing more, and wait briefly for the calls that are under way."""
        with self._store.changes:
            self._closed = True
            for run in self._runs.values():
                run.wake.set()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, run: Run, now: datetime) -> None:
        labels = label_rules.attach(run.secret.labels, [label_rules.PENDING], run.version_id)
        self._store.relabel(run.secret, labels, now)
        for other in self.running(run.secret):
            if other.retry_at is not None:
                other.end("abandoned", now)
        self._runs[run.secret.arn, run.version_id] = run
        name = f"rotation of {run.secret.name}"
        thread = threading.Thread(target=self._work, args=(run,), name=name, daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

    def _work(self, run: Run) -> None:
        attempt = 1
        while self._go_on(run):
            error = self._try_steps(run, attempt)
            self._settle(run, error, last=attempt == ATTEMPTS)
            self._wait_to_retry(run)
            attempt += 1

    def _wait_to_retry(self, run: Run) -> None:
        clock = self._store.clock
        while self._go_on(run) and run.retry_at is not None and clock.now() < run.retry_at:
            clock.wait_until(run.retry_at, run.wake)
            run.wake.clear()

    def _go_on(self, run: Run) -> bool:
        return run.running and not self._closed

    def _try_steps(self, run: Run, attempt: int) -> str | None:
        run.pending_removed = False
        for step in run.steps:
            if not self._go_on(run):
                return None
            error = self._take_step(run, step, attempt)
            if error is not None:
                return error
        return None

    def _take_step(self, run: Run, step: str, attempt: int) -> str | None:
        for listener in self._listeners:
            listener(run.secret.arn, run.version_id, step, "started", 0.0, None)
        started = self._store.clock.now()
        error = self._call(run, step)
        seconds = (self._store.clock.now() - started).total_seconds()
        with self._store.transaction():
            run.history.append(StepRun(step, attempt, started, seconds, error))
        state: Literal["succeeded", "failed"] = "succeeded" if error is None else "failed"
        for listener in self._listeners:
            listener(run.secret.arn, run.version_id, step, state, seconds, error)
        return error

    def _call(self, run: Run, step: str) -> str | None:
        event = {
            "Step": step,
            "SecretId": run.secret.arn,
            "ClientRequestToken": run.version_id,
            "RotationToken": str(uuid.uuid4()),
        }
        settings = run.secret.rotation
        function = settings.lambda_arn if settings else ""
        try:
            return step_error(self._invoke(function, json.dumps(event).encode()))
        except Exception as error:  # noqa: BLE001 - whatever keeps the call from ending fails the step
            return f"{type(error).__name__}: {error}"

    def _settle(self, run: Run, error: str | None, *, last: bool) -> None:
        """Record how an attempt ended, and when the next one is due if there is to be one."""
        with self._store.transaction() as now:
            if self._go_on(run):
                run.error = error or run.shortfall()
                if run.error is not None and run.may_retry() and not last:
                    run.retry_at = now + self._retry
                else:
                    self._finish(run, now)
            if run.is_test:
                self._remove_test_version(run, now)

    def _finish(self, run: Run, now: datetime) -> None:
        run.end("failed" if run.error else "succeeded", now)
        if run.error is None and not run.is_test:
            run.secret.mark_rotated(now)

    def _remove_test_version(self, run: Run, now: datetime) -> None:
        """Take the temporary version of a test away, however the test ended."""
        secret = run.secret
        kept = {name: held for name, held in secret.labels.items() if held != run.version_id}
        self._store.relabel(secret, kept, now)
        secret.versions.pop(run.version_id, None)
