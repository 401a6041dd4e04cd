"""A rotation with nothing in its way, from RotateSecret to the record, and the same once more."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from keyturn.secret import key
from local import console
from local.execution_limits import payload_bytes
from local.stack import SESSION_DATABASE
from local.state_machines import locate
from local.users import can_open_page, log_in
from tests.e2e.site import Ended, Site
from tests.project import state_machine
from tests.simulated_execution import Execution

OTHER_FIELDS = {"OAUTH2_CLIENT_ID": "console ü", "limits": {"a": [1, 2.5, None]}, "on": True}
LOOK_ALIKES = (b"sessions:1", b"session", b"a:session:1", b"Session:1")
FIRST_FIELDS = ["rotationId", "mode", "outcome", "trigger", "versions"]
FIRST_FIELDS += ["sessions", "services", "steps"]
STATES = ["BeginRotation", "DeliverKey", "RestartServices", "ConfirmDelivery"]
STATES += ["PurgeSessions", "ValidateRotation"]


@dataclass(frozen=True)
class Story:
    """A rotation, and how things were before it."""

    site: Site
    rotation_id: str
    previous: str
    pods_before: dict[str, str]
    cookies: list[str]
    ended: Ended

    @property
    def record(self) -> dict[str, Any]:
        return self.ended.output


@pytest.fixture(scope="module")
def story(module_site: Site) -> Story:
    site, stack = module_site, module_site.stack
    with site.unwatched():  # else the watch carries it on while the rotation runs
        previous = site.put_value(json.dumps({**OTHER_FIELDS, **site.document()}))
    cookies = log_in(12, stack.urls["web-console"]).cookies
    with stack.redis.client(SESSION_DATABASE) as redis:
        redis.mset(dict.fromkeys(LOOK_ALIKES, b"-"))
    with stack.redis.client(0) as redis:
        redis.set("session:of-someone-else", b"-")
    pods = site.pods()
    rotation_id = site.rotate()
    site.promoted(rotation_id)
    return Story(site, rotation_id, previous, pods, cookies, site.end(rotation_id))


def test_the_run_succeeds_and_says_so(story: Story) -> None:
    assert story.ended.status == "SUCCEEDED"
    assert story.record["outcome"] == "succeeded"
    assert story.record["failure"] is None


def test_secrets_manager_called_each_of_the_four_steps_once(story: Story) -> None:
    steps = [step.step for step in story.site.report(story.rotation_id).steps]
    assert steps == ["createSecret", "setSecret", "testSecret", "finishSecret"]


def test_the_new_version_is_current_the_old_one_previous_and_none_is_pending(
    story: Story,
) -> None:
    labels = story.site.stack.labels()
    assert labels[story.rotation_id] == ["AWSCURRENT"]
    assert labels[story.previous] == ["AWSPREVIOUS"]
    assert not any("AWSPENDING" in held for held in labels.values())


def test_the_key_is_a_new_one_and_every_other_field_is_kept(story: Story) -> None:
    old, new = story.site.document(story.previous), story.site.document(story.rotation_id)
    assert list(old) == list(new)
    assert old.pop(key.FIELD) != (rotated := new.pop(key.FIELD))
    assert old == new == OTHER_FIELDS
    assert len(key.parse_key(rotated).raw) == 32


def test_the_kubernetes_secret_holds_the_new_key(story: Story) -> None:
    assert story.site.delivered() == story.site.document(story.rotation_id)[key.FIELD]
    assert story.record["delivery"]["written"] is True


def test_every_pod_is_new_counted_in_the_record_and_named_in_the_logs(
    story: Story,
) -> None:
    now = story.site.pods()
    assert not set(now.values()) & set(story.pods_before.values())
    assert story.site.logged_pods(story.rotation_id, "before") == story.pods_before
    assert story.site.logged_pods(story.rotation_id, "after") == now
    services = {service["name"]: service for service in story.record["services"]}
    for found in ("podsBefore", "podsAfter"):
        counted = {name: service[found] for name, service in services.items()}
        assert counted == console.REPLICAS
    assert {name: found["replicas"] for name, found in services.items()} == console.REPLICAS


def test_every_session_of_before_is_gone_and_the_record_counts_them(story: Story) -> None:
    assert not {f"session:{cookie}".encode() for cookie in story.cookies} & story.site.sessions()
    sessions = story.record["sessions"]
    counts = {name: sessions[name] for name in ("before", "deleted", "left", "createdSince")}
    assert counts == {"before": 12, "deleted": 12, "left": 0, "createdSince": 0}
    assert sessions["claim"] == "12 ended; of those that existed when the purge began, none is left"


def test_keys_that_only_look_like_sessions_and_other_databases_stay(story: Story) -> None:
    with story.site.stack.redis.client(SESSION_DATABASE) as redis:
        assert redis.exists(*LOOK_ALIKES) == len(LOOK_ALIKES)
    with story.site.stack.redis.client(0) as redis:
        assert redis.exists("session:of-someone-else") == 1


def test_an_old_cookie_is_refused_and_a_new_login_works(story: Story) -> None:
    url = story.site.stack.urls["web-console"]
    assert not can_open_page(url, story.cookies[0])
    assert can_open_page(url, log_in(1, url).cookies[0])


def test_the_record_is_the_output_and_is_kept_in_the_bucket(story: Story) -> None:
    output = dict(story.record)
    assert output.pop("announced") == {"topic": "told", "bus": "told"}
    output = {name: output[name] for name in story.site.record(story.rotation_id)}
    assert output == story.site.record(story.rotation_id)


def test_the_record_begins_with_its_first_fields_and_has_each_step_in_order(story: Story) -> None:
    kept = story.site.record(story.rotation_id)
    assert list(kept)[: len(FIRST_FIELDS)] == FIRST_FIELDS
    assert kept["versions"] == {"new": story.rotation_id, "previous": story.previous}
    assert [step["name"] for step in kept["steps"]] == STATES
    times = [step["startedAt"] for step in kept["steps"]]
    assert times == sorted(times)


def test_people_are_told_at_the_start_and_at_the_end(story: Story) -> None:
    told = story.site.mailboxes.messages(story.rotation_id)
    assert [mail["Subject"] for mail in told] == [
        "Session key rotation started: users will have to log in again",
        "Session key rotation succeeded",
    ]
    assert "12 sessions will end" in told[0]["Message"]
    assert story.record["sessions"]["claim"] in told[1]["Message"]


def test_the_bus_gets_an_event_at_the_start_and_at_the_end(story: Story) -> None:
    events = story.site.mailboxes.events(story.rotation_id)
    kinds = ["Session Key Rotation Started", "Session Key Rotation Succeeded"]
    assert [event["detail-type"] for event in events] == kinds
    told = events[1]["detail"]
    assert told.pop("keptAt").endswith(f"/rotations/{story.rotation_id}.json")
    assert told == story.site.record(story.rotation_id)


def test_a_finished_run_is_not_started_again_by_a_repeated_finish_step(story: Story) -> None:
    site = story.site
    before, runs = site.snapshot(), site.executions()
    event = {"Step": "finishSecret", "SecretId": site.stack.secret_arn,
             "ClientRequestToken": story.rotation_id}  # fmt: skip
    name = site.stack.function_name("RotateSecretFunction")
    answer = site.stack.functions.invoke(name, json.dumps(event).encode())
    assert answer.function_error is None
    assert json.loads(answer.payload)["execution"] == f"rot-{story.rotation_id}"
    assert (site.snapshot(), site.executions()) == (before, runs)


def test_the_simulated_execution_counts_what_the_interpreter_has_recorded(story: Story) -> None:
    """What proves the limits of Step Functions (tests/unit/test_scale.py) is no model of ours."""
    history = story.site.history(story.rotation_id)
    answers: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    for seen in locate(history, {}):
        if seen.kind == "LambdaFunctionSucceeded":
            answers.setdefault((str(seen.state), seen.iterations), []).append(seen.output)
    started = next(event for event in history if event["type"] == "ExecutionStarted")
    taken = next(one for one in locate(history, {}) if one.kind == "PassStateExited")
    values = {
        "Services": ",".join(taken.output["start"]["services"]),
        "PollSeconds": str(taken.output["start"]["pollSeconds"]),
    }
    context = {
        "Id": taken.output["execution"],
        "StartTime": taken.output["start"]["startedAt"],
    }
    simulated = Execution(
        state_machine(),
        values,
        lambda _function, state, place, _given: answers[state, place].pop(0),
        {"Execution": context},
    )
    output = simulated.run(json.loads(started["executionStartedEventDetails"]["input"]))
    recorded = Counter(event["type"] for event in history)
    # A call that failed in a way that passed was repeated, which the answers do not show.
    failed = recorded.pop("LambdaFunctionFailed", 0)
    for kind in ("LambdaFunctionScheduled", "LambdaFunctionStarted"):
        recorded[kind] -= failed
    assert simulated.events == recorded
    assert output == story.record
    payloads = (one.output for one in locate(history, {}) if one.kind.endswith("StateExited"))
    assert simulated.largest[0] == max(map(payload_bytes, payloads))


def test_running_the_same_ledger_again_restarts_nothing_and_writes_nothing(story: Story) -> None:
    before = story.site.snapshot()
    again = story.site.run_again(story.rotation_id)
    assert again.output["outcome"] == "succeeded"
    assert again.output["delivery"]["written"] is False
    assert [service["podsBefore"] for service in again.output["services"]] == [0, 0]
    assert again.output["sessions"]["before"] == len(before.sessions)
    assert story.site.snapshot() == replace(before, sessions=frozenset())


def test_a_second_rotation_is_as_whole_as_the_first(story: Story) -> None:
    first, before = story.ended, story.site.pods()
    second = story.site.rotate_to_end()
    assert first.status == second.status == "SUCCEEDED"
    assert second.output["versions"]["previous"] == first.output["rotationId"]
    assert second.output["fingerprints"]["previous"] == first.output["fingerprints"]["new"]
    now = story.site.pods()
    assert not set(before.values()) & set(now.values())
    assert story.site.logged_pods(str(second.output["rotationId"]), "after") == now
