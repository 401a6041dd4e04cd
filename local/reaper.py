"""The process that ends what is left when the stack has gone: see `local.processes`.

Reads `+pid` and `-pid` from its standard input and ends the remaining process groups at its end.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 1.0


def main() -> None:
    """Follow the stack until its end of the pipe closes, then end every group still listed."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = [group for group in groups if _signal(group, number)]
        deadline = time.monotonic() + GRACE_SECONDS
        while alive and time.monotonic() < deadline:
            time.sleep(0.02)
            alive = [group for group in alive if _signal(group, 0)]


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; whether the group was there to get it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
