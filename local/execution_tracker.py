"""Follows one rotation from `RotateSecret` to its end, and tells the screen.

Secrets Manager's four steps come from its listener, the states from the execution's history, which
is read by the thread that also watches over the stack: nothing reads on once the stack goes down.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from keyturn.run.ledger import STEPS as RECORDED
from keyturn.secret.trigger import EMERGENCY
from local import state_machines
from local.run_rows import RunRows
from local.screen import Screen
from local.secrets_manager import RotationReport
from local.stack import LocalStack, StackProblem
from local.state_machines import Progress
from local.step_rows import StepRow

ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
LONGEST_RUN_SECONDS = 1800.0
NOT_PROMOTED = "NOT PROMOTED"

StepOutcome = Literal["started", "succeeded", "failed"]

TRUTHS = {
    "createSecret": "A new key is created and pending. Every service runs the old key.",
    "setSecret": "Each function checks whether it could do its work now. Nothing has changed.",
    "testSecret": "The pending key is tested.",
    "finishSecret": "The new key becomes AWSCURRENT. The pods still run the old key.",
    "BeginRotation": "Stakeholders are notified that users will have to log in again.",
    "AnnounceEmergency": "An emergency: stakeholders are notified in parallel, and nothing waits.",
    "PurgeBeforeRestart": "An emergency: the sessions end at once, and again after the restart.",
    "MarkExposed": "No rollback to the previous version: it is marked and loses AWSPREVIOUS.",
    "DeliverKey": "The new key is delivered to where the pods read it when they start.",
    "RestartServices": "Pods are replaced one by one. Old and new keys are in use side by side.",
    "ConfirmDelivery": "No old pod is left. The delivered key is read back once more.",
    "PurgeSessions": "The new key is in use. The sessions under the old key are deleted.",
    "ValidateRotation": "The old sessions are gone. Health, login and logs are checked.",
    "DestroyExposedVersions": "The new key is proved. The exposed one is destroyed in Vault.",
    "FinishRotation": "The record is written.",
    "RestorePreviousKey": "The run has failed. The previous key becomes AWSCURRENT again.",
}
URGENT = {
    "setSecret": "An emergency does not wait: the functions are checked after the promotion.",
    "finishSecret": "The new key becomes AWSCURRENT at once. The pods still run the old key.",
}
BACK = {
    "DeliverKey": "The previous key is delivered to where the pods read it.",
    "RestartServices": "Pods are replaced once more, by pods with the previous key.",
    "PurgeSessions": "All sessions are deleted, including those under the new key.",
    "ValidateRotation": "Health, login and logs are checked, with the previous key.",
}
FORWARD = {"PurgeSessions": "An emergency never rolls back: the sessions are deleted anyway."}


def states_of(*, emergency: bool, way_back: bool, keeps_versions: bool) -> list[str]:
    """The states that a run of this kind is shown with, in their order.

    An emergency destroys the exposed key where the place `keeps_versions`.
    """
    before = (
        ["AnnounceEmergency", "PurgeBeforeRestart", "MarkExposed"]
        if emergency
        else ["BeginRotation"]
    )
    after = ["DestroyExposedVersions"] if emergency and keeps_versions else []
    after += ["RestorePreviousKey"] if way_back else []
    forward = (name for name in RECORDED if name != "BeginRotation")
    return [*before, *forward, *after, "FinishRotation"]


@dataclass(frozen=True)
class Ended:
    """How an execution ended: its status, and its record where it has one."""

    status: str
    record: dict[str, Any] | None
    error: str | None = None
    cause: str | None = None


def follow(
    stack: LocalStack,
    rotation_id: str,
    screen: Screen,
    on_state: Callable[[str], None] = lambda _state: None,
) -> Ended:
    """Follow a rotation to its end; `on_state` is called as each state is entered.

    Raises StackProblem when a part of the stack dies.
    """
    rows, begun = RunRows(), set()
    truths = dict(TRUTHS)
    report = _wait_for_promotion(stack, rotation_id)
    if report.outcome != "succeeded":
        return Ended(NOT_PROMOTED, None, *_last_error(report))
    for progress in _history(stack, rotation_id):
        if progress.kind.endswith("StateEntered") and progress.state:
            on_state(progress.state)
        if progress.state == "PrepareRollback":
            truths |= BACK
        if progress.state == "AfterFailure":
            truths |= FORWARD
        for row in rows.see(progress):
            if row.place not in begun:
                begun.add(row.place)
                screen.truth(truths[row.name])
            screen.step(row)
    return _end_of(stack, rotation_id)


def listen(stack: LocalStack, screen: Screen) -> None:
    """Show Secrets Manager's steps as they begin and end."""

    def on_step(
        secret_arn: str,  # noqa: ARG001 - the listener is called with it
        version_id: str,
        step: str,
        state: StepOutcome,
        seconds: float,
        error: str | None,
    ) -> None:
        if state == "started":
            urgent = URGENT if version_id.startswith(EMERGENCY) else {}
            screen.truth(urgent.get(step, TRUTHS[step]))
            screen.step(StepRow(step, "working"))
        else:
            done = state == "succeeded"
            note = (error or "").split(". ")[0]
            screen.step(StepRow(step, "done" if done else "failed", seconds, note))

    stack.secrets_manager.on_step(on_step)


def _wait_for_promotion(stack: LocalStack, rotation_id: str) -> RotationReport:
    while True:
        stack.check()
        try:
            return stack.secrets_manager.wait_for_rotation(stack.secret_arn, rotation_id, 0.2)
        except TimeoutError:
            continue


def _history(stack: LocalStack, rotation_id: str) -> Iterator[Progress]:
    """The execution's events as they come, looking at the stack's health in between."""
    client, arn = stack.cloud.client("stepfunctions"), _execution_of(stack, rotation_id)
    try:
        yield from state_machines.watch(
            client, arn, seconds=LONGEST_RUN_SECONDS, on_poll=stack.check
        )
    except TimeoutError as late:
        raise StackProblem(f"{late}.") from late


def _execution_of(stack: LocalStack, rotation_id: str) -> str:
    """The run's execution: the last of its names, where somebody has taken those before."""
    client, arn = stack.cloud.client("stepfunctions"), stack.execution_arn(rotation_id)
    name, number = arn, 2
    while True:
        try:
            client.describe_execution(executionArn=f"{arn}_{number}")
        except client.exceptions.ExecutionDoesNotExist:
            return name
        name, number = f"{arn}_{number}", number + 1


def _end_of(stack: LocalStack, rotation_id: str) -> Ended:
    client = stack.cloud.client("stepfunctions")
    found = client.describe_execution(executionArn=_execution_of(stack, rotation_id))
    record = json.loads(found["output"]) if found.get("output") else _kept(stack, rotation_id)
    return Ended(found["status"], record, found.get("error"), found.get("cause"))


def _kept(stack: LocalStack, rotation_id: str) -> dict[str, Any] | None:
    """The record of a run that failed: it is in the bucket, where there was time for one."""
    try:
        return stack.record(rotation_id)
    except stack.cloud.client("s3").exceptions.NoSuchKey:
        return None


def _last_error(report: RotationReport) -> tuple[str, str]:
    """The name and the words of what made a rotation fail."""
    errors = [step.error for step in report.steps if step.error]
    name, _, words = (errors[-1] if errors else f"{report.outcome}: no step failed").partition(": ")
    return name, words
