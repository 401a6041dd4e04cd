"""Serves an application over HTTP until told to end, and ends the way balancers like it.

At SIGTERM or SIGINT the server serves on for `DRAIN_SECONDS`, so that every balancer has stopped
sending by then, and finishes the requests in flight. uvicorn's own way, to close its port at once
and to end by the signal, would fail requests and look like a crash.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn

from local.services.asgi import Application

HOST = "127.0.0.1"
DRAIN_SECONDS = 0.5
IN_FLIGHT_SECONDS = 10
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """uvicorn's server with our way to end."""

    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        super().__init__(config)
        self._application = application

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that the service is there once its port is open."""
        await super().startup(sockets)
        logger.info("serving on port %d", self.config.port)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain at a signal, while serving."""
        loop = asyncio.get_running_loop()
        for stop_signal in STOP_SIGNALS:
            loop.add_signal_handler(stop_signal, self._drain)
        yield

    def _drain(self) -> None:
        self._application.draining = True
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


async def serve(application: Application, port: int) -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT, then drain and return."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        host=HOST,
        port=port,
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=IN_FLIGHT_SECONDS,
    )
    await DrainingServer(config, application).serve()
