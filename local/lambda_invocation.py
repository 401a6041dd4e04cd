"""One invocation from START to REPORT, as Lambda logs and measures it."""

import math
import time
import uuid
from dataclasses import dataclass, field

from local.lambda_environment import ExecutionEnvironment

LOG_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Invocation:
    """One finished invocation. `payload` is the result or the error as JSON.

    `function_error` is None or "Unhandled"; `init_ms` is None when the environment was warm;
    `log_tail` holds the last 4 KB of its log; `max_memory_mb` is 0 where the system does not say.
    """

    request_id: str
    function_name: str
    function_error: str | None
    payload: bytes = field(repr=False)
    log_tail: str = field(repr=False)
    duration_ms: float
    init_ms: float | None
    max_memory_mb: int


@dataclass(frozen=True)
class Report:
    """What Lambda measures of an invocation; times in milliseconds, memory in MB."""

    request_id: str
    duration_ms: float
    init_ms: float | None
    memory_mb: int
    max_memory_mb: int
    failure_type: str | None

    def line(self) -> str:
        """Write the REPORT line that ends each invocation's log."""
        fields = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration_ms:.2f} ms",
            f"Billed Duration: {math.ceil(self.duration_ms + (self.init_ms or 0))} ms",
            f"Memory Size: {self.memory_mb} MB",
            f"Max Memory Used: {self.max_memory_mb} MB",
        ]
        if self.init_ms is not None:
            fields.append(f"Init Duration: {self.init_ms:.2f} ms")
        if self.failure_type == "Sandbox.Timedout":
            fields.append("Status: timeout")
        elif self.failure_type:
            fields += ["Status: error", f"Error Type: {self.failure_type}"]
        return "\t".join(fields)


def run(environment: ExecutionEnvironment, payload: bytes, *, cold: bool) -> Invocation:
    """Run one invocation in an environment, initialising it first when it is cold."""
    request_id = str(uuid.uuid4())
    outcome = environment.initialise(request_id) if cold else None
    environment.log_line(f"START RequestId: {request_id} Version: $LATEST")
    started = time.perf_counter()
    outcome = outcome or environment.run(request_id, payload)
    duration_ms = (time.perf_counter() - started) * 1000
    environment.settle_log()
    report = Report(
        request_id,
        duration_ms,
        environment.init_ms if cold else None,
        environment.settings.memory_mb,
        environment.peak_memory_mb(),
        outcome.failure_type,
    )
    environment.log_line(f"END RequestId: {request_id}")
    environment.log_line(report.line())
    return Invocation(
        request_id,
        environment.settings.name,
        outcome.function_error,
        outcome.payload,
        "\n".join(environment.take_log()).encode()[-LOG_TAIL_BYTES:].decode(errors="ignore"),
        duration_ms,
        report.init_ms,
        report.max_memory_mb,
    )
