"""The commands of the documents: AWS knows their operations and every option."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import botocore.session
import pytest
from botocore import xform_name

from tests.every_case import every_case
from tests.project import DOCUMENTS, ROOT, document

# The CLI's own options: https://docs.aws.amazon.com/cli/latest/reference/
EVERYWHERE = {"query", "output", "max-items", "cli-binary-format", "cli-input-json"}
# What the CLI calls otherwise than the API does.
RENAMED = {
    ("sns", "subscribe"): {"notification-endpoint"},
    ("ec2", "authorize-security-group-ingress"): {"protocol", "port", "source-group"},
}
SERVICES = {"s3api": "s3"}
# The CLI's own commands, which are no operation of an API.
CUSTOM = {("logs", "tail"): {"since", "format", "follow", "filter-pattern"}}
COMMAND = re.compile(r"\baws ([a-z0-9]+) ([a-z][a-z-]+)((?:[^\n`|;)]|\\\n)*)")


class Command(NamedTuple):
    """A command of the AWS CLI, as it stands in a document."""

    service: str
    operation: str
    options: frozenset[str]


def commands() -> Iterator[Command]:
    """Every command once; one that goes on in the next line is read to its end."""
    alerts = ROOT / "layers" / "keyturn" / "keyturn" / "monitoring" / "alerts.py"
    for text in [*map(document, DOCUMENTS), alerts.read_text(encoding="utf-8")]:
        for service, operation, rest in COMMAND.findall(text.replace("\\\n", " ")):
            options = re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", rest)
            yield Command(service, operation, frozenset(options))


FOUND = sorted(set(commands()))


@pytest.fixture(scope="module")
def session() -> botocore.session.Session:
    return botocore.session.get_session()


@every_case("command", FOUND)
def test_a_command_is_one_that_the_cli_knows(
    command: Command, session: botocore.session.Session
) -> None:
    service, operation, options = command
    if (service, operation) in CUSTOM:
        assert options <= CUSTOM[service, operation] | EVERYWHERE
        return
    model = session.get_service_model(SERVICES.get(service, service))
    (name,) = (one for one in model.operation_names if xform_name(one, "-") == operation)
    shape = model.operation_model(name).input_shape
    members = {xform_name(member, "-") for member in (shape.members if shape else {})}
    positive = {option.removeprefix("no-") for option in options}
    assert positive <= members | EVERYWHERE | RENAMED.get((service, operation), set())


def test_the_documents_have_commands_of_every_part() -> None:
    services = {"secretsmanager", "eks", "ec2", "lambda", "sns", "sqs", "stepfunctions", "kms"}
    assert services <= {command.service for command in FOUND}
