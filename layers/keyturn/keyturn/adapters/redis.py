"""Redis or Valkey, one standalone server: pages of sessions, counted or deleted.

Deleting runs as one script a page, exactly one SCAN in each: TIME is frozen inside scripts, so a
script cannot stop itself by the clock, and the caller adapts the page to the time it took.
Nothing is retried here; the state machine does that.
"""

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthorizationError, MasterDownError, NoPermissionError
from redis.retry import Retry

from keyturn import errors
from keyturn.sessions import Page

if TYPE_CHECKING:
    from keyturn.settings import SessionSettings

TIMEOUT_SECONDS = 5.0

# Returns the next cursor, how many were deleted, and how many of the page are still there.
DELETE_PAGE = """
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local keys = page[2]
if #keys == 0 then return {page[1], 0, 0} end
local deleted = redis.call('UNLINK', unpack(keys))
local left = 0
if deleted < #keys then left = redis.call('EXISTS', unpack(keys)) end
return {page[1], deleted, left}
"""


class RedisSessions:
    """The sessions of one database, by their prefix."""

    def __init__(self, settings: "SessionSettings") -> None:
        self._where = f"Redis {settings.redis_host}:{settings.redis_port}"
        self._where += f" database {settings.redis_database}"
        self._pattern = _literal(settings.session_prefix) + "*"
        self._client = redis.Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_database,
            ssl=settings.redis_tls,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def server_id(self) -> str:
        """The server's run id (INFO server)."""
        facts = self._call("INFO", "server")
        return str(facts["run_id"])

    def count_page(self, cursor: int, keys: int) -> Page:
        """One SCAN of about `keys` keys of the table; counts those that match."""
        following, found = self._call("SCAN", cursor, "MATCH", self._pattern, "COUNT", keys)
        return Page(int(following), matched=len(found))

    def delete_page(self, cursor: int, keys: int) -> Page:
        """One SCAN of about `keys` keys of the table; deletes those that match."""
        following, deleted, left = self._call("EVAL", DELETE_PAGE, 0, cursor, self._pattern, keys)
        return Page(int(following), matched=deleted + left, deleted=deleted, left=left)

    def _call(self, *command: Any) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except (redis.AuthenticationError, AuthorizationError, NoPermissionError) as no:
            raise errors.SessionStoreRefused(
                f"{self._where} refuses our user or {command[0]}. No session was deleted by this"
                " call. Check the password and the ACL."
            ) from no
        except (redis.ConnectionError, redis.TimeoutError, MasterDownError) as down:
            raise errors.SessionStoreUnavailable(
                f"{self._where} does not answer ({type(down).__name__}). Sessions already deleted"
                " stay deleted; the purge goes on where it stopped."
            ) from down
        except redis.ResponseError as no:
            raise errors.SessionStoreRefused(
                f"{self._where} refuses {command[0]}: {_kind(no)}. No other database was touched."
                " Check RedisDatabase, and that this server is a standalone primary."
            ) from no


def _literal(prefix: str) -> str:
    """The prefix with SCAN's wildcards escaped: it stands for itself."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in prefix)


def _kind(error: redis.ResponseError) -> str:
    """The error's code or class, such as MISCONF or ReadOnlyError; its text may quote a key."""
    first = str(error).split(" ", 1)[0]
    return first if first.isupper() else type(error).__name__
