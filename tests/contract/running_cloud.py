"""The local AWS with functions that a test provides."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.cloud import Cloud, SecretsService
from local.functions import Functions
from local.processes import Processes

ACCOUNT, REGION = "111122223333", "eu-west-1"


@contextmanager
def running_cloud(
    code: Path, source: str, secrets: SecretsService
) -> Iterator[tuple[Cloud, Functions]]:
    """Run a cloud; its functions are created by the test, with `source` as `code`/app.py."""
    (code / "app.py").write_text(source)
    with Processes() as processes:
        functions = Functions(
            processes,
            account=ACCOUNT,
            region=REGION,
            extra_environment=lambda settings: front.environment_of(settings),  # noqa: PLW0108  front comes later
        )
        front = Cloud(functions, secrets, account=ACCOUNT, region=REGION)
        yield front, functions
        front.close()
        functions.close()
