"""Redis or Valkey as the session store: one database of a server, or of a cluster's primaries.

Deleting runs as one script a page, exactly one SCAN in each: TIME is frozen inside scripts, so a
script cannot stop itself by the clock, and the caller adapts the page to the time it took. In a
cluster a script may not name keys of two slots in one command, so there it unlinks one by one. If
scripts are refused (by an ACL, or by a server that wants keys declared) SCAN and UNLINK are sent
one after the other.

Nothing is retried here; the state machine does that.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keyturn import errors
from keyturn.adapters.certificate_authorities import Authority, of_the_system
from keyturn.adapters.redis import server_info
from keyturn.adapters.redis.connection import Connection, connect
from keyturn.sessions.store import ScanPage

if TYPE_CHECKING:
    from redis import CredentialProvider

    from keyturn.settings.loading import SessionSettings

ALL_SLOTS = 16384
PINGS = 3

# The pattern of a scan is the common prefix of all prefixes; several prefixes follow it.
SCAN_PAGE = """
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local keys = page[2]
if #ARGV > 3 then
  keys = {}
  for _, key in ipairs(page[2]) do
    for at = 4, #ARGV do
      if string.sub(key, 1, #ARGV[at]) == ARGV[at] then
        keys[#keys + 1] = key
        break
      end
    end
  end
end
"""

# Returns the next cursor, and the number of matches: their names stay in the server.
COUNT_PAGE = f"{SCAN_PAGE}return {{page[1], #keys}}"

# Returns the next cursor, the number of deleted keys, and the number that still exist.
DELETE_PAGE = f"""{SCAN_PAGE}
if #keys == 0 then return {{page[1], 0, 0}} end
local deleted = redis.call('UNLINK', unpack(keys))
local left = 0
if deleted < #keys then left = redis.call('EXISTS', unpack(keys)) end
return {{page[1], deleted, left}}
"""

# In a cluster. A key that moved to another node is not deleted here: it is counted as left.
DELETE_PAGE_OF_SLOTS = f"""{SCAN_PAGE}
local deleted, left = 0, 0
for _, key in ipairs(keys) do
  local reply = redis.pcall('UNLINK', key)
  if type(reply) == 'number' then
    deleted = deleted + reply
    if reply == 0 then left = left + redis.call('EXISTS', key) end
  elseif string.find(reply.err, 'non local key', 1, true) then
    left = left + 1
  else
    return reply
  end
end
return {{page[1], deleted, left}}
"""


class RedisSessions:
    """The sessions of one database, by their prefixes."""

    def __init__(
        self,
        settings: "SessionSettings",
        credentials: "CredentialProvider | None" = None,
        authority: Authority = of_the_system,
    ) -> None:
        self._settings, self._credentials, self._authority = settings, credentials, authority
        self._connections: dict[tuple[str, int], Connection] = {}

    def primaries(self) -> list["RedisPrimary"]:
        """Every primary, as it is now."""
        seed = self._connection(self._settings.redis_host, self._settings.redis_port)
        if not server_info.read_server_info(seed, self._settings.redis_database).in_cluster:
            return [RedisPrimary(seed, self._settings)]
        return [RedisPrimary(self._connection(*at), self._settings) for at in _addresses(seed)]

    def check_permissions(self, *, flush: bool) -> None:
        """Run the commands of a purge with names that no session has, one for each prefix.

        Scripts may be refused: there is an alternative. Flushing cannot be tried; if the server has
        ACL DRYRUN, and the user may use it, that is used.
        """
        for primary in self.primaries():
            primary.latency()
            primary.count_page("0", 1)
            primary.check_unlink()
            if flush:
                primary.check_flush()

    def _connection(self, host: str, port: int) -> Connection:
        if (host, port) not in self._connections:
            made = connect(self._settings, host, port, self._credentials, self._authority)
            self._connections[host, port] = made
        return self._connections[host, port]


class RedisPrimary:
    """One primary, as it was when this was made. Raises SessionStoreUnavailable for a replica."""

    def __init__(self, connection: Connection, settings: "SessionSettings") -> None:
        self.name = connection.address
        self._connection = connection
        self._prefixes = tuple(prefix.encode() for prefix in settings.session_prefixes)
        self._pattern = _literal(_shared_start(self._prefixes)) + b"*"
        self._scripts_work = True
        facts = server_info.read_server_info(connection, settings.redis_database)
        if not facts.is_primary:
            raise errors.SessionStoreUnavailable(
                f"{connection.where} is a replica, and sessions are deleted on primaries alone."
                " It has just failed over, which is retried, or RedisUrl names a reader endpoint."
            )
        self._in_slots = facts.in_cluster
        own = _itself(connection) if self._in_slots else {}
        self._moving = len(own.get("migrations", ()))
        self.identity = f"{facts.run_id}{_slots(own) if own else ''}"
        self.keys = facts.keys

    def latency(self) -> float:
        """The time of the fastest of a few PINGs, in seconds."""
        return min(self._ping() for _ in range(PINGS))

    def count_page(self, cursor: str, keys: int) -> ScanPage:
        """One SCAN of about `keys` keys of the table; counts those that match."""
        if reply := self._run(COUNT_PAGE, cursor, keys):
            return ScanPage(reply[0].decode(), matched=reply[1])
        following, names = self._scan(cursor, keys)
        return ScanPage(following, matched=len(names))

    def delete_page(self, cursor: str, keys: int) -> ScanPage:
        """One SCAN of about `keys` keys of the table; deletes those that match."""
        script = DELETE_PAGE_OF_SLOTS if self._in_slots else DELETE_PAGE
        if reply := self._run(script, cursor, keys):
            _, deleted, left = reply
            return ScanPage(reply[0].decode(), deleted + left, deleted, left)
        following, names = self._scan(cursor, keys)
        deleted, left = self.unlink(names)
        return ScanPage(following, len(names), deleted, left)

    def unlink(self, names: Sequence[bytes]) -> tuple[int, int]:
        """Delete keys by their names; how many went and how many are still there."""
        if not names:
            return 0, 0
        if not self._in_slots:
            deleted = self._connection.call("UNLINK", *names)
            return deleted, self._connection.call("EXISTS", *names) if deleted < len(names) else 0
        deleted, of_others = self._each("UNLINK", names)
        if deleted + of_others == len(names):
            return deleted, of_others
        there, _ = self._each("EXISTS", names)
        return deleted, there + of_others

    def has_foreign_keys(self, samples: int) -> bool:
        """Whether one of so many random keys is not a session."""
        names = self._connection.pipeline([("RANDOMKEY",)] * samples)
        return any(name is not None and not name.startswith(self._prefixes) for name in names)

    def flush(self) -> None:
        """Empty the database in the background; without ASYNC the server might block."""
        self._connection.call("FLUSHDB", "ASYNC")

    def check_settled(self) -> None:
        """Raise SessionStoreUnavailable if slots were moving when this was created."""
        if self._moving:
            raise errors.SessionStoreUnavailable(
                f"{self._connection.where} is migrating slots ({self._moving}), so a purge may miss"
                " sessions. Deleted sessions stay deleted. Wait for the migration to end, then"
                " retry the run."
            )

    def check_unlink(self) -> None:
        """Ask whether keys of each prefix may be deleted. Raises SessionCommandRefused."""
        for prefix in self._prefixes:
            try:
                self.unlink([b"%b%b" % (prefix, f"keyturn-{secrets.token_hex(16)}".encode())])
            except errors.SessionCommandRefused as no:
                raise errors.SessionCommandRefused(
                    f"{no} The permission was checked for keys that begin with {prefix.decode()!r}."
                ) from no

    def check_flush(self) -> None:
        """Check the permission to flush. Raises SessionCommandRefused if it is missing."""
        try:
            user = self._connection.call("ACL WHOAMI")
            answer = self._connection.call("ACL", "DRYRUN", user, "FLUSHDB", "ASYNC")
        except errors.SessionCommandRefused:
            return
        if answer not in {b"OK", "OK"}:
            raise errors.SessionCommandRefused(
                f"{self._connection.where} does not permit FLUSHDB to the user. Nothing was"
                " deleted. Grant it to the user, or set PurgeMode to scan."
            )

    def _run(self, script: str, cursor: str, keys: int) -> Any:
        """Run a script on a page; None if scripts are refused, and from then on."""
        if not self._scripts_work:
            return None
        try:
            several = self._prefixes if len(self._prefixes) > 1 else ()
            return self._connection.call("EVAL", script, 0, cursor, self._pattern, keys, *several)
        except errors.SessionCommandRefused:
            self._scripts_work = False
            return None

    def _scan(self, cursor: str, keys: int) -> tuple[str, list[bytes]]:
        following, names = self._connection.call(
            "SCAN", cursor, "MATCH", self._pattern, "COUNT", keys
        )
        return str(following), [name for name in names if name.startswith(self._prefixes)]

    def _each(self, command: str, names: Sequence[bytes]) -> tuple[int, int]:
        """One command a name; the sum of the replies, and how many are of another node by now."""
        replies = self._connection.pipeline([(command, name) for name in names])
        numbers = [reply for reply in replies if isinstance(reply, int)]
        return sum(numbers), len(replies) - len(numbers)

    def _ping(self) -> float:
        begun = time.perf_counter()
        self._connection.call("PING")
        return time.perf_counter() - begun


def _addresses(seed: Connection) -> list[tuple[str, int]]:
    """The primaries of a cluster, in the order of their names, once each."""
    slots, addresses = 0, set()
    for first, last, (host, port, *_), *_replicas in seed.call("CLUSTER", "SLOTS"):
        slots += last - first + 1
        addresses.add((host.decode() if host else seed.host, port))
    if slots < ALL_SLOTS:
        raise errors.SessionStoreUnavailable(
            f"{seed.where} belongs to a cluster in which {ALL_SLOTS - slots} of {ALL_SLOTS} slots"
            " are not served: their sessions cannot be deleted now. Repair the cluster, then retry."
        )
    return sorted(addresses)


def _itself(connection: Connection) -> Mapping[str, Any]:
    """The server's own line of CLUSTER NODES."""
    nodes = connection.call("CLUSTER NODES").values()
    return dict(next(node for node in nodes if "myself" in node["flags"].split(",")))


def _slots(own: Mapping[str, Any]) -> str:
    """A digest of a set of slots, migrating ones included.

    The epoch changes it after slots left and returned.
    """
    slots = repr((own["slots"], own["migrations"], own["epoch"]))
    return f"/{hashlib.sha256(slots.encode()).hexdigest()[:12]}"


def _shared_start(prefixes: Sequence[bytes]) -> bytes:
    """The longest prefix of all of them."""
    first, last = min(prefixes), max(prefixes)
    length = next((at for at, byte in enumerate(first) if last[at : at + 1] != bytes([byte])), None)
    return first[:length]


def _literal(prefix: bytes) -> bytes:
    """The prefix with SCAN's wildcards escaped: it matches itself."""
    return re.sub(rb"[*?\[\]^\\]", rb"\\\g<0>", prefix)
