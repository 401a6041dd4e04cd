"""How a service starts: its settings are checked first, then it serves.

A wrong setting ends the process with exit code 1 and one line in its log. uvicorn is imported
after the settings have been checked: a service that cannot start says so at once.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import FrameType

from local.services.asgi import Application

logger = logging.getLogger(__name__)

Service = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Application]]


class StartupError(Exception):
    """The service cannot start as it is configured."""


def required(environ: Mapping[str, str], name: str) -> str:
    """Return the value of a setting; raises `StartupError` if it is missing or empty."""
    value = environ.get(name, "")
    if not value:
        raise StartupError(f"{name} environment variable not set")
    return value


def number(environ: Mapping[str, str], name: str) -> int:
    """Return the value of a setting that is a whole number; raises `StartupError`."""
    value = required(environ, name)
    if not value.isdecimal():
        raise StartupError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def address(environ: Mapping[str, str], name: str) -> str:
    """Return the value of a setting that is a base URL, without a slash at its end."""
    return required(environ, name).rstrip("/")


def run(name: str, service: Service) -> None:
    """Run a service until it is told to end, and end the process.

    `service` takes the environment and gives the application; what it opens, it closes on leaving.
    """
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s {name}: %(message)s", force=True
    )
    signal.signal(signal.SIGTERM, _end_before_serving)
    signal.signal(signal.SIGINT, _end_before_serving)
    try:
        asyncio.run(_serve(service))
    except StartupError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all; no traceback in the log
        sys.exit(1)


def _end_before_serving(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


async def _serve(service: Service) -> None:
    async with service(os.environ) as application:
        port = number(os.environ, "PORT")
        from local.services.server import serve  # noqa: PLC0415 - slow; settings are checked first

        await serve(application, port)
        logger.info("ended, with every request answered")
