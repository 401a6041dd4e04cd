"""`keyturn.key`: strict parsing, preserved fields, keys that never show themselves."""

import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors, key


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def with_spare_bits(text: str) -> str:
    """The same 32 bytes to a lenient reader, by another last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="


def test_a_generated_key_is_44_characters_of_canonical_base64() -> None:
    made = key.generate()
    assert len(made.base64) == 44
    assert key.parse(made.base64) == made


def test_two_generated_keys_differ() -> None:
    assert key.generate() != key.generate()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("", errors.KeyNot32Bytes),
        (encoded(secrets.token_bytes(16)), errors.KeyNot32Bytes),
        (encoded(secrets.token_bytes(31)), errors.KeyNot32Bytes),
        (encoded(secrets.token_bytes(48)), errors.KeyNot32Bytes),
        (secrets.token_bytes(32).hex(), errors.KeyNot32Bytes),
        (encoded(secrets.token_bytes(32)) + "\n", errors.KeyNotBase64),
        (" " + encoded(secrets.token_bytes(32)), errors.KeyNotBase64),
        (encoded(secrets.token_bytes(32)).rstrip("="), errors.KeyNotBase64),
        (base64.urlsafe_b64encode(b"\xff" * 32).decode(), errors.KeyNotBase64),
        (with_spare_bits(encoded(secrets.token_bytes(32))), errors.KeyNotBase64),
        ("ключ", errors.KeyNotBase64),
    ],
    ids=[
        "empty",
        "16 bytes",
        "31 bytes",
        "48 bytes",
        "hexadecimal",
        "trailing newline",
        "leading space",
        "no padding",
        "url-safe alphabet",
        "not canonical",
        "not ASCII",
    ],
)
def test_a_malformed_key_is_refused_by_name_and_not_quoted(
    bad: str, error: type[errors.KeyInvalid]
) -> None:
    with pytest.raises(error) as refused:
        key.parse(bad)
    assert not bad.strip() or bad.strip() not in str(refused.value)


def test_a_hexadecimal_key_gets_the_hint_that_it_is_one() -> None:
    with pytest.raises(errors.KeyNot32Bytes, match="hexadecimal"):
        key.parse(secrets.token_bytes(32).hex())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("not json", errors.SecretNotJson),
        ("[]", errors.SecretNotJson),
        ('"text"', errors.SecretNotJson),
        ('{"a": NaN}', errors.SecretNotJson),
        ('{"a": 1e999}', errors.SecretNotJson),
        ('{"a": 1, "a": 2}', errors.SecretNotJson),
        ("[" * 100_000, errors.SecretNotJson),
        ("{}", errors.KeyFieldMissing),
        ('{"SESSION_ENCRYPTION_KEY": 7}', errors.KeyFieldMissing),
        ('{"session_encryption_key": ""}', errors.KeyFieldMissing),
    ],
)
def test_a_malformed_document_is_refused_by_name(text: str, error: type[errors.KeyInvalid]) -> None:
    with pytest.raises(error):
        key.parse_document(text)


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    )
)
def test_every_other_field_of_the_document_is_preserved(others: dict[str, object]) -> None:
    fields = {**others, key.FIELD: key.generate().base64}
    replaced = key.parse_document(json.dumps(fields)).with_key(made := key.generate())
    assert json.loads(replaced.to_json()) == {**fields, key.FIELD: made.base64}
    assert list(json.loads(replaced.to_json())) == list(fields)


def test_a_key_does_not_show_itself() -> None:
    made = key.generate()
    document = key.SecretDocument(made, {key.FIELD: made.base64, "other": "text"})
    shown = f"{made!r} {made} {document!r} {document}"
    assert made.fingerprint in shown
    for form in (made.base64, made.raw.hex(), repr(made.raw)):
        assert form not in shown


def test_a_fingerprint_is_16_hex_digits_and_the_same_for_the_same_key() -> None:
    made = key.generate()
    assert key.parse(made.base64).fingerprint == made.fingerprint
    assert len(bytes.fromhex(made.fingerprint)) == 8


def test_a_good_key_passes_the_encryption_round_trip() -> None:
    key.prove(key.generate())


def test_a_cipher_that_takes_tampered_sessions_does_not_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cryptography.hazmat.primitives.ciphers import aead

    class Credulous:
        def __init__(self, _key: bytes) -> None:
            self.sealed = b""

        def encrypt(self, _nonce: bytes, session: bytes, _id: bytes) -> bytes:
            self.sealed = session
            return session

        def decrypt(self, _nonce: bytes, _sealed: bytes, _id: bytes) -> bytes:
            return self.sealed

    monkeypatch.setattr(aead, "AESGCM", Credulous)
    with pytest.raises(errors.KeyTestFailed):
        key.prove(key.generate())
