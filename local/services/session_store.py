"""Sessions in Redis DB 1, each under `session:<id>`, encrypted with AES-256-GCM.

A value is a version byte, a 12-byte random nonce, and the ciphertext with its 16-byte tag (NIST
SP 800-38D). The session's id is the associated data, so that a value copied to another id does
not decrypt. A lifetime is set with each session; Redis forgets it then.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from local.services.asgi import UnavailableError
from local.services.session_key import read_session_key
from local.services.startup import number, required

if TYPE_CHECKING:
    from redis.asyncio import Redis

COOKIE = "session"
SESSION_SECONDS = 8 * 60 * 60
REDIS_TIMEOUT_SECONDS = 2.0
VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16

Session = Mapping[str, object]

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{32}")


class UndecryptableError(Exception):
    """The value was not written under this key for this purpose. It never says more."""


class SessionCipher:
    """Encrypts and decrypts under one key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Return the value that holds `plaintext`, bound to `associated_data`."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._aead.encrypt(nonce, plaintext, associated_data)

    def decrypt(self, value: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext; raises `UndecryptableError` if `encrypt` did not make the value."""
        if len(value) < 1 + NONCE_BYTES + TAG_BYTES or value[:1] != VERSION:
            raise UndecryptableError
        nonce, ciphertext = value[1 : 1 + NONCE_BYTES], value[1 + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, associated_data)
        except InvalidTag:
            raise UndecryptableError from None


def new_session_id() -> str:
    """Make an id that nobody can guess: 24 random bytes in 32 characters."""
    return secrets.token_urlsafe(24)


def redis_key(session_id: str) -> str:
    """Return where a session lies in Redis."""
    return f"session:{session_id}"


def redis_value(cipher: SessionCipher, session_id: str, session: Session) -> bytes:
    """Return what lies there."""
    return cipher.encrypt(json.dumps(session).encode(), session_id.encode())


class SessionStore:
    """The sessions, as the services read and write them.

    Every method raises `UnavailableError` when Redis does not answer.
    """

    def __init__(self, redis: "Redis", cipher: SessionCipher) -> None:
        self.cipher = cipher
        self._redis = redis

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "SessionStore":
        """Open the store that the environment describes; raises `StartupError`."""
        cipher = SessionCipher(read_session_key(environ))
        host, port = required(environ, "REDIS_HOST"), number(environ, "REDIS_PORT")
        db = number(environ, "REDIS_DB")
        from redis.asyncio import Redis  # noqa: PLC0415 - a slow import waits for a good key
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - as above
        from redis.backoff import NoBackoff  # noqa: PLC0415 - as above

        redis = Redis(
            host=host,
            port=port,
            db=db,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # once: a connection that an idle time-out closed
        )
        return cls(redis, cipher)

    async def create(self, session: Session) -> str:
        """Store a new session and return its id."""
        session_id = new_session_id()
        value = redis_value(self.cipher, session_id, session)
        with _redis_errors():
            await self._redis.set(redis_key(session_id), value, ex=SESSION_SECONDS)
        return session_id

    async def load(self, session_id: str) -> dict[str, object] | None:
        """Return the session, or None if there is none (any more).

        Raises `UndecryptableError` if it was written under another key.
        """
        if not _SESSION_ID.fullmatch(session_id):
            return None
        with _redis_errors():
            value: Any = await self._redis.get(redis_key(session_id))
        if value is None:
            return None
        session: dict[str, object] = json.loads(self.cipher.decrypt(value, session_id.encode()))
        return session

    async def delete(self, session_id: str) -> None:
        """Forget a session, if there is one."""
        if _SESSION_ID.fullmatch(session_id):
            with _redis_errors():
                await self._redis.delete(redis_key(session_id))

    async def ping(self) -> None:
        """Return if Redis answers."""
        with _redis_errors():
            await self._redis.ping()

    async def __aenter__(self) -> "SessionStore":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._redis.aclose()


@contextlib.contextmanager
def _redis_errors() -> Iterator[None]:
    from redis.exceptions import RedisError  # noqa: PLC0415 - loaded with the client, not before

    try:
        yield
    except (RedisError, OSError) as error:
        raise UnavailableError("Redis does not answer") from error
