"""A command of a message, as a real shell understands it."""

import subprocess

# What the command calls: `aws` says what it was asked, or the input of an execution.
STANDINS = r"""
aws() { case "$2" in describe-execution) printf %s "$INPUT";; *) printf '%s\0' "$@";; esac; }
uuidgen() { cat /proc/sys/kernel/random/uuid; }
"""


def options(command: str, had: str = "") -> dict[str, str]:
    """The options that `aws` is given; `had` is what it says of the input of an execution."""
    done = subprocess.run(
        ["sh", "-c", f"{STANDINS}{command}"],
        env={"PATH": "/usr/bin:/bin", "INPUT": had},
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    _service, _call, *words = done.stdout.split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))
