"""What nobody took is in the dead-letter queue, in AWS's shape, put there by who may."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.async_invocation import Patience
from local.clock import SystemClock
from local.cloud import STACK_ACCESS_KEY, Cloud, access_key_of
from local.functions import Functions, FunctionSettings
from local.processes import Processes
from local.secrets_manager import SecretsManager
from tests.contract.waiting import until

ACCOUNT, REGION = "111122223333", "eu-west-1"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:undelivered"
CODE = """
def handler(event, context):
    raise ValueError("no sense in it")
"""


@pytest.fixture
def functions() -> Iterator[Functions]:
    with Processes() as processes:
        yield Functions(
            processes,
            account=ACCOUNT,
            region=REGION,
            extra_environment={},
            async_retry_seconds=(0.01, 0.01),
        )


@pytest.fixture
def cloud(functions: Functions) -> Iterator[Cloud]:
    manager = SecretsManager(
        account=ACCOUNT,
        region=REGION,
        clock=SystemClock(),
        invoke=functions.invoke,
        emit=lambda event: front.event_bus.send(event),  # noqa: PLW0108  front comes later
    )
    front = Cloud(functions, manager, account=ACCOUNT, region=REGION)
    front.client("sqs").create_queue(QueueName="undelivered")
    yield front
    manager.close()
    functions.close()
    front.close()


def letters(cloud: Cloud) -> list[dict[str, Any]]:
    """What is in the queue now."""
    sqs = cloud.client("sqs")
    url = sqs.get_queue_url(QueueName="undelivered")["QueueUrl"]
    found: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], VisibilityTimeout=0
    ).get("Messages", [])
    return found


def attributes(letter: dict[str, Any]) -> dict[str, str]:
    return {name: one["StringValue"] for name, one in letter["MessageAttributes"].items()}


def failing(functions: Functions, folder: Path, queue: str | None) -> str:
    (folder / "app.py").write_text(CODE)
    functions.create(
        FunctionSettings(
            "fails", "app.handler", folder, timeout_seconds=10, dead_letter_queue=queue
        )
    )
    functions.limit_async_invocations("fails", Patience(attempts=1))
    return "fails"


def test_an_event_on_which_a_function_fails_for_good_is_sent_by_the_function(
    cloud: Cloud, functions: Functions, tmp_path: Path
) -> None:
    functions.invoke_async(failing(functions, tmp_path, QUEUE), b'{"a": 1}')
    (letter,) = until(lambda: letters(cloud), bool)
    assert json.loads(letter["Body"]) == {"a": 1}
    assert attributes(letter)["ErrorMessage"] == "no sense in it"
    assert attributes(letter)["ErrorCode"] == "200"
    senders = {c.access_key_id for c in cloud.api_calls if c.operation == "SendMessage"}
    assert senders == {access_key_of("fails")}


def test_an_event_that_a_target_does_not_take_is_sent_by_the_rule(cloud: Cloud) -> None:
    events, absent = cloud.client("events"), f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:absent"
    rule = events.put_rule(Name="r", EventPattern=json.dumps({"source": ["x"]}))["RuleArn"]
    events.put_targets(
        Rule="r", Targets=[{"Id": "1", "Arn": absent, "DeadLetterConfig": {"Arn": QUEUE}}]
    )
    events.put_events(Entries=[{"Source": "x", "DetailType": "d", "Detail": '{"b": 2}'}])
    (letter,) = until(lambda: letters(cloud), bool)
    assert json.loads(letter["Body"])["detail"] == {"b": 2}
    told = attributes(letter)
    assert (told["RULE_ARN"], told["TARGET_ARN"]) == (rule, absent)
    assert told["ERROR_CODE"] == "FunctionNotFound"
    senders = {c.access_key_id for c in cloud.api_calls if c.operation == "SendMessage"}
    assert senders == {STACK_ACCESS_KEY}
