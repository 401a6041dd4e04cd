"""What all AWS adapters share: clients with time-outs, and AWS's errors made ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from keyturn import errors

# At worst 27 seconds with the pauses between the tries: within every function's time-out.
CONFIG = Config(
    connect_timeout=2, read_timeout=6, retries={"mode": "standard", "total_max_attempts": 3}
)

DENIED = {
    "AccessDeniedException",
    "AccessDenied",
    "AuthorizationError",
    "AuthorizationErrorException",
}


def client(service: str) -> Any:
    """A boto3 client of one service, in the function's own region."""
    return boto3.client(service, config=CONFIG)


def code(error: ClientError) -> str:
    """AWS's name of an error."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


@contextmanager
def translated(doing: str, unavailable: type[errors.KeyturnError]) -> Iterator[None]:
    """Turn AWS's errors into ours, without their text: it may quote what was sent.

    `doing` says what was tried, with the action's name. Access denied is AccessDenied; all else,
    throttling and time-outs foremost, is `unavailable`.
    """
    try:
        yield
    except ClientError as error:
        if code(error) in DENIED:
            raise errors.AccessDenied(
                f"AWS denied {doing}. Nothing was changed by this call. Check the function's role,"
                " the resource policy and the KMS key's policy."
            ) from error
        raise unavailable(f"{doing} failed: {code(error)}. It is safe to try again.") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise unavailable(
            f"{doing} got no sound answer ({type(error).__name__}). It is safe to try again."
        ) from error
