"""Functions that die in the middle of a call, answers that are lost, values that are not yet seen.

Whatever is interrupted is repeated by Secrets Manager or by the state machine, and ends in one key,
one rollout and one run.
"""

import threading
from dataclasses import dataclass

import pytest

from keyturn.secret import key
from local import console
from local.stack import SESSION_DATABASE
from local.state_machines import locate
from local.users import can_open_page, log_in
from tests.e2e.interruptions import PREFLIGHT
from tests.e2e.site import Ended, Site

SESSIONS = 100_000
KILLED_STEPS = {
    "createSecret": "PutSecretValue",
    "testSecret": "GetSecretValue",
    "finishSecret": "UpdateSecretVersionStage",
}
KILLED_QUESTION = {PREFLIGHT: "patch deployments (dry run)"}
KILLED_STATES = {
    "BeginRotation": "Publish",
    "DeliverKey": "patch secrets",
    "RestartService": "patch deployments",
    "CheckRollout": "list pods",
    "ValidateRotation": "get pods/log",
    "FinishRotation": "PutObject",
}
PURGE = "PurgeSessions"


@dataclass(frozen=True)
class Survival:
    """A rotation in which every function was killed once, with what was true before."""

    site: Site
    rotation_id: str
    generations: dict[str, int]
    versions: frozenset[str]
    cookie: str
    sessions_when_purge_was_killed: int
    ended: Ended

    def errors(self, state: str) -> list[str]:
        """The errors of a state's function, in the run's history."""
        events = locate(self.site.history(self.rotation_id))
        return [event.error or "" for event in events
                if event.kind == "LambdaFunctionFailed" and event.state == state]  # fmt: skip


@pytest.fixture(scope="module")
def survival(module_site: Site) -> Survival:
    site, interruptions = module_site, module_site.interruptions
    cookie = log_in(1, site.stack.urls["web-console"]).cookies[0]
    site.add_sessions(SESSIONS)
    before = site.snapshot()
    for function, call in {**KILLED_STEPS, **KILLED_QUESTION, **KILLED_STATES}.items():
        interruptions.kill(function, call)
    left: list[int] = []
    killer = threading.Thread(target=lambda: left.append(_kill_in_the_middle_of_the_purge(site)))
    interruptions.before(PURGE, "DescribeSecret", killer.start)
    rotation_id = site.rotate()
    site.promoted(rotation_id)
    ended = site.end(rotation_id)
    killer.join()
    assert interruptions.clear() == [], "not every function was killed"
    return Survival(site, rotation_id, before.generations, before.versions, cookie, left[0], ended)


def _kill_in_the_middle_of_the_purge(site: Site) -> int:
    """Kill the purge once some sessions are deleted; returns how many were left then."""
    with site.stack.redis.client(SESSION_DATABASE) as redis:
        while redis.dbsize() > SESSIONS - 2000:
            pass
        site.interruptions.kill_environments(PURGE)
        return int(redis.dbsize())


@pytest.mark.parametrize("step", KILLED_STEPS)
def test_a_step_that_was_killed_is_taken_again_by_secrets_manager(
    survival: Survival, step: str
) -> None:
    taken = [one for one in survival.site.report(survival.rotation_id).steps if one.step == step]
    failed = [one.error or "" for one in taken if one.error]
    assert len(failed) == 1
    assert failed[0].startswith("Runtime.ExitError")
    assert taken[-1].error is None


@pytest.mark.parametrize("state", [*KILLED_STATES, PURGE])
def test_a_state_whose_function_was_killed_is_tried_again(survival: Survival, state: str) -> None:
    errors = survival.errors(state)
    assert errors
    assert set(errors) == {"Runtime.ExitError"}


def test_the_run_succeeds_all_the_same(survival: Survival) -> None:
    assert survival.ended.status == "SUCCEEDED"
    assert survival.ended.output["outcome"] == "succeeded"
    assert survival.site.executions().count(f"rot-{survival.rotation_id}") == 1


def test_there_is_one_new_key_and_everything_holds_it(survival: Survival) -> None:
    site, rotation_id = survival.site, survival.rotation_id
    assert site.snapshot().versions - survival.versions <= {rotation_id}
    assert site.current() == rotation_id
    assert site.delivered() == site.document(rotation_id)[key.FIELD]
    named = {line.split('"fingerprint":"')[1][:16] for line in site.log
             if rotation_id in line and '"fingerprint":"' in line}  # fmt: skip
    assert named == {key.parse_key(site.delivered()).fingerprint}


def test_every_service_was_restarted_once(survival: Survival) -> None:
    for name in console.REPLICAS:
        generation = survival.site.deployment(name)["metadata"]["generation"]
        assert generation == survival.generations[name] + 1


def test_the_purge_was_killed_half_way_and_no_session_is_left(survival: Survival) -> None:
    assert 0 < survival.sessions_when_purge_was_killed < SESSIONS
    assert survival.site.sessions() == frozenset()


def test_an_old_cookie_is_refused_and_a_new_login_works(survival: Survival) -> None:
    url = survival.site.stack.urls["web-console"]
    assert not can_open_page(url, survival.cookie)
    assert can_open_page(url, log_in(1, url).cookies[0])


def test_a_run_that_could_not_be_started_is_started_by_the_next_attempt(site: Site) -> None:
    interruptions = site.interruptions
    interruptions.refuse("finishSecret", "StartExecution", code="ExecutionLimitExceeded")
    rotation_id = site.rotate()
    report = site.promotion(rotation_id)
    assert [step.error is None for step in report.steps].count(False) == 1
    assert "StateMachineUnavailable" in str([step.error for step in report.steps])
    assert report.outcome == "succeeded"
    assert site.end(rotation_id).status == "SUCCEEDED"


def test_a_start_whose_answer_was_lost_is_not_repeated(site: Site) -> None:
    site.interruptions.kill("finishSecret", "StartExecution")
    rotation_id = site.rotate()
    report = site.promotion(rotation_id)
    assert [step.step for step in report.steps if step.error] == ["finishSecret"]
    assert report.outcome == "succeeded"
    assert site.executions().count(f"rot-{rotation_id}") == 1
    assert site.end(rotation_id).status == "SUCCEEDED"


def test_a_new_value_that_is_not_seen_at_once_is_waited_for(site: Site) -> None:
    site.stack.secrets_manager.hide_new_values(2)
    rotation_id = site.rotate()
    report = site.promotion(rotation_id)
    site.stack.secrets_manager.hide_new_values(0)
    assert [step.error for step in report.steps] == [None] * 4
    assert site.end(rotation_id).status == "SUCCEEDED"
