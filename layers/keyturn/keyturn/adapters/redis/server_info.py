"""The report of one Redis or Valkey server about itself, of which any part may be missing.

A Sentinel and many proxies answer INFO too, and answer it in part. The facts on which a purge
relies (the role, the process, whether there are more primaries) are never assumed.

Fields: https://redis.io/docs/latest/commands/info/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from keyturn import errors

ADVICE = (
    "Nothing was deleted by this call. Set RedisUrl to the Redis or Valkey primary"
    " itself, or to a name that follows it, and not to a Sentinel or a proxy."
)
NEEDED = ("role", "run_id", "cluster_enabled")


class Server(Protocol):
    """A connection to one database of a server."""

    @property
    def where(self) -> str:
        """The server and the database, for an error."""

    def call(self, *command: Any) -> Any:
        """Send one command."""


@dataclass(frozen=True)
class ServerFacts:
    """The role and the process of a server, and all keys of the database."""

    run_id: str
    is_primary: bool
    in_cluster: bool
    keys: int


def read_server_info(server: Server, database: int) -> ServerFacts:
    """Ask the server. Raises SessionStoreUnsupported if it cannot be purged."""
    info = server.call("INFO")
    if "sentinel" in {info.get("redis_mode"), info.get("server_mode")}:
        raise errors.SessionStoreUnsupported(f"{server.where} is a Sentinel. {ADVICE}")
    missing = [name for name in NEEDED if name not in info]
    keyspace = info.get(f"db{database}", {"keys": 0})  # an empty database is not listed
    keys = keyspace.get("keys") if isinstance(keyspace, Mapping) else None
    if not isinstance(keys, int):
        missing.append(f"number of keys of db{database}")
    if missing or not isinstance(keys, int):
        raise errors.SessionStoreUnsupported(
            f"{server.where} answers INFO without its {', '.join(missing)}, so it is not known"
            f" whether sessions would be missed. {ADVICE}"
        )
    return ServerFacts(
        run_id=str(info["run_id"]),
        is_primary=info["role"] == "master",
        in_cluster=bool(info["cluster_enabled"]),
        keys=keys,
    )
