"""What the functions measure of real runs is what the records say and what the alarms look at."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn.run.times import format_timestamp, now
from local import console
from tests import emf, monitoring
from tests.e2e import outages, stories
from tests.e2e.site import Site

SERVICE = ("service", "keyturn")
SESSIONS = 12


@dataclass(frozen=True)
class Measured:
    """A run, its record, and the values that its measures had."""

    record: dict[str, Any]
    values: dict[emf.Metric, float]

    def of(self, name: str, **dimensions: str) -> float | None:
        """The value of a metric of the stack."""
        return self.values.get((name, frozenset({SERVICE, *dimensions.items()})))

    def of_mode(self, name: str) -> float | None:
        """The value of a metric of the run's mode."""
        return self.of(name, mode=self.record["mode"])

    @property
    def steps(self) -> dict[str, float]:
        """The seconds of each step that was measured."""
        return {
            dict(dimensions)["step"]: value
            for (name, dimensions), value in self.values.items()
            if name == "StepTime"
        }


def data(site: Site) -> list[emf.Datum]:
    """Every measure so far."""
    return emf.data(line.partition(" ")[2] for line in site.log)


def measured(site: Site, rotation_id: str) -> Measured:
    """The measures of a run: each metric of it has one value."""
    own = [one for one in data(site) if one.line.get("rotationId") == rotation_id]
    of_record = [one for one in own if "outcome" in one.line]
    assert len({one.metric for one in of_record}) == len(of_record)
    assert {one.namespace for one in own} == {"Keyturn"}
    return Measured(site.record(rotation_id), {one.metric: one.value for one in of_record})


@pytest.fixture(scope="module")
def scheduled(module_site: Site) -> Measured:
    site = module_site
    site.add_sessions(SESSIONS)
    assert site.rotate_to_end().output["outcome"] == "succeeded"
    return measured(site, site.rotations[-1])


@pytest.fixture(scope="module")
def emergency(module_site: Site) -> Measured:
    site = module_site
    site.add_sessions(SESSIONS)
    rotation_id = stories.finding(site)
    assert site.promotion(rotation_id).outcome == "succeeded"
    assert site.end(rotation_id).output["outcome"] == "succeeded"
    return measured(site, rotation_id)


@pytest.fixture(scope="module")
def restored(module_site: Site) -> Measured:
    site = module_site
    broken = ("ValidateRotation", "DescribeSecret", outages.login_broken)
    with outages.during(site, *broken, until_the_turn=True):
        assert site.rotate_to_end().error == "LoginBroken"
    return measured(site, site.rotations[-1])


def test_a_runs_measures_are_its_record(scheduled: Measured) -> None:
    record, of_mode = scheduled.record, scheduled.of_mode
    pods = sum(service["podsBefore"] for service in record["services"])
    assert record["mode"] == "scheduled"
    assert of_mode("RotationsSucceeded") == 1
    assert of_mode("RotationTime") == record["seconds"] > 0
    assert of_mode("SessionsEnded") == record["sessions"]["deleted"] == SESSIONS
    assert of_mode("SessionsLeft") == record["sessions"]["left"] == 0
    assert of_mode("PodsReplaced") == pods == sum(console.REPLICAS.values())
    assert of_mode("TimeToLastOldPod") == record["timings"]["secondsToLastOldPod"] > 0
    assert of_mode("TimeToLastOldSession") == record["timings"]["secondsToLastOldSession"] > 0
    assert scheduled.steps == {step["name"]: step["seconds"] for step in record["steps"]}
    assert len(scheduled.values) == 7 + len(record["steps"])


def test_an_emergency_after_a_finding_is_timed_from_its_detection(
    emergency: Measured, module_site: Site
) -> None:
    record, sessions = emergency.record, emergency.record["sessions"]
    assert record["mode"] == "emergency"
    assert emergency.of_mode("SessionsEnded") == sessions["deleted"] + sessions["endedFirst"]
    assert (emergency.of_mode("SessionsEnded") or 0) >= SESSIONS
    (asked,) = (
        one
        for one in data(module_site)
        if one.name == "FindingToRotation" and one.line["rotationId"] == record["rotationId"]
    )
    gone = emergency.of_mode("TimeToLastOldSession")
    assert gone == record["timings"]["secondsToLastOldSession"]
    assert 0 < asked.value < asked.value + (gone or 0)


def test_a_run_that_turned_back_is_counted_as_such_and_so_are_its_errors(
    restored: Measured, module_site: Site
) -> None:
    assert restored.record["outcome"] == "rolled-back"
    assert restored.of_mode("RotationsRolledBack") == 1
    assert restored.of_mode("RotationsSucceeded") is None
    there = {s["name"]: s["seconds"] for s in restored.record["steps"] if not s.get("rollback")}
    assert restored.steps == there
    failed = [
        dict(one.dimensions)["step"]
        for one in data(module_site)
        if one.name == "StepErrors" and one.line["error"] == "LoginBroken"
    ]
    assert set(failed) == {"ValidateRotation"}


OF_LOOKS = {"KeyAge", "PendingTime", "DriftFound", "ExposedKeyInUse"}


def look(site: Site, at: datetime) -> list[emf.Datum]:
    """What the look of a day measures."""
    before = len(data(site))
    name = site.stack.function_name("WatchKeyFunction")
    event = {"detail-type": "Scheduled Event", "time": format_timestamp(at)}
    answer = site.stack.functions.invoke(name, json.dumps(event).encode())
    assert answer.function_error is None, answer.payload
    return [one for one in data(site)[before:] if one.name in OF_LOOKS]


def test_the_daily_look_measures_the_age_of_the_key(scheduled: Measured, module_site: Site) -> None:
    current = module_site.current()
    client = module_site.stack.cloud.client("secretsmanager")
    listed = client.list_secret_version_ids(SecretId=module_site.stack.secret_arn)["Versions"]
    (made,) = (one["CreatedDate"] for one in listed if one["VersionId"] == current)
    measured = {one.metric: one.value for one in look(module_site, made + timedelta(days=12.5))}
    assert measured["KeyAge", frozenset({SERVICE})] == 12.5
    assert measured["PendingTime", frozenset({SERVICE})] == 0.0


def test_the_alarms_as_deployed_look_at_metrics_that_the_functions_measure(
    scheduled: Measured, emergency: Measured, module_site: Site
) -> None:
    emitted = {("Keyturn", *one.metric) for one in [*data(module_site), *look(module_site, now())]}
    client = module_site.stack.cloud.client("cloudwatch")
    alarms = client.describe_alarms()["MetricAlarms"]
    watched = {metric for alarm in alarms for metric in monitoring.watched_by(alarm)}
    ours = {metric for metric in watched if metric[0] == "Keyturn"}
    assert {name for _, name, _ in ours} == {*OF_LOOKS, "SessionsLeft"}
    assert ours <= emitted


def test_the_dashboard_as_deployed_shows_what_was_measured_and_every_alarm(
    scheduled: Measured, emergency: Measured, restored: Measured, module_site: Site
) -> None:
    client, ids = module_site.stack.cloud.client("cloudwatch"), module_site.stack.deployment
    name = ids.physical_ids["Dashboard"]
    body = json.loads(client.get_dashboard(DashboardName=name)["DashboardBody"])
    emitted = {("Keyturn", *one.metric) for one in data(module_site)}
    assert emitted <= set(monitoring.shown_by(body))
    (status,) = (one for one in body["widgets"] if one["type"] == "alarm")
    there = {alarm["AlarmArn"] for alarm in client.describe_alarms()["MetricAlarms"]}
    assert set(status["properties"]["alarms"]) == there
    functions = set(ids.functions.values())
    for alarm in client.describe_alarms()["MetricAlarms"]:
        for namespace, _, dimensions in monitoring.watched_by(alarm):
            if namespace == "AWS/Lambda":
                assert {value for _, value in dimensions} <= functions
