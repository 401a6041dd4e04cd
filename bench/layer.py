"""How large the layer is, unzipped, as it is deployed: for python3.13 on arm64.

The layer's own Makefile builds it into a temporary folder, from the package index, as `sam build`
does; then what each distribution brought is added up.
"""

import os
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

from bench.commands import Command, CommandFailed, run
from bench.figures import Layer
from local.processes import Processes

LAYER = Path(__file__).parent.parent / "layers" / "keyturn"
BUILD_SECONDS = 120.0
# An index that does not answer is given up soon.
PATIENCE = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "15"}


def measure() -> Layer:
    """Build the layer and measure it; where that cannot be done, the result says why."""
    with tempfile.TemporaryDirectory(prefix="keyturn-layer-") as folder, Processes() as processes:
        variables = [f"ARTIFACTS_DIR={folder}", f"PYTHON={sys.executable}"]
        command = Command(
            "make build-KeyturnLayer",
            ["make", "--silent", "build-KeyturnLayer", *variables],
            {**os.environ, **PATIENCE},
            BUILD_SECONDS,
            cwd=LAYER,
        )
        try:
            run(processes, command)
        except (CommandFailed, FileNotFoundError) as failure:
            return Layer(problem=f"It needs make and the package index. {failure}")
        return Layer(sizes_in(Path(folder) / "python"))


def sizes_in(folder: Path) -> tuple[tuple[str, int], ...]:
    """The size of each distribution in a folder, in bytes and largest first.

    Packages that are part of no distribution count under their own names.
    """
    sizes: dict[str, int] = {}
    owners = {path: one.name for one in distributions(path=[str(folder)]) for path in _files(one)}
    for path in folder.rglob("*"):
        if path.is_file():
            owner = owners.get(path.resolve(), path.relative_to(folder).parts[0])
            sizes[owner] = sizes.get(owner, 0) + path.stat().st_size
    return tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def _files(distribution: Distribution) -> list[Path]:
    return [Path(str(file.locate())).resolve() for file in distribution.files or ()]
