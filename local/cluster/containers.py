"""One container of a pod: a process that is started, probed, and started again when it ends.

The first restart is at once, later ones wait: Kubernetes' crash loop back-off (10 s to 5 min), at a
laptop's pace. Every method is called by the pod's own thread; only a run's listeners are not.
"""

import sys
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from local.cluster import timestamps
from local.cluster.container_logs import ContainerLog
from local.cluster.pod_environment import ConfigError
from local.cluster.probes import ReadinessProbe
from local.cluster.resources import Json
from local.processes import Child, Processes

PROJECT = Path(__file__).parent.parent.parent

_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 5.0
_CONFIG_RETRY = 0.2
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Machine:
    """What containers start with: processes, the images that exist, a bell that wakes the pod."""

    processes: Processes
    images: Collection[str]
    environment: Callable[[Json], dict[str, str]]
    wake: Callable[[], None]


@dataclass
class Run:
    """One run of a container, from the start of its process to its end."""

    probe: ReadinessProbe
    log: ContainerLog = field(default_factory=ContainerLog)
    id: str = field(default_factory=lambda: f"keyturn://{uuid.uuid4().hex}")
    started_at: datetime = field(default_factory=timestamps.now)
    child: Child | None = None
    ended: bool = False

    def terminated(self) -> Json:
        """Return the state of a container whose run ended so."""
        code = self.child.process.wait(_KILL_SECONDS) if self.child else 128
        exit_code = 128 - code if code < 0 else code
        state = {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": timestamps.to_seconds(self.started_at),
            "finishedAt": timestamps.to_seconds(timestamps.now()),
            "containerID": self.id,
        }
        return {"terminated": {**state, "signal": -code} if code < 0 else state}


class Container:
    """A container by its spec in the pod, on a machine, probed at the pod's port."""

    def __init__(self, spec: Json, restart_policy: str, port: int, machine: Machine) -> None:
        self.spec = spec
        self.run: Run | None = None
        self._previous_run: Run | None = None
        self._policy = restart_policy
        self._port = port
        self._machine = machine
        self._state: Json = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Json = {}
        self._restarts = 0
        self._backoff = 0.0
        self._next_start: float | None = 0.0

    @property
    def terminated_run(self) -> Run | None:
        """The run that ended last; while the container waits to start again, it is `run` itself."""
        return self.run if "waiting" in self._state else self._previous_run

    @property
    def running(self) -> bool:
        """Whether its process is still there."""
        return bool(self.run and self.run.child and self.run.child.running)

    def advance(self, now: float) -> float | None:
        """Do what is due at `now` (monotonic); return the seconds until more is, None if never."""
        if "running" in self._state and self.run:
            if not self.run.ended:
                return self.run.probe.advance(now)
            self._after_end(self.run, now)
        if self._next_start is not None and now >= self._next_start:
            self._start_or_wait(now)
            return 0.0
        return None if self._next_start is None else self._next_start - now

    def status(self) -> Json:
        """Return its entry in the pod's containerStatuses."""
        running = "running" in self._state
        status = {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": "",
            "ready": bool(running and self.run and self.run.probe.ready),
            "started": running,
            "restartCount": self._restarts,
            "state": self._state,
            "lastState": self._last_state,
        }
        return {**status, "containerID": self.run.id} if self.run else status

    def terminate(self) -> None:
        """Ask the process to end."""
        if self.run and self.run.child:
            self.run.child.terminate()

    def kill(self) -> None:
        """End the process if it is still there, and record its end; it is not started again."""
        self._next_start = None
        if self.run and self.run.child and "running" in self._state:
            self.run.child.kill()
            self._state = self.run.terminated()

    def _start_or_wait(self, now: float) -> None:
        image = self.spec["image"]
        if image not in self._machine.images:
            failed_before = self._state.get("waiting", {}).get("reason", "").endswith("Pull")
            if failed_before:
                self._wait("ImagePullBackOff", f'Back-off pulling image "{image}"')
            else:
                self._wait("ErrImagePull", f'failed to pull image "{image}": not found')
            self._next_start = now + self._longer_backoff()
            return
        try:
            environment = self._machine.environment(self.spec)
            run = Run(ReadinessProbe(self.spec.get("readinessProbe"), self._port, now))
        except ConfigError as error:
            self._wait("CreateContainerConfigError", str(error))
            self._next_start = now + _CONFIG_RETRY
            return
        self._start(run, environment, now)

    def _start(self, run: Run, environment: dict[str, str], now: float) -> None:
        def on_exit(_: Child) -> None:
            run.ended = True
            self._machine.wake()

        try:
            run.child = self._machine.processes.start(
                f"container {self.spec['name']}",
                _argv(self.spec),
                env=environment,
                cwd=PROJECT,
                on_output=run.log.append,
                on_exit=on_exit,
            )
        except OSError as error:
            self._wait("RunContainerError", error.strerror or "the command cannot be started")
            self._next_start = now + self._longer_backoff()
            return
        if self.run:
            self._restarts += 1
        if "terminated" in self._state:
            self._last_state = self._state
        self._previous_run, self.run = self.run, run
        self._state = {"running": {"startedAt": timestamps.to_seconds(run.started_at)}}
        self._next_start = None

    def _after_end(self, run: Run, now: float) -> None:
        self._state = run.terminated()
        code = self._state["terminated"]["exitCode"]
        if self._policy == "Never" or (self._policy == "OnFailure" and not code):
            return
        if (timestamps.now() - run.started_at).total_seconds() > 2 * _LONGEST_BACKOFF:
            self._backoff = 0.0
        first = self._backoff == 0
        pause = self._longer_backoff()
        if first:
            self._next_start = now
            return
        message = f"back-off {pause:g}s restarting failed container={self.spec['name']}"
        self._wait("CrashLoopBackOff", message)
        self._next_start = now + pause

    def _wait(self, reason: str, message: str) -> None:
        if "terminated" in self._state:
            self._last_state = self._state
        self._state = {"waiting": {"reason": reason, "message": message}}

    def _longer_backoff(self) -> float:
        pause = max(self._backoff, _FIRST_BACKOFF)
        self._backoff = min(2 * pause, _LONGEST_BACKOFF)
        return pause


def _argv(spec: Json) -> list[str]:
    argv = [str(part) for part in [*spec.get("command", []), *spec.get("args", [])]]
    if not argv:
        raise OSError(0, "an image has no command of its own here: set `command`")
    return [sys.executable, *argv[1:]] if argv[0] == "python" else argv
