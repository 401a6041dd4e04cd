"""A connection to one Redis or Valkey server, with deadlines and translated errors.

An error's text is never repeated: it may quote the name of a key, which may be a session id.
"""

import re
import socket
import ssl
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    TryAgainError,
)
from redis.retry import Retry

from keyturn import errors
from keyturn.adapters import deadline
from keyturn.adapters.certificate_authorities import Authority
from keyturn.adapters.deadline import Limit
from keyturn.adapters.redis.server_info import ADVICE

if TYPE_CHECKING:
    from redis import CredentialProvider

    from keyturn.settings.loading import SessionSettings

SECONDS = (
    6.0  # a command and its whole reply, and the connection and the login where it is the first
)
WAIT_SECONDS = 5.0  # until the next byte
REPLY_BYTES = 16 * 1024 * 1024  # more than the names of 10,000 sessions
PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    TryAgainError,
)
PASSING_CODES = {"BUSY", "NOREPLICAS"}
NO_SUCH_DATABASE = ("SELECT is not allowed in cluster mode", "DB index is out of range")


def connect(
    settings: "SessionSettings",
    host: str,
    port: int,
    credentials: "CredentialProvider | None",
    authority: Authority,
) -> "Connection":
    """A connection that is made when it is first used."""
    client = redis.Redis(
        host=host,
        port=port,
        db=settings.redis_database,
        credential_provider=credentials,
        socket_timeout=WAIT_SECONDS,
        socket_connect_timeout=WAIT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # HELLO, which begins protocol 3, is one more command to permit
        ssl=settings.redis_tls,
        ssl_check_hostname=True,
    )
    client.connection_pool.connection_class = _TlsLine if settings.redis_tls else _PlainLine
    if settings.redis_tls:
        client.connection_pool.connection_kwargs["authority"] = authority
    return Connection(client, host, port, settings.redis_database)


class _Socket:
    """A socket that waits, and reads, within the limit of the command."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._wait = connected, connected.gettimeout()
        # redis-py closes it in a `__del__`, which the collector may call after the socket's own.
        weakref.finalize(self, connected.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        """The time to wait for one read, unless less is left; 0 means not at all."""
        self._wait = seconds
        self._socket.settimeout(seconds)

    def recv(self, most: int) -> bytes:
        """Read the available bytes. Raises TimeoutError, TooMuch."""
        limit = self._keep_to_limit()
        read = self._socket.recv(most)
        if limit:
            limit.took(len(read))
        return read

    def sendall(self, data: bytes) -> None:
        """Write all of it. Raises TimeoutError."""
        left = memoryview(data)
        while left:
            self._keep_to_limit()
            left = left[self._socket.send(left) :]

    def _keep_to_limit(self) -> Limit | None:
        limit = deadline.current()
        if limit:
            left = limit.remaining()
            self._socket.settimeout(left if self._wait is None else min(self._wait, left))
        return limit


class _RefusedAtStart(redis.RedisError):
    """The server refused a command with which a connection begins, such as SELECT."""

    def __init__(self, command: str, error: redis.ResponseError) -> None:
        super().__init__(command)
        self.command, self.error = command, error


class _Line(redis.Connection):
    """The command at which a new connection failed, which is not the one that it was made for."""

    _sent = ""

    def send_command(self, *args: Any, **options: Any) -> None:
        """Send one command."""
        self._sent = str(args[0])
        super().send_command(*args, **options)  # type: ignore[no-untyped-call]

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Log in and choose the database. Raises _RefusedAtStart."""
        try:
            super().on_connect_check_health(*args, **options)
        except redis.ResponseError as no:
            if type(no) is redis.ResponseError:  # its subclasses are specific enough
                raise _RefusedAtStart(self._sent, no) from no
            raise


class _PlainLine(_Line):
    """redis-py's connection over such a socket."""

    def _connect(self) -> Any:
        """Connect within the limit, including the name resolution."""
        return _Socket(deadline.within(SECONDS, REPLY_BYTES, super()._connect))


class _TlsLine(_Line, redis.SSLConnection):
    """The same in TLS, the handshake within the limit too."""

    def __init__(self, *, authority: Authority, **settings: Any) -> None:
        super().__init__(**settings)
        self._authority = authority

    def _connect(self) -> Any:
        """Connect, and trust the authority of the server as it is now."""
        self.ca_data = self._authority() or None
        return _Socket(deadline.within(SECONDS, REPLY_BYTES, super()._connect))


class Connection:
    """Commands to one database of one server."""

    def __init__(self, client: redis.Redis, host: str, port: int, database: int) -> None:
        self._client, self.host = client, host
        self.address = f"{host}:{port}"
        self.where = f"Redis {self.address} database {database}"

    def call(self, *command: Any) -> Any:
        """Send one command.

        Raises SessionStoreUnavailable, SessionStoreRefused, SessionStoreUnsupported,
        SessionCommandRefused and SessionDatabaseMissing.
        """
        with self._translated(str(command[0])), deadline.limited(SECONDS, REPLY_BYTES):
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands together; a reply that redirects to another node is left in the list."""
        with self._translated(str(commands[0][0])), deadline.limited(SECONDS, REPLY_BYTES):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = pipeline.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception) and not isinstance(reply, AskError):
                    raise reply
        return replies

    @contextmanager
    def _translated(self, command: str) -> Iterator[None]:
        try:
            yield
        except errors.KeyturnError:
            # For the credentials, while a connection was made. redis-py keeps such a connection: it
            # would not log in any more, nor select the database.
            self._client.connection_pool.disconnect()
            raise
        except (AuthenticationError, AuthorizationError) as no:
            raise errors.SessionStoreRefused(
                f"{self.where} refuses the user or password. Nothing was deleted by this call."
                " Check RedisPasswordSecret or RedisIamUser."
            ) from no
        except NoPermissionError as no:
            raise errors.SessionCommandRefused(
                f"{self.where} does not permit {_named(no) or command} to the user. No other"
                " database was touched. Grant it in the server's ACL, for all sessions"
                " (docs/operations.md, SessionCommandRefused)."
            ) from no
        except PASSING as down:
            if isinstance(down.__cause__ or down.__context__, ssl.SSLError):
                raise errors.SessionStoreRefused(
                    f"TLS handshake with {self.where} failed: the port does not speak TLS, or its"
                    " certificate is not trusted. Nothing was deleted by this call. Check RedisUrl"
                    " and RedisCertificateAuthority."
                ) from down
            kind = type(down).__name__
            if "handshake" in str(down.__cause__ or down.__context__):
                kind = "the TLS handshake timed out: the server is busy, or RedisUrl is wrong"
            raise errors.SessionStoreUnavailable(
                f"{self.where} is unavailable ({kind}). Sessions already deleted"
                " stay deleted; the purge continues where it stopped."
            ) from down
        except _RefusedAtStart as no:
            raise self._refusal(no.command, no.error) from no
        except redis.ResponseError as no:
            raise self._refusal(command, no) from no

    def _refusal(self, command: str, error: redis.ResponseError) -> errors.KeyturnError:
        kind = _kind(error)
        if kind in PASSING_CODES:
            return errors.SessionStoreUnavailable(
                f"{self.where} is unavailable ({kind}). Sessions already deleted stay deleted;"
                " the purge continues where it stopped."
            )
        if command == "SELECT" and "unknown command" in str(error):
            return errors.SessionStoreUnsupported(
                f"{self.where} does not know SELECT: it is a Sentinel, or a proxy with one"
                f" database. {ADVICE}"
            )
        if any(words in str(error) for words in NO_SUCH_DATABASE):
            return errors.SessionDatabaseMissing(
                f"{self.where} does not exist: a cluster has only database 0, unless it is Valkey"
                " 9 with cluster-databases. Nothing was deleted anywhere. Check RedisUrl."
            )
        return errors.SessionCommandRefused(
            f"{self.where} refuses {command}: {kind}. No other database was touched. Check what"
            " the server permits (docs/operations.md, SessionCommandRefused)."
        )


def _named(error: NoPermissionError) -> str | None:
    """The command that is not permitted, such as SELECT, which a connection begins with."""
    match = re.search(r"'([a-z|]+)' command", str(error))
    return match[1].upper() if match else None


def _kind(error: redis.ResponseError) -> str:
    """The error's code or class, such as MISCONF or ReadOnlyError."""
    first = str(error).split(" ", 1)[0]
    return first if first.isupper() else type(error).__name__
