"""Runs a command and outlives all that it has started: run as a script, with the command's words.

It is the subreaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER): whoever loses its parent
becomes its child. So it ends if, and only if, nothing is left, and knows what the command left
behind at its end. It writes one JSON line to `report`: the exit code, and who was left then.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main(report: str, *command: str) -> None:
    """Run the command, tell how it ended, and wait for the last descendant."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("no subreaper here")
    # Whoever runs the tests in the background has SIGINT ignored, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command)
    Path(f"{report}.pid").write_text(str(process.pid))
    code = process.wait()
    told = {"code": code, "left": [line for pid in children(os.getpid()) if (line := words(pid))]}
    Path(report).write_text(json.dumps(told))
    while children(os.getpid()):
        os.wait()


def children(pid: int) -> list[int]:
    """The processes that a process is the parent of, on any of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def words(pid: int) -> str:
    """A process's command line; empty once it has ended and only its exit code is left."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
