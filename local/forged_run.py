"""Somebody may start executions, or call functions, and nothing else: a run is forged.

As soon as the pending version has a value, an execution named after its run is started with an
input that would end well and restart nothing. During the run every function that changes something
is called directly as well. What is claimed is that the run went its way all the same.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from keyturn.reporting.wording import count_of
from local import console
from local.checks import Claim
from local.stack import LocalStack

CALLED = ("RestorePreviousKey", "PurgeSessions", "FinishRotation", "DeliverKey", "RestartService")


def take_the_name(stack: LocalStack) -> None:
    """Start the forged execution between createSecret and finishSecret."""
    taken: set[str] = set()

    def on_step(
        secret_arn: str,  # noqa: ARG001 - the listener is called with all of these
        version_id: str,
        step: str,
        state: Literal["started", "succeeded", "failed"],
        seconds: float,  # noqa: ARG001
        error: str | None,  # noqa: ARG001
    ) -> None:
        if (step, state) == ("createSecret", "succeeded") and version_id not in taken:
            taken.add(version_id)
            stack.cloud.client("stepfunctions").start_execution(
                stateMachineArn=stack.deployment.outputs["StateMachineArn"],
                name=f"rot-{version_id}",
                input=json.dumps(_forged(stack, version_id)),
            )

    stack.secrets_manager.on_step(on_step)


def claims(stack: LocalStack, record: Mapping[str, Any]) -> list[Claim]:
    """The forged execution has shortened nothing, and no direct call does anything."""
    rotation_id = record["rotationId"]
    arn = stack.execution_arn(rotation_id)
    forged = stack.cloud.client("stepfunctions").describe_execution(executionArn=arn)
    forged_record = json.loads(forged.get("output") or "{}")
    before = stack.labels()
    refused = [name for name in CALLED if _is_refused(stack, name, record)]
    return [
        Claim(
            "the execution that took the run's name did nothing, or all that a run does",
            _was_idle_or_whole(forged_record),
        ),
        Claim(
            "the run went under the next name, and its record too",
            str(record["keptAt"]).endswith(f"/{rotation_id}_2.json"),
        ),
        Claim(
            f"{count_of(len(refused), 'function refuses', 'functions refuse')} a direct call",
            len(refused) == len(CALLED),
        ),
        Claim("the labels are as the run has left them", stack.labels() == before),
    ]


def _was_idle_or_whole(record: Mapping[str, Any]) -> bool:
    """Whether it came before the promotion, or has restarted every service in spite of its input.

    Which of them depends on how long its first function takes to start.
    """
    restarted = {service["name"] for service in record.get("services", ())}
    return record.get("outcome") == "superseded" or restarted == {*console.REPLICAS}


def _forged(stack: LocalStack, version_id: str) -> dict[str, Any]:
    current = next(v for v, labels in stack.labels().items() if "AWSCURRENT" in labels)
    rotation = {
        "rotationId": version_id,
        "secretArn": stack.secret_arn,
        "mode": "scheduled",
        "previousVersion": current,
    }
    return {"rotation": rotation, "restore_previous_key": {"restart": False, "deliver": False}}


def _is_refused(stack: LocalStack, name: str, record: Mapping[str, Any]) -> bool:
    """Call a function as whoever may invoke it can, with the run that was and its execution."""
    ledger = {
        "rotation": {
            "rotationId": record["rotationId"],
            "secretArn": stack.secret_arn,
            "mode": "scheduled",
            "previousVersion": record["versions"]["previous"],
        },
        "execution": f"{stack.execution_arn(record['rotationId'])}_2",
        "service": "web-console",
    }
    function = stack.function_name(f"{name}Function")
    answer = stack.functions.invoke(function, json.dumps(ledger).encode())
    return bool(json.loads(answer.payload).get("errorType") == "CallNotConfirmed")
