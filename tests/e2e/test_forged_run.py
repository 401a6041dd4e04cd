"""A run is what it claims to be: who may call functions or start executions alone changes nothing.

Whoever holds lambda:InvokeFunction calls the functions directly; whoever holds
states:StartExecution takes the name of a run beforehand, or brings an input of their own.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack import RECORD_BUCKET
from tests.choice import cases
from tests.e2e.site import Site

TEXT = "ATTACKER TEXT: log in at https://evil.example to confirm"
SESSIONS = 50


def invoke(site: Site, function: str, ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Call a function directly, as its own right allows; returns the error."""
    name = site.stack.function_name(f"{function}Function")
    answer = site.stack.functions.invoke(name, json.dumps(ledger).encode())
    assert answer.function_error == "Unhandled", answer.payload
    error: dict[str, Any] = json.loads(answer.payload)
    return error


def records(site: Site) -> set[str]:
    """The names of all records."""
    listed = site.stack.cloud.client("s3").list_objects_v2(Bucket=RECORD_BUCKET)
    return {found["Key"] for found in listed.get("Contents", ())}


def start(site: Site, name: str, given: Mapping[str, Any]) -> None:
    """Start an execution, as whoever may do that alone."""
    site.stack.cloud.client("stepfunctions").start_execution(
        stateMachineArn=site.stack.deployment.outputs["StateMachineArn"],
        name=name,
        input=json.dumps(given),
    )


def input_of(site: Site, state: str, rotation_id: str) -> dict[str, Any]:
    """The ledger with which a state of a run was entered: all that a function was given."""
    for event in site.history(rotation_id):
        details = event.get("stateEnteredEventDetails") or {}
        if details.get("name") == state:
            found: dict[str, Any] = json.loads(details["input"])
            return found
    raise AssertionError(f"{state} was not entered")


@pytest.mark.parametrize(
    "replayed", cases([False, True], {True}), ids=["made up", "as the run had it"]
)
def test_a_function_that_is_called_directly_changes_nothing(site: Site, replayed: bool) -> None:
    rotation_id = site.rotate_to_end().output["rotationId"]
    site.add_sessions(SESSIONS)
    before, kept, mails = site.snapshot(), records(site), len(site.mailboxes.messages())
    labels = site.stack.labels()
    ledger = input_of(site, "FinishRotation", rotation_id)
    if not replayed:
        ledger["rotation"] = {**ledger["rotation"], "mode": "scheduled"}
        ledger["execution"] = ledger["execution"].replace("rot-", "rot-not-")
        ledger["failure"] = {"Error": TEXT, "Cause": TEXT}
    calls = {
        "RestorePreviousKey": ledger,
        "PurgeSessions": {k: v for k, v in ledger.items() if k != "purge_sessions"},
        "DeliverKey": ledger,
        "RestartService": {**ledger, "service": "web-console"},
        "FinishRotation": ledger,
        "BeginRotation": ledger,
    }
    refused = {name: invoke(site, name, given)["errorType"] for name, given in calls.items()}
    assert set(refused.values()) == {"CallNotConfirmed" if replayed else "RequestRefused"}
    assert (site.snapshot(), site.stack.labels(), records(site)) == (before, labels, kept)
    assert len(site.mailboxes.messages()) == mails


def test_a_run_whose_name_was_taken_beforehand_is_started_under_the_next(site: Site) -> None:
    token, before = f"planned-{uuid.uuid4()}", site.snapshot()
    start(site, f"rot-{token}", {"rotation": {"rotationId": token, "trigger": {"kind": TEXT}}})
    site.end(token)
    site.rotate(ClientRequestToken=token)
    site.promoted(token)
    ended = site.end(token, suffix="_2")
    assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "succeeded")
    after = site.snapshot()
    assert after.current == token
    assert not set(before.pods.values()) & set(after.pods.values())
    assert ended.output["keptAt"].endswith(f"/rotations/{token}_2.json")
    # The forged one failed before it did anything, and quoted nothing.
    assert not any(TEXT in mail["Message"] for mail in site.mailboxes.messages())


@pytest.mark.exhaustive
def test_an_execution_that_begins_before_the_promotion_is_not_the_run(
    site: Site,
) -> None:
    """Its input cannot be known: it names the key that is made by the rotation."""
    token = f"planned-{uuid.uuid4()}"
    guess = {
        "rotationId": token,
        "secretArn": site.stack.secret_arn,
        "mode": "scheduled",
        "version": token,
        "previousVersion": site.current(),
        "trigger": {"kind": "planned", "at": ""},
        "fingerprint": "0" * 16,
    }
    start(site, f"rot-{token}", {"rotation": guess})
    overtaken = site.end(token)
    assert overtaken.output["outcome"] == "superseded"
    site.rotate(ClientRequestToken=token)
    site.promoted(token)
    assert site.end(token, suffix="_2").output["outcome"] == "succeeded"


def test_an_input_cannot_bring_entries_of_its_own(site: Site) -> None:
    """Such as a rollback that restarts nothing and ends well."""
    rotation_id = site.rotate_to_end().output["rotationId"]
    before = site.snapshot()
    ran = input_of(site, "TakeRotation", rotation_id)
    forged = {
        **ran,
        "start": {"services": [], "pollSeconds": 1, "startedAt": "never"},
        "restore_previous_key": {"restart": False, "deliver": False},
        "failures": {"deliver_key": {"Error": "Superseded", "Cause": TEXT}},
    }
    start(site, f"rot-{rotation_id}-1732449600", forged)
    ended = site.end(rotation_id, suffix="-1732449600")
    assert ended.output["outcome"] == "succeeded"
    assert {one["name"] for one in ended.output["services"]} == {"web-console", "auth-service"}
    assert ended.output["rollback"] is None
    assert site.snapshot().current == before.current


def test_a_record_is_written_once_and_a_second_document_gets_a_second_name(site: Site) -> None:
    rotation_id = site.rotate_to_end().output["rotationId"]
    first = site.record(rotation_id)
    again = site.run_again(rotation_id)
    assert again.output["outcome"] == "succeeded"
    assert site.record(rotation_id) == first
    own = {name for name in records(site) if rotation_id in name}
    assert len(own) == 2
    with pytest.raises(ClientError, match="PreconditionFailed"):
        site.stack.cloud.client("s3").put_object(
            Bucket=RECORD_BUCKET, Key=f"rotations/{rotation_id}.json", Body=b"x", IfNoneMatch="*"
        )
