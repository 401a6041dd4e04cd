"""Processes forked from one that has imported the libraries they share (Python's own fork server).

A test run starts hundreds of functions, and each spends most of its processor time on
importing the same libraries. Python's fork server imports those once; a process is forked from it
and then runs its module as `python -m` would: with its own environment, working directory, output,
session and search path. The product's own modules are never among those imported before.

https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods
"""

import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection, reduction
from pathlib import Path
from typing import BinaryIO

LIBRARIES = (
    "aws_lambda_powertools.metrics",
    "boto3.session",
    "botocore.auth",
    "botocore.httpsession",
    "botocore.signers",
    "cryptography.hazmat.primitives.ciphers.aead",
    "hvac",
    "kubernetes.client.api_client",
    "redis.cluster",
    "requests",
)
PACKAGE = __name__.partition(".")[0]
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(LIBRARIES))
# An exit code can be read once: whoever starts a process reads those of the others as well.
_LOCK = threading.Lock()


class PreloadedProcess:
    """A running module; what `local.processes` needs of `subprocess.Popen`."""

    def __init__(
        self, module: Sequence[str], env: Mapping[str, str], cwd: Path | None, *, output: bool
    ) -> None:
        self.stdout: BinaryIO | None = None
        if output:
            reading, writing = os.pipe()
            self.stdout = os.fdopen(reading, "rb")
        else:
            writing = os.open(os.devnull, os.O_WRONLY)
        try:
            with _LOCK:
                self._process = _CONTEXT.Process(
                    target=_become,
                    args=(list(module), dict(env), str(cwd or Path.cwd()), _Passed(writing)),
                    daemon=True,
                )
                self._process.start()
        finally:
            os.close(writing)
        if (pid := self._process.pid) is None:
            raise RuntimeError("The fork server did not start the process.")
        self.pid = pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        with _LOCK:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired when there is none in time."""
        connection.wait([self._process.sentinel], timeout)
        returncode = self.poll()
        if returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return returncode


class _Passed:
    """A file descriptor that goes along to the new process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __getstate__(self) -> object:
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, passed: object) -> None:
        self._descriptor = passed.detach()  # type: ignore[attr-defined]

    def take(self) -> int:
        return self._descriptor


def _become(module: list[str], env: dict[str, str], folder: str, output: _Passed) -> None:
    """In the new process: be what `python -m module` would be."""
    os.setsid()
    os.chdir(folder)
    for descriptor in (STANDARD_OUTPUT, STANDARD_ERROR):
        os.dup2(output.take(), descriptor)
    os.close(output.take())
    sys.stdout, sys.stderr = _stream(STANDARD_OUTPUT), _stream(STANDARD_ERROR)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    libraries = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    given = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [folder, *given, *libraries]
    sys.argv = list(module)
    for name in [
        name for name in sys.modules if name.partition(".")[0] == __name__.partition(".")[0]
    ]:
        del sys.modules[name]
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)


def _stream(descriptor: int) -> io.TextIOWrapper:
    """A standard stream of which nothing is held back, as with PYTHONUNBUFFERED."""
    raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115  open for ever
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
