"""The Lambda Runtime API: where one execution environment fetches its work and hands in results.

AWS's own runtime client (`awslambdaric`) speaks to it, as it does in Lambda
(https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). Each environment has an endpoint
of its own, on a free port of the loopback. What the runtime does arrives as a queue of
`RuntimeEvent`s, so that whoever runs the environment reads them one after the other, with a
deadline, and needs no locks.

Two settings of the server matter: answers are buffered and Nagle's algorithm is off; without them
each invocation waits 40 ms or more for a delayed acknowledgement.
"""

import contextlib
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RuntimeEventKind(Enum):
    """What the runtime of an environment can do."""

    READY = "asked for work"
    INIT_ERROR = "failed to start"
    RESPONSE = "handed in a result"
    ERROR = "handed in an error"
    EXITED = "ended"


@dataclass(frozen=True)
class RuntimeEvent:
    """One thing the runtime did; `payload` is the JSON it handed in, if any."""

    kind: RuntimeEventKind
    payload: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Work:
    """One invocation as the runtime gets it; the deadline is in milliseconds since 1970."""

    request_id: str
    function_arn: str
    deadline_ms: int
    payload: bytes = field(repr=False)

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer to `/invocation/next`."""
        trace = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0"
        return {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.function_arn,
            "Lambda-Runtime-Trace-Id": trace,
        }


class RuntimeApi:
    """The endpoint of one environment: `offer` work, then read what happens with `next_event`."""

    def __init__(self) -> None:
        self._events: queue.Queue[RuntimeEvent] = queue.Queue()
        self._work: queue.Queue[Work | None] = queue.Queue()
        self._server = _Server(self)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def offer(self, work: Work) -> None:
        """Answer the runtime's waiting (or next) request for work."""
        self._work.put(work)

    def report(self, event: RuntimeEvent) -> None:
        """Add an event, such as the end of the process, which the runtime cannot report itself."""
        self._events.put(event)

    def next_event(self, timeout_seconds: float) -> RuntimeEvent | None:
        """Return the next event, or None if there is none in time."""
        try:
            return self._events.get(timeout=max(timeout_seconds, 0))
        except queue.Empty:
            return None

    def take_work(self) -> Work | None:
        """Wait for work on behalf of the runtime; None once the environment is closed."""
        return self._work.get()

    def close(self) -> None:
        """Stop serving; a runtime that still waits for work loses its connection."""
        self._work.put(None)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: a runtime that dies in the middle of a request is reported by its exit."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """`/runtime/invocation/next`, the one thing a runtime ever gets."""
        self.server.api.report(RuntimeEvent(RuntimeEventKind.READY))
        work = self.server.api.take_work()
        if work is None:
            self.close_connection = True
            return
        with contextlib.suppress(ConnectionError):
            self._answer(200, work.payload, work.headers())

    def do_POST(self) -> None:
        """`/runtime/init/error` and `/runtime/invocation/{id}/response` or `/error`."""
        payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/init/error"):
            kind = RuntimeEventKind.INIT_ERROR
        elif self.path.endswith("/response"):
            kind = RuntimeEventKind.RESPONSE
        else:
            kind = RuntimeEventKind.ERROR
        self.server.api.report(RuntimeEvent(kind, payload))
        with contextlib.suppress(ConnectionError):
            self._answer(202, b'{"status":"OK"}\n', {"Content-Type": "application/json"})

    def log_message(self, *_: object) -> None:
        """Stay silent: the function's own log is what matters."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
