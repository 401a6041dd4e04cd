"""Purges once, in one of the ways that are compared, and says in JSON what that took.

Runs in a fresh process, so that its memory is its own; what it imports is not timed. The arguments
are the way, and the settings of the session store in JSON. The server's work is the CPU time of the
thread that serves commands, over all primaries.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.cluster import RedisCluster

from bench.probe import peak_rss_mb
from keyturn.adapters.redis.sessions import RedisPrimary, RedisSessions
from keyturn.run.ledger import Ledger, PurgeSessionsEntry
from keyturn.sessions import progress as purge_progress
from keyturn.sessions import purge
from keyturn.sessions import store as session_store
from keyturn.settings.loading import SessionSettings

PATTERN = "session:*"
PAGE = 1000
SECONDS = 600.0

# What the server could do if nobody asked it anything else: all in one script.
ALL = """
local cursor, deleted = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', ARGV[2])
  cursor = page[1]
  if #page[2] > 0 then deleted = deleted + redis.call('UNLINK', unpack(page[2])) end
until cursor == '0'
return deleted
"""
ALL_OF_SLOTS = """
local cursor, deleted = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', ARGV[2])
  cursor = page[1]
  for _, key in ipairs(page[2]) do deleted = deleted + redis.call('UNLINK', key) end
until cursor == '0'
return deleted
"""
COUNT_ALL = """
local cursor, found = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', ARGV[2])
  cursor, found = page[1], found + #page[2]
until cursor == '0'
return found
"""

Said = dict[str, Any]


class Servers:
    """The primaries, for the ways that are not ours."""

    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings
        seed = self._client(settings.redis_host, settings.redis_port)
        self.in_slots = bool(seed.info("cluster")["cluster_enabled"])
        self.clients = [seed]
        if self.in_slots:
            told: Any = seed.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            addresses = sorted({(primary[0], primary[1]) for _, _, primary, *_ in told})
            self.clients = [self._client(host, port) for host, port in addresses]

    def cpu(self) -> float:
        """Seconds of CPU that serving commands has taken."""
        return sum(_cpu(client.info("cpu")) for client in self.clients)

    def each(self, work: Callable[[Redis], float]) -> list[float]:
        """Work on every primary at the same time."""
        return session_store.map_concurrently(work, self.clients)

    def _client(self, host: str | bytes, port: int) -> Redis:
        name = host.decode() if isinstance(host, bytes) else host
        database = self.settings.redis_database
        return Redis(host=name, port=port, db=database, socket_timeout=SECONDS)


def by_keyturn(servers: Servers, mode: str, pace: str) -> Said:
    """As the function and the state machine do: slice after slice, until both passes are over."""
    store = RedisSessions(servers.settings)
    options = purge.PurgeOptions(session_store.PACES[pace], flush=mode == "flush")
    flushes = _time_flushes()
    entry: PurgeSessionsEntry = {"finished": False}
    ledger: Ledger = {}
    while not entry["finished"]:
        done = purge.next_slice(ledger, store, options, time, _now())
        entry = purge_progress.progress_entry(done, _now())
        ledger = {"purge_sessions": entry}
    told = {name: entry[name] for name in ("deleted", "left", "createdSince", "restarts")}
    return {**told, "flush_seconds": max(flushes, default=0.0)}


def by_runbook(servers: Servers) -> Said:
    """The runbook's command. In a cluster DEL takes keys of one slot, so there one at a time."""
    processes = []
    for client in servers.clients:
        at = client.connection_pool.connection_kwargs
        cli = shlex.join(
            ["redis-cli", "-h", at["host"], "-p", str(at["port"]), "-n", str(at["db"])]
        )
        delete = f"sed 's/^/DEL /' | {cli}" if servers.in_slots else f"xargs -L 1000 {cli} DEL"
        command = f"set -o pipefail; {cli} --scan --pattern '{PATTERN}' | {delete} >/dev/null"
        processes.append(subprocess.Popen(["bash", "-c", command]))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"redis-cli ended with {max(codes)}.")
    return {}


def by_loop(servers: Servers) -> Said:
    """A key after the other, with what the client library offers."""
    seed = servers.clients[0]
    client: Any = seed
    if servers.in_slots:
        at = seed.connection_pool.connection_kwargs
        client = RedisCluster(host=at["host"], port=at["port"])
    for name in client.scan_iter(PATTERN):
        client.delete(name)
    return {}


def by_pipeline(servers: Servers) -> Said:
    """What was found is deleted together with the next SCAN, on all primaries at once."""

    def purge_one(client: Redis) -> float:
        cursor, names = 0, list[bytes]()
        while True:
            pipeline: Any = client.pipeline(transaction=False)
            if servers.in_slots:
                for name in names:
                    pipeline.unlink(name)
            elif names:
                pipeline.unlink(*names)
            if cursor == 0 and names:
                pipeline.execute()
                return 0.0
            pipeline.scan(cursor, PATTERN, PAGE)
            cursor, names = pipeline.execute()[-1]
            if cursor == 0 and not names:
                return 0.0

    servers.each(purge_one)
    return {}


def by_server(servers: Servers) -> Said:
    """The limit: one script deletes all. What a pass that only counts adds is told apart."""

    def run(script: str) -> tuple[float, float]:
        began, cpu = time.monotonic(), servers.cpu()
        servers.each(lambda client: float(client.eval(script, 0, PATTERN, PAGE)))
        return time.monotonic() - began, servers.cpu() - cpu

    seconds, cpu_seconds = run(ALL_OF_SLOTS if servers.in_slots else ALL)
    _, counting_cpu_seconds = run(COUNT_ALL)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "counting_cpu_seconds": counting_cpu_seconds,
    }


WAYS: dict[str, Callable[[Servers], Said]] = {
    "fast": lambda servers: by_keyturn(servers, "scan", "fast"),
    "gentle": lambda servers: by_keyturn(servers, "scan", "gentle"),
    "flush": lambda servers: by_keyturn(servers, "flush", "fast"),
    "runbook": by_runbook,
    "pipelined": by_pipeline,
    "loop": by_loop,
    "limit": by_server,
}


def measured(way: str, settings: SessionSettings) -> Said:
    """Purge, and what it took."""
    servers = Servers(settings)
    start_mb, cpu = peak_rss_mb(), servers.cpu()
    began = time.monotonic()
    said = WAYS[way](servers)
    ended = time.monotonic()
    return {
        "began": began,
        "ended": ended,
        "seconds": ended - began,
        "cpu_seconds": servers.cpu() - cpu,
        "start_mb": start_mb,
        "peak_mb": peak_rss_mb(),
        **said,
    }


def _time_flushes() -> list[float]:
    """From now on, note how long each FLUSHDB takes to return."""
    flush, seconds = RedisPrimary.flush, []

    def timed(primary: RedisPrimary) -> None:
        begun = time.monotonic()
        flush(primary)
        seconds.append(time.monotonic() - begun)

    RedisPrimary.flush = timed  # type: ignore[method-assign,assignment]
    return seconds


def _cpu(info: dict[str, Any]) -> float:
    """Of the thread that serves commands; of the whole process where the server does not tell."""
    of = "_main_thread" if "used_cpu_user_main_thread" in info else ""
    return float(info[f"used_cpu_user{of}"]) + float(info[f"used_cpu_sys{of}"])


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    chosen, at = sys.argv[1:]
    sys.stdout.write(json.dumps(measured(chosen, SessionSettings(**json.loads(at)))) + "\n")
