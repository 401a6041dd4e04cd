"""The session key and the secret document that holds it.

The document is a JSON object. Keyturn owns one field of it, `SESSION_ENCRYPTION_KEY`, and replaces
its text in place: every other character of the document stays as it was stored, so that a long
number, an escape or the layout means the same to every reader.

Parsing is strict because lenient parsing loses keys: `b64decode` drops unknown characters, 64 hex
digits are valid base64 of 48 bytes, the last character of base64 may carry unused bits, and AES-GCM
accepts a 16-byte key silently.

The `repr` of a key is its fingerprint.
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from keyturn import errors

FIELD = "SESSION_ENCRYPTION_KEY"
KEY_BYTES = 32
NONCE_BYTES = 12
FINGERPRINT_DOMAIN = b"keyturn session key fingerprint v1\0"
FINGERPRINT_DIGITS = 16
# Secrets Manager, API reference of PutSecretValue, SecretString: at most 65,536 bytes.
DOCUMENT_BYTES = 65_536


SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Number:
    """A number of a document in its written form: no reader's rounding affects a comparison."""

    text: str


@dataclass(frozen=True, repr=False)
class SessionKey:
    """An AES-256 key: 32 bytes."""

    raw: bytes

    def __repr__(self) -> str:
        return f"SessionKey({self.fingerprint})"

    @property
    def base64(self) -> str:
        """The key as services read it: standard base64, 44 characters."""
        return base64.b64encode(self.raw).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the key without revealing it; safe to show and to store."""
        return hashlib.sha256(FINGERPRINT_DOMAIN + self.raw).hexdigest()[:FINGERPRINT_DIGITS]


@dataclass(frozen=True)
class SecretDocument:
    """The secret's value: the key, its text as stored, and the position of the key's value in it.

    `others` are the other fields, for comparison alone: numbers are text, as they are written.
    """

    key: SessionKey
    text: str = field(repr=False)
    span: tuple[int, int] = field(repr=False)
    others: Mapping[str, Any] = field(repr=False)

    def with_key(self, key: SessionKey) -> "SecretDocument":
        """The same document with another key; every other character stays as it is."""
        start, end = self.span
        value = f'"{key.base64}"'
        text = f"{self.text[:start]}{value}{self.text[end:]}"
        return SecretDocument(key, text, (start, start + len(value)), self.others)

    def to_json(self) -> str:
        """The document as it is stored."""
        return self.text

    def check_size(self) -> None:
        """Raise SecretTooLarge if Secrets Manager would not store the document."""
        size = len(self.text.encode("utf-8", "surrogatepass"))
        if size > DOCUMENT_BYTES:
            raise errors.SecretTooLarge(
                f"The secret's document with the new key has {size:,} bytes; Secrets Manager stores"
                f" {DOCUMENT_BYTES:,}. Nothing was changed. Move other fields to another"
                " secret, then rotate again."
            )


def new_document(key: SessionKey) -> SecretDocument:
    """The document of a key, without any other field."""
    return parse_document(json.dumps({FIELD: key.base64}))


def generate_key() -> SessionKey:
    """A new key from the operating system's random source (NIST SP 800-133, section 4)."""
    return SessionKey(secrets.token_bytes(KEY_BYTES))


def parse_key(text: str) -> SessionKey:
    """Read a key from canonical standard base64.

    Raises KeyNotBase64 or KeyNot32Bytes; neither quotes the text.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise errors.KeyNotBase64(
            f"{FIELD} is not standard base64 (RFC 4648 section 4, with padding, no line break)."
            " Nothing was changed. Make one with: openssl rand -base64 32"
        ) from None
    if len(raw) != KEY_BYTES:
        hint = " It looks like hexadecimal: convert it to base64." if _looks_hex(text) else ""
        raise errors.KeyNot32Bytes(
            f"{FIELD} must decode to {KEY_BYTES} bytes, and decodes to {len(raw)}.{hint}"
            " Nothing was changed. Make one with: openssl rand -base64 32"
        )
    if base64.b64encode(raw).decode("ascii") != text:
        raise errors.KeyNotBase64(
            f"{FIELD} is base64 but not canonical: its last character carries unused bits, so two"
            " readers may disagree. Nothing was changed. Encode the same 32 bytes again."
        )
    return SessionKey(raw)


def fingerprint_of(value: str | None) -> str | None:
    """The fingerprint of the key in a field, or None if it is not a session key. Pure."""
    try:
        return None if value is None else parse_key(value).fingerprint
    except errors.KeyInvalid:
        return None


def parse_document(text: str) -> SecretDocument:
    """Read the secret's value: a JSON object, no field twice, with a valid key.

    Raises SecretNotJson, KeyFieldMissing, KeyNotBase64 or KeyNot32Bytes.
    """
    try:
        fields = DECODER.decode(text)
    except (ValueError, RecursionError):
        raise errors.SecretNotJson(
            "The secret's value is not JSON, or has a field twice. Nothing was changed."
            f' Store an object such as {{"{FIELD}": "<base64 of 32 bytes>"}}.'
        ) from None
    if not isinstance(fields, dict):
        raise errors.SecretNotJson(
            "The secret's value is JSON but not an object. Nothing was changed."
            f' Store an object such as {{"{FIELD}": "<base64 of 32 bytes>"}}.'
        )
    value = fields.get(FIELD)
    if not isinstance(value, str):
        raise errors.KeyFieldMissing(
            f"The secret's document has no text field {FIELD}. Nothing was changed."
            " Add the field and keep the others."
        )
    others = {name: field for name, field in fields.items() if name != FIELD}
    return SecretDocument(parse_key(value), text, _span_of_key(text), others)


def prove_key(key: SessionKey) -> None:
    """Encrypt and decrypt with AES-256-GCM, and verify that a tampered copy is refused.

    Raises KeyTestFailed. Follows NIST SP 800-38D: 96-bit nonce, 128-bit tag.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - 15 ms, only where a key is proved
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

    cipher, nonce = AESGCM(key.raw), secrets.token_bytes(NONCE_BYTES)
    session, session_id = secrets.token_bytes(64), b"session:keyturn-test"
    sealed = cipher.encrypt(nonce, session, session_id)
    if cipher.decrypt(nonce, sealed, session_id) != session:
        raise errors.KeyTestFailed("The new key decrypts to something else. It was not promoted.")
    tampered = bytes([sealed[0] ^ 1]) + sealed[1:]
    try:
        cipher.decrypt(nonce, tampered, session_id)
    except InvalidTag:
        return
    raise errors.KeyTestFailed("A tampered session was not refused. The key was not promoted.")


def _looks_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in text)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate field")
    return fields


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_constant=_no_constant,
    parse_float=Number,
    parse_int=Number,
)


def _span_of_key(text: str) -> tuple[int, int]:
    """Where the value of the key's field stands in the text of a JSON object that has it."""
    at = _skip_space(text, text.index("{") + 1)
    while True:
        name, at = DECODER.raw_decode(text, at)
        start = _skip_space(text, _skip_space(text, at) + len(":"))
        _, end = DECODER.raw_decode(text, start)
        if name == FIELD:
            return start, end
        at = _skip_space(text, _skip_space(text, end) + len(","))


def _skip_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at
