"""Reads `SESSION_ENCRYPTION_KEY` as the two services do, with the runbook's two errors."""

import base64
import binascii
from collections.abc import Mapping

from local.services.startup import StartupError, required

VARIABLE = "SESSION_ENCRYPTION_KEY"
KEY_BYTES = 32


def read_session_key(environ: Mapping[str, str]) -> bytes:
    """Return the 32 bytes of the key.

    Raises `StartupError`, which never quotes the value, if it is missing or is not the standard
    base64 of 32 bytes. White space around it, such as a mounted file's last newline, is allowed.
    """
    try:
        key = base64.b64decode(required(environ, VARIABLE).strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StartupError(f"{VARIABLE} must decode to {KEY_BYTES} bytes")
    return key
