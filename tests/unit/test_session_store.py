"""Session values: what they look like, and that nothing but the right key and id opens them."""

import base64
import json
import secrets
import time

import pytest

from local.services.auth_service import LOGIN_SECONDS, LoginInProgress, session_of
from local.services.oauth2_provider import new_tokens
from local.services.session_key import read_session_key
from local.services.session_store import (
    SessionCipher,
    UndecryptableError,
    new_session_id,
    redis_key,
    redis_value,
)
from local.services.startup import StartupError


@pytest.fixture
def cipher() -> SessionCipher:
    return SessionCipher(secrets.token_bytes(32))


def session() -> dict[str, object]:
    return session_of(new_tokens("alice"), now=1_000_000.0)


def test_a_session_comes_back_as_it_was_written(cipher: SessionCipher) -> None:
    written = session()
    value = redis_value(cipher, "an-id", written)
    assert json.loads(cipher.decrypt(value, b"an-id")) == written


def test_a_value_is_version_nonce_and_ciphertext_of_realistic_size(cipher: SessionCipher) -> None:
    plaintext = json.dumps(session()).encode()
    value = redis_value(cipher, "an-id", session())
    assert value[:1] == b"\x01"
    assert len(value) == 1 + 12 + len(plaintext) + 16
    assert 500 < len(value) < 800


def test_a_value_shows_nothing_of_the_session(cipher: SessionCipher) -> None:
    value = redis_value(cipher, "an-id", session())
    assert b"alice" not in value
    assert b"access_token" not in value


def test_the_same_session_never_makes_the_same_value_twice(cipher: SessionCipher) -> None:
    written = session()
    values = {redis_value(cipher, "an-id", written) for _ in range(100)}
    assert len(values) == 100


def test_a_value_of_another_key_does_not_decrypt(cipher: SessionCipher) -> None:
    value = redis_value(SessionCipher(secrets.token_bytes(32)), "an-id", session())
    with pytest.raises(UndecryptableError):
        cipher.decrypt(value, b"an-id")


def test_a_value_copied_to_another_id_does_not_decrypt(cipher: SessionCipher) -> None:
    value = redis_value(cipher, "an-id", session())
    with pytest.raises(UndecryptableError):
        cipher.decrypt(value, b"another-id")


@pytest.mark.parametrize("position", [0, 1, 12, 13, 100, -1])
def test_a_value_with_one_changed_bit_does_not_decrypt(
    cipher: SessionCipher, position: int
) -> None:
    value = bytearray(redis_value(cipher, "an-id", session()))
    value[position] ^= 1
    with pytest.raises(UndecryptableError):
        cipher.decrypt(bytes(value), b"an-id")


@pytest.mark.parametrize("length", [0, 1, 12, 28, 29])
def test_a_truncated_value_does_not_decrypt(cipher: SessionCipher, length: int) -> None:
    value = redis_value(cipher, "an-id", session())
    with pytest.raises(UndecryptableError):
        cipher.decrypt(value[:length], b"an-id")


def test_ids_are_32_url_safe_characters_and_differ() -> None:
    ids = [new_session_id() for _ in range(100)]
    assert {len(session_id) for session_id in ids} == {32}
    assert len(set(ids)) == 100
    assert redis_key(ids[0]) == f"session:{ids[0]}"


def test_a_key_is_read_with_white_space_around_it() -> None:
    key = secrets.token_bytes(32)
    text = f" {base64.b64encode(key).decode()}\n"
    assert read_session_key({"SESSION_ENCRYPTION_KEY": text}) == key


@pytest.mark.parametrize("environ", [{}, {"SESSION_ENCRYPTION_KEY": ""}])
def test_a_missing_key_is_named_as_the_runbook_names_it(environ: dict[str, str]) -> None:
    message = "^SESSION_ENCRYPTION_KEY environment variable not set$"
    with pytest.raises(StartupError, match=message):
        read_session_key(environ)


@pytest.mark.parametrize(
    "value",
    [
        base64.b64encode(bytes(16)).decode(),
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        "0" * 64,  # hexadecimal digits are valid base64, of 48 bytes
        "not base64!",
        "ключ",
        " ",
    ],
)
def test_a_wrong_key_is_named_as_the_runbook_names_it_and_not_quoted(value: str) -> None:
    with pytest.raises(StartupError, match=r"^SESSION_ENCRYPTION_KEY must decode to 32 bytes$"):
        read_session_key({"SESSION_ENCRYPTION_KEY": value})


def test_a_login_in_progress_comes_back_as_it_was_sealed(cipher: SessionCipher) -> None:
    login = LoginInProgress(cipher)
    assert login.open(login.seal("state", "verifier")) == ("state", "verifier")


@pytest.mark.parametrize("cookie", ["", "x", "not base64!", "ключ", "AQ" * 40])
def test_a_forged_login_in_progress_is_refused(cipher: SessionCipher, cookie: str) -> None:
    with pytest.raises(UndecryptableError):
        LoginInProgress(cipher).open(cookie)


def test_a_login_that_took_too_long_is_refused(
    cipher: SessionCipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = LoginInProgress(cipher)
    cookie = login.seal("state", "verifier")
    later = time.time() + LOGIN_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(UndecryptableError):
        login.open(cookie)
