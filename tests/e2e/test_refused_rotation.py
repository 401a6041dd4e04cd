"""Rotations that are refused before anything has changed, each with the cause in its name."""

import base64
import json
import secrets

import pytest

from keyturn.secret import key
from tests.e2e import outages
from tests.e2e.outages import Outage, current_value, with_key
from tests.e2e.rotation_calls import invoke
from tests.e2e.site import Site


def random_base64(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode()


ENVIRONMENT: dict[str, tuple[Outage, str, str]] = {
    "a paused Deployment": (outages.paused, "ServicePaused", "setSecret"),
    "a Deployment scaled to zero": (outages.scaled_to_zero, "ServiceScaledToZero", "setSecret"),
    "no reference to the key": (outages.key_not_referred_to, "KeyNotInjected", "setSecret"),
    "no Kubernetes Secret": (outages.kubernetes_secret_missing, "ServiceNotFound", "setSecret"),
    "a silent cluster": (outages.cluster_silent, "ClusterUnavailable", "setSecret"),
    "Redis down": (outages.redis_down, "SessionStoreUnavailable", "setSecret"),
    "an unhealthy service": (outages.no_pod_behind_a_service, "ServiceUnhealthy", "setSecret"),
}
DOCUMENTS: dict[str, tuple[Outage, str]] = {
    "not JSON": (current_value(lambda: random_base64(32)), "SecretNotJson"),
    "not an object": (current_value(lambda: json.dumps([random_base64(32)])), "SecretNotJson"),
    "no key field": (current_value(lambda: json.dumps({"other": 1})), "KeyFieldMissing"),
    "16 bytes": (with_key(lambda: random_base64(16)), "KeyNot32Bytes"),
    "48 bytes": (with_key(lambda: random_base64(48)), "KeyNot32Bytes"),
    "hexadecimal": (with_key(lambda: secrets.token_hex(32)), "KeyNot32Bytes"),
    "not base64": (with_key(lambda: f"{random_base64(32)}\n"), "KeyNotBase64"),
    "not canonical": (with_key(outages.not_canonical), "KeyNotBase64"),
}


def assert_refused(site: Site, outage: Outage, error: str, step: str) -> str:
    """See a rotation refused while something is broken; returns what it said."""
    with outage(site):
        before = site.snapshot(tolerant=True)
        report = site.refuse_once()
        failed = next(one for one in report.steps if one.error)
        assert site.snapshot(tolerant=True) == before
    summary = failed.error or ""
    assert (failed.step, summary.split(":")[0]) == (step, error)
    assert f"rot-{report.version_id}" not in site.executions()
    return summary


@pytest.mark.parametrize("cause", ENVIRONMENT)
def test_a_rotation_is_refused_and_changes_nothing_with(site: Site, cause: str) -> None:
    assert_refused(site, *ENVIRONMENT[cause])


@pytest.mark.parametrize("cause", DOCUMENTS)
def test_a_current_value_that_is_no_key_is_refused_and_kept(site: Site, cause: str) -> None:
    summary = assert_refused(site, *DOCUMENTS[cause], step="createSecret")
    assert "Nothing was changed" in summary


def test_a_key_in_hexadecimal_is_told_to_be_converted(site: Site) -> None:
    summary = assert_refused(site, *DOCUMENTS["hexadecimal"], step="createSecret")
    assert "looks like hexadecimal: convert it to base64" in summary


def test_secrets_manager_goes_on_by_itself_once_a_service_is_healthy_again(site: Site) -> None:
    with outages.no_pod_behind_a_service(site):
        rotation_id = site.rotate()
        site.stack.wait(lambda: bool(site.report(rotation_id).retry_at), "it is to be tried again")
    site.promoted(rotation_id)
    assert site.end(rotation_id).output["outcome"] == "succeeded"


def test_a_new_rotation_succeeds_once_the_cause_is_mended(site: Site) -> None:
    assert_refused(site, *ENVIRONMENT["Redis down"])
    assert site.settle()
    assert site.rotate_to_end().output["outcome"] == "succeeded"


def test_all_that_is_wrong_is_told_at_once(site: Site) -> None:
    with outages.paused(site), outages.scaled_to_zero(site):
        summary = str(site.refuse_once().steps[-1].error)
    assert "ServicePaused: restart_service: Deployment web-console is paused" in summary
    assert "ServiceScaledToZero: restart_service: Deployment auth-service has 0 replicas" in summary


def test_a_rotation_that_is_not_immediate_tests_everything_and_changes_nothing(site: Site) -> None:
    before = site.snapshot()
    report = site.promotion(site.rotate(RotateImmediately=False))
    assert report.outcome == "succeeded"
    assert [step.step for step in report.steps] == ["testSecret"]
    assert site.snapshot() == before


def test_a_rotation_that_is_not_immediate_names_an_unhealthy_service(site: Site) -> None:
    with outages.no_pod_behind_a_service(site):
        report = site.promotion(site.rotate(RotateImmediately=False))
    assert report.outcome == "failed"
    assert (report.error or "").startswith("ServiceUnhealthy: ")
    assert f"{site.stack.urls['auth-service']}/healthz answers 503" in (report.error or "")


@pytest.mark.parametrize(
    "change",
    [
        {"SecretId": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:another-AbCdEf"},
        {"Step": "dropSecret"},
        {"ClientRequestToken": "00000000-0000-4000-8000-000000000000"},
        {"ClientRequestToken": "short"},
        {"ClientRequestToken": None},
    ],
)
@pytest.mark.parametrize("step", ["createSecret", "finishSecret"])
def test_a_call_that_secrets_manager_would_not_make_is_refused(
    site: Site, step: str, change: dict[str, str | None]
) -> None:
    before = site.snapshot()
    good = {"Step": step, "SecretId": site.stack.secret_arn, "ClientRequestToken": site.current()}
    answer = invoke(site, {**good, **change})
    assert answer["errorType"] == "RequestRefused"
    assert "Nothing was written" in answer["errorMessage"]
    assert site.snapshot() == before


def test_a_version_that_is_not_pending_is_not_promoted(site: Site) -> None:
    current = site.current()
    again = {key.FIELD: key.generate_key().base64}
    with site.unwatched(), outages.rollback_to(site, current):
        site.put_value(json.dumps({**site.document(), **again}))
        before = site.snapshot(tolerant=True)
        event = {"Step": "finishSecret", "SecretId": site.stack.secret_arn}
        answer = invoke(site, {**event, "ClientRequestToken": current})
        assert answer["errorType"] == "RequestRefused"
        assert "is not pending" in answer["errorMessage"]
        assert site.snapshot(tolerant=True) == before
