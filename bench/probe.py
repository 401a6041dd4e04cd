"""Imports what a subject of `bench.imports` names, and says in JSON what that cost.

Runs in a fresh process. Peak memory is VmHWM of the process itself: ru_maxrss would start from the
parent's size.
"""

import importlib
import json
import sys
import time
from pathlib import Path


def load(subject: str) -> None:
    """Import a module; `boto3` comes with one client, the least that a function needs."""
    if subject == "boto3":
        import boto3

        boto3.client("secretsmanager")
    elif subject:
        importlib.import_module(subject)


def peak_rss_mb() -> float:
    """The most memory that this process ever held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("The system does not tell a process' peak memory: measure on Linux.")


def vendors(subject: str) -> list[str]:
    """The packages that are neither Python's nor ours."""
    ours = {"keyturn", "__main__"} | ({subject} - {"boto3"})
    roots = {name.partition(".")[0] for name in sys.modules} - ours
    return sorted(r for r in roots - sys.stdlib_module_names if not r.startswith("_"))


if __name__ == "__main__":
    (wanted,) = sys.argv[1:]
    load(wanted)
    cost = {"cpu_ms": time.process_time() * 1000, "rss_mb": peak_rss_mb()}
    sys.stdout.write(json.dumps({**cost, "vendors": vendors(wanted)}) + "\n")
