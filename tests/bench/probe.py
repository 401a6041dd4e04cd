"""Imports what a subject of `tests.bench.imports` names, and says in JSON what that cost.

Runs in a fresh process. With `source` as the second argument, what the layer holds is compiled
anew: the layer is deployed without bytecode, and Lambda's /opt is read-only. Peak memory is VmHWM
of the process itself: ru_maxrss would start from the parent's size.
"""

import importlib
import json
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

# What Lambda's runtime brings besides the standard library: not from the layer.
RUNTIME = ("boto3", "botocore", "s3transfer")


def load(subject: str) -> None:
    """Import a module; `boto3` comes with one client, the least that a function needs."""
    if subject == "boto3":
        import boto3

        boto3.client("secretsmanager")
    elif subject:
        importlib.import_module(subject)


def compile_layer() -> None:
    """From now on, compile each module of the layer and each handler from its source."""
    load_cached = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        root = fullname.partition(".")[0]
        if root in RUNTIME or root in sys.stdlib_module_names:
            return load_cached(loader, fullname)
        path = loader.get_filename(fullname)
        return loader.source_to_code(loader.get_data(path), path)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]


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
    wanted, code = sys.argv[1:]
    if code == "source":
        compile_layer()
    load(wanted)
    cost = {"cpu_ms": time.process_time() * 1000, "rss_mb": peak_rss_mb()}
    sys.stdout.write(json.dumps({**cost, "vendors": vendors(wanted)}) + "\n")
