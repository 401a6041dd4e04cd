"""HTTP/1.1 over TLS on a loopback port: what the API server and the kubelet both listen with."""

import contextlib
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

IDLE_SECONDS = 120.0


class HttpsServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1 from a thread of its own until `close`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext, name: str
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._context = context
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name=name, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its handshake waits for the connection's own thread."""
        connection, address = super().get_request()
        tls = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        tls.settimeout(IDLE_SECONDS)
        with self._lock:
            self._open.add(tls)
        return tls, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Return a client that breaks off or fails the handshake is its own affair."""

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class HttpsHandler(BaseHTTPRequestHandler):
    """Reads bodies and writes answers, whole or as a stream."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing: the audit list is the record."""

    def read_body(self) -> bytes:
        """Return the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, code: int, body: bytes, content_type: str = "application/json") -> None:
        """Send a whole answer."""
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def answer_json(self, code: int, document: object) -> None:
        """Send a JSON document."""
        self.answer(code, json.dumps(document).encode())

    def begin_stream(self, content_type: str = "application/json") -> None:
        """Begin an answer of unknown length."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def stream(self, piece: bytes) -> None:
        """Send a piece of it; an empty one ends it."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.flush()
