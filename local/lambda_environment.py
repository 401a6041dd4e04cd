"""One execution environment of a Lambda function: a process of its own that runs AWS's runtime.

An environment initialises once, then serves one invocation after the other; the function's
time-out is real and ends the process, as in Lambda
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html). Lambda gives the
initialisation 10 seconds, and if they do not suffice starts it again within the function's
time-out; here it is not started again but has both times together.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from local.processes import Child, Processes
from local.runtime_api import RuntimeApi, RuntimeEvent, RuntimeEventKind, Work

INIT_SECONDS = 10.0
_LOG_SETTLE_SECONDS = 2.0

LogListener = Callable[[str, str], None]


@dataclass(frozen=True)
class FunctionSettings:
    """What a function is created with, in the words of `AWS::Lambda::Function`.

    `code` and each of `layers` are folders from which Python imports. `reserved_concurrency` None
    means that the function shares the account's limit. `log_group` None means Lambda's default;
    `dead_letter_queue` is the ARN of a queue for events that it fails on.
    """

    name: str
    handler: str
    code: Path
    layers: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 3
    memory_mb: int = 128
    reserved_concurrency: int | None = None
    log_group: str | None = None
    dead_letter_queue: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an invocation came to; `payload` is the result or the error, as JSON."""

    function_error: str | None
    payload: bytes = field(repr=False)

    @property
    def failure_type(self) -> str | None:
        """The `errorType` of a failure that the platform, not the handler, reported."""
        if self.function_error is None:
            return None
        kind = json.loads(self.payload).get("errorType", "")
        return kind if kind.startswith(("Runtime.", "Sandbox.")) else None


def failure(error_type: str, request_id: str, message: str) -> Outcome:
    """Build a failure in the words of the Lambda platform."""
    text = f"RequestId: {request_id} Error: {message}"
    return Outcome(
        "Unhandled", json.dumps({"errorType": error_type, "errorMessage": text}).encode()
    )


def platform_variables(settings: FunctionSettings, region: str, runtime_api: str) -> dict[str, str]:
    """Return the variables that Lambda itself sets.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    day = datetime.now(UTC).strftime("%Y/%m/%d")
    search = [settings.code, *settings.layers]
    return {
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": settings.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": settings.log_group or f"/aws/lambda/{settings.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{day}/[$LATEST]{uuid.uuid4().hex}",
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_REGION": region,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(settings.code),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(str(path) for path in search),
        "PYTHONUNBUFFERED": "1",
        "TZ": ":UTC",
        "_HANDLER": settings.handler,
    }


class ExecutionEnvironment:
    """A started environment; `initialise` it, then `run` invocations, one at a time."""

    def __init__(
        self,
        settings: FunctionSettings,
        function_arn: str,
        processes: Processes,
        variables: Mapping[str, str],
        on_log: LogListener | None,
    ) -> None:
        self.settings = settings
        self.session_token = uuid.uuid4().hex
        self.payload = b""
        self._arn = function_arn
        self._on_log = on_log
        self._log: list[str] = []
        self._api = RuntimeApi()
        self._fence = f"\0{uuid.uuid4()}"
        self._fence_seen = threading.Event()
        self._gone = threading.Event()
        self._started = time.perf_counter()
        self.init_ms = 0.0
        region = function_arn.split(":")[3]
        self.child: Child = processes.start(
            f"lambda {settings.name}",
            [sys.executable, "-m", "awslambdaric", settings.handler],
            env={
                **platform_variables(settings, region, self._api.address),
                **settings.environment,
                **variables,
                "AWS_SESSION_TOKEN": self.session_token,  # each environment has its own
            },
            cwd=settings.code,
            on_output=self._receive,
            on_exit=self._end,
        )

    @property
    def usable(self) -> bool:
        """Whether another invocation can run here."""
        return not self._gone.is_set() and self.child.running

    def initialise(self, request_id: str) -> Outcome | None:
        """Wait until the runtime asks for work; a failure ends the environment and is returned."""
        event = self._api.next_event(INIT_SECONDS + self.settings.timeout_seconds)
        self.init_ms = (time.perf_counter() - self._started) * 1000
        if event is not None and event.kind is RuntimeEventKind.READY:
            return None
        if event is None:
            outcome = failure("Sandbox.Timedout", request_id, "Initialization timed out")
        elif event.kind is RuntimeEventKind.INIT_ERROR:
            outcome = Outcome("Unhandled", event.payload)
        else:
            outcome = self._exit_failure(request_id)
        self.close()
        return outcome

    def run(self, request_id: str, payload: bytes) -> Outcome:
        """Run one invocation; a time-out or the end of the process ends the environment."""
        self.payload = payload
        seconds = self.settings.timeout_seconds
        deadline_ms = int((time.time() + seconds) * 1000)
        self._api.offer(Work(request_id, self._arn, deadline_ms, payload))
        deadline = time.monotonic() + seconds
        outcome: Outcome | None = None
        while event := self._api.next_event(deadline - time.monotonic()):
            if event.kind is RuntimeEventKind.RESPONSE:
                outcome = Outcome(None, event.payload)
            elif event.kind is RuntimeEventKind.ERROR:
                outcome = Outcome("Unhandled", event.payload)
            elif outcome or event.kind is RuntimeEventKind.EXITED:
                return outcome or self._exit_failure(request_id)
        self.close()
        text = f"Task timed out after {seconds:.2f} seconds"
        return outcome or failure("Sandbox.Timedout", request_id, text)

    def settle_log(self) -> None:
        """Return when every line that the function has written so far was passed on.

        A mark is written to the function's own output (Linux lets us open it through /proc), and
        is last to arrive; of a process that ended, the end itself is last.
        """
        if self.usable:
            self._fence_seen.clear()
            with contextlib.suppress(OSError):
                # Where there is no /proc, lines may arrive a moment later: nothing is lost.
                output = Path(f"/proc/{self.child.pid}/fd/1")
                with output.open("w", encoding="ascii") as stream:
                    stream.write(f"{self._fence}\n")
                self._fence_seen.wait(_LOG_SETTLE_SECONDS)
        else:
            self._gone.wait(_LOG_SETTLE_SECONDS)

    def log_line(self, line: str) -> None:
        """Add a line to the log and pass it on."""
        self._log.append(line)
        if self._on_log:
            self._on_log(self.settings.name, line)

    def take_log(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._log = self._log, []
        return lines

    def peak_memory_mb(self) -> int:
        """Return the most memory the process ever held, in MB; 0 where the system does not say."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) // 1024
        return 0

    def close(self) -> None:
        """End the process and its endpoint."""
        self.child.kill()
        self._gone.wait(_LOG_SETTLE_SECONDS)

    def _receive(self, line: str) -> None:
        if line.endswith(self._fence):
            if rest := line.removesuffix(self._fence):
                self.log_line(rest)
            self._fence_seen.set()
            return
        # The runtime writes a traceback as one line, with carriage returns for its line ends.
        for part in line.split("\r"):
            self.log_line(part)

    def _end(self, _: Child) -> None:
        self._gone.set()
        self._api.report(RuntimeEvent(RuntimeEventKind.EXITED))
        self._api.close()

    def _exit_failure(self, request_id: str) -> Outcome:
        code = self.child.process.wait()
        if code == 0:
            text = "Runtime exited without providing a reason"
        elif code < 0:
            name = (signal.strsignal(-code) or str(-code)).lower()
            text = f"Runtime exited with error: signal: {name}"
        else:
            text = f"Runtime exited with error: exit status {code}"
        return failure("Runtime.ExitError", request_id, text)
