"""Strict parsing, preserved fields, keys that never show themselves."""

import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.secret import key
from tests.every_case import every_case


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def with_spare_bits(text: str) -> str:
    """The same 32 bytes to a lenient reader, by another last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="


def test_a_generated_key_is_44_characters_of_canonical_base64() -> None:
    made = key.generate_key()
    assert len(made.base64) == 44
    assert key.parse_key(made.base64) == made


def test_two_generated_keys_differ() -> None:
    assert key.generate_key() != key.generate_key()


@every_case(
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
)
def test_a_malformed_key_is_refused_by_name_and_not_quoted(
    bad: str, error: type[errors.KeyInvalid]
) -> None:
    with pytest.raises(error) as refused:
        key.parse_key(bad)
    assert not bad.strip() or bad.strip() not in str(refused.value)


def test_a_hexadecimal_key_gets_the_hint_that_it_is_one() -> None:
    with pytest.raises(errors.KeyNot32Bytes, match="hexadecimal"):
        key.parse_key(secrets.token_bytes(32).hex())


@every_case(
    ("text", "error"),
    [
        ("not json", errors.SecretNotJson),
        ("[]", errors.SecretNotJson),
        ('"text"', errors.SecretNotJson),
        ('{"a": NaN}', errors.SecretNotJson),
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
def test_every_other_character_of_the_document_is_kept(others: dict[str, object]) -> None:
    fields = {**others, key.FIELD: (old := key.generate_key()).base64}
    for layout in ({}, {"ensure_ascii": False}, {"indent": 2}, {"separators": (" , ", "\t:\r\n")}):
        text = json.dumps(fields, **layout)
        replaced = key.parse_document(text).with_key(made := key.generate_key())
        assert replaced.text == text.replace(old.base64, made.base64)
        assert key.parse_document(replaced.text) == replaced
        assert key.parse_document(replaced.text).with_key(old).text == text


@every_case(
    "number",
    ["12345678901234567890.25", "0.1234567890123456789", "1.10", "1E2", "5346234657812345.67",
     "1e-400", "1e999", "9007199254740993", "-0", "1" * 5000],
)  # fmt: skip
def test_a_number_is_kept_as_it_is_written(number: str) -> None:
    text = f'{{"a": [{number}], "{key.FIELD}": "{key.generate_key().base64}", "z": {number}}}'
    after = key.parse_document(text).with_key(made := key.generate_key()).text
    assert after == f'{{"a": [{number}], "{key.FIELD}": "{made.base64}", "z": {number}}}'


def test_the_key_is_replaced_in_its_own_field_alone() -> None:
    """Also where its text stands elsewhere, its name is escaped, or inner objects have one too."""
    old = key.generate_key().base64
    name = key.FIELD.replace("K", "\\u004b")
    around = ('{"copy": "%s", "inner": {"%s": "x"}, "%s":  ', ', "again": ["%s"]}')
    before, after = (around[0] % (old, key.FIELD, name), around[1] % old)
    written = old.replace("/", "\\/")
    made = key.generate_key()
    document = key.parse_document(f'{before}"{written}"{after}')
    assert document.with_key(made).text == f'{before}"{made.base64}"{after}'


@pytest.mark.parametrize(("filler", "count"), [("\u5bc6", 21_000), ("\u00fc", 32_000),
                                               ("\U0001f511", 16_000), ("x", 60_000)])  # fmt: skip
def test_a_document_does_not_grow(filler: str, count: int) -> None:
    text = json.dumps(
        {key.FIELD: key.generate_key().base64, "note": filler * count}, ensure_ascii=False
    )
    after = key.parse_document(text).with_key(key.generate_key())
    assert len(after.text.encode()) == len(text.encode())
    after.check_size()


def test_a_document_that_secrets_manager_would_not_store_is_refused_by_name() -> None:
    shell = key.new_document(key.generate_key()).text[:-1] + ', "n": "%s"}'
    room = key.DOCUMENT_BYTES - len(shell % "")
    key.parse_document(shell % ("\u00fc" * (room // 2))).check_size()
    with pytest.raises(errors.SecretTooLarge, match="65,537"):
        key.parse_document(shell % ("x" * (room + 1))).check_size()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('"a": 1, "b": [true, null]', '"b":[true,null],"a":1', True),
        ('"a": "\\u00fc"', '"a": "\u00fc"', True),
        ('"a": 12345678901234567890.25', '"a": 12345678901234567168', False),
        ('"a": 1', '"a": "1"', False),
        ('"a": 1', '"a": true', False),
        ('"a": 1', '"a": 1, "b": null', False),
        ('"a": {"b": 1}', '"a": {"b": 2}', False),
    ],
)
def test_other_fields_are_compared_by_value_and_numbers_as_written(
    one: str, other: str, same: bool
) -> None:
    documents = [
        key.parse_document(f'{{{fields}, "{key.FIELD}": "{key.generate_key().base64}"}}')
        for fields in (one, other)
    ]
    assert (documents[0].others == documents[1].others) is same


def test_a_key_does_not_show_itself() -> None:
    made = key.generate_key()
    document = key.parse_document(json.dumps({key.FIELD: made.base64, "other": "text"}))
    shown = f"{made!r} {made} {document!r} {document}"
    assert made.fingerprint in shown
    assert "text" not in shown.replace("SecretDocument", "")
    for form in (made.base64, made.raw.hex(), repr(made.raw)):
        assert form not in shown


def test_a_fingerprint_is_16_hex_digits_and_the_same_for_the_same_key() -> None:
    made = key.generate_key()
    assert key.parse_key(made.base64).fingerprint == made.fingerprint
    assert len(bytes.fromhex(made.fingerprint)) == 8


def test_a_good_key_passes_the_encryption_round_trip() -> None:
    key.prove_key(key.generate_key())


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
        key.prove_key(key.generate_key())
