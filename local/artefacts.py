"""Which code the functions run: the source tree's, or what `make build PLATFORM=here` made."""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "template.yaml"
BUILT = ROOT / "out" / "here" / "build" / "template.yaml"


def name_of(template: Path) -> str:
    """What is deployed with a template, in the words of the demo."""
    if template == SOURCE:
        return template.name
    folder = template.parent
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return f"the built artefacts in {shown}"


def variables(template: Path) -> Mapping[str, str]:
    """What built code needs in its environment.

    Lambda's /opt and /var/task are read-only: nothing is compiled there for the next start, and an
    artefact that has been run is the one that was built.
    """
    return {} if template == SOURCE else {"PYTHONDONTWRITEBYTECODE": "1"}


def chosen(built: str) -> Path:
    """The template that BUILT asks for. Raises ValueError for what is no choice, or not there."""
    if built not in {"", "0", "1"}:
        raise ValueError(f"BUILT is 1 or nothing, not {built!r}.")
    if built != "1":
        return SOURCE
    if not BUILT.is_file():
        raise ValueError("Nothing is built for this machine: make build PLATFORM=here")
    return BUILT
