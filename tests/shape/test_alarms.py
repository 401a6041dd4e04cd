"""The alarms: what each watches, who is told, and what people read then."""

import re
from typing import Any

import pytest

from keyturn.monitoring import key_health, watch_trigger
from tests import monitoring
from tests.every_case import every_case
from tests.project import (
    ROOT,
    document,
    functions,
    monitoring_template,
    resources,
    template,
)

ALARMS = monitoring.alarms()
OPERATIONS = document(ROOT / "docs" / "operations.md")
# What an operator reads off the stack's outputs, for what the template refers to.
PLACES = {
    "${RotateSessionKey}": "<StateMachineArn>",
    "${SecretArn}": "<SecretArn>",
    "${FunctionLogs}": "<LogGroupName>",
    "${UndeliveredEvents}": "<UndeliveredEventsUrl>",
}
# https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
OF_AWS = {
    "AWS/States": {
        "ExecutionsStarted",
        "ExecutionsSucceeded",
        "ExecutionsFailed",
        "ExecutionsTimedOut",
        "ExecutionsAborted",
    },
    "AWS/Lambda": {"Errors", "Throttles"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
}
DIMENSION_OF = {
    "AWS/States": "StateMachineArn",
    "AWS/Lambda": "FunctionName",
    "AWS/SQS": "QueueName",
}
LASTING = {
    "DriftFoundAlarm",
    "ExposedKeyInUseAlarm",
    "KeyOverdueAlarm",
    "WatchSilentAlarm",
    "RotationStuckAlarm",
    "FunctionsThrottledAlarm",
    "EventsUndeliveredAlarm",
}
# Until the next look an alarm stays as it is, and while a run goes on nothing has drifted.
# So does that of a queue of which SQS has nothing new to report.
BETWEEN_LOOKS = {
    "DriftFoundAlarm",
    "ExposedKeyInUseAlarm",
    "KeyOverdueAlarm",
    "RotationStuckAlarm",
    "EventsUndeliveredAlarm",
}
EVERY = every_case("name", list(ALARMS))


def slug(heading: str) -> str:
    """The anchor that a heading of Markdown gets."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def sections() -> dict[str, str]:
    """The text under each alarm's heading, by anchor."""
    found = re.findall(r"^### (Alarm: .+)\n([^#]+)", OPERATIONS, re.MULTILINE)
    return {slug(heading): text for heading, text in found}


def description(name: str) -> str:
    """An alarm's description as the template writes it."""
    written = monitoring_template()["Resources"][name]["Properties"]["AlarmDescription"]
    return str(written if isinstance(written, str) else written["Fn::Sub"])


def anchor(name: str) -> str:
    (found,) = re.findall(r"docs/operations\.md#([\w-]+)", description(name))
    return str(found)


def periods(alarm: dict[str, Any]) -> set[int]:
    own = [query["MetricStat"]["Period"] for query in alarm.get("Metrics", ())
           if "MetricStat" in query]  # fmt: skip
    return set(own or [alarm["Period"]])


def test_there_are_alarms_for_all_that_can_go_wrong() -> None:
    watched = {metric[:2] for alarm in ALARMS.values() for metric in monitoring.watched_by(alarm)}
    assert watched == {
        ("AWS/States", "ExecutionsFailed"),
        ("AWS/States", "ExecutionsTimedOut"),
        ("AWS/States", "ExecutionsAborted"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("Keyturn", "KeyAge"),
        ("Keyturn", "PendingTime"),
        ("Keyturn", "SessionsLeft"),
        ("Keyturn", "DriftFound"),
        ("Keyturn", "ExposedKeyInUse"),
    }


def test_a_name_stands_in_one_of_the_templates_alone() -> None:
    """Tests and the local deployment find the resources of both by logical id."""
    assert not template()["Resources"].keys() & monitoring_template()["Resources"].keys()


def test_without_findings_nobody_is_alarmed_about_them() -> None:
    quiet = monitoring.alarms(GuardDutyFindings="false")
    assert ALARMS.keys() - quiet.keys() == {"FindingFailedAlarm"}
    assert "RespondToFindingFunction" not in str(quiet)


@EVERY
def test_an_alarm_has_a_heading_that_names_it(name: str) -> None:
    assert f"`{name}`." in sections()[anchor(name)]


def test_every_heading_is_that_of_one_alarm() -> None:
    anchors = [anchor(name) for name in ALARMS]
    assert sorted(anchors) == sorted(sections())


@EVERY
def test_description_and_heading_begin_with_the_same_command(name: str) -> None:
    command = description(name).partition(" First: ")[2]
    assert command.startswith("aws ")
    for reference, place in PLACES.items():
        command = command.replace(reference, place)
    assert f"- First: `{command}`\n- Then: " in sections()[anchor(name)]


@EVERY
def test_a_description_says_what_is_the_matter_before_all_else(name: str) -> None:
    first, found, _ = ALARMS[name]["AlarmDescription"].partition(" What to do: ")
    assert found
    assert first.endswith(".")
    assert len(ALARMS[name]["AlarmDescription"]) <= 1024


@EVERY
def test_an_alarm_tells_the_topic_and_what_lasts_tells_its_end_too(name: str) -> None:
    assert ALARMS[name]["AlarmActions"] == ["RotationTopic"]
    assert ALARMS[name].get("OKActions", []) == (["RotationTopic"] if name in LASTING else [])
    assert "InsufficientDataActions" not in ALARMS[name]


@EVERY
def test_missing_data_is_breaching_for_the_alarm_of_silence_alone(
    name: str,
) -> None:
    expected = "ignore" if name in BETWEEN_LOOKS else "notBreaching"
    desired = "breaching" if name == "WatchSilentAlarm" else expected
    assert ALARMS[name]["TreatMissingData"] == desired


@EVERY
def test_an_alarm_looks_no_further_back_than_cloudwatch_does(name: str) -> None:
    """A week for periods of an hour and more, a day for shorter ones (PutMetricAlarm, Period)."""
    (period,) = periods(ALARMS[name])
    assert period % 60 == 0
    longest = 604_800 if period >= 3600 else 86_400
    assert period * ALARMS[name]["EvaluationPeriods"] <= longest


@EVERY
def test_an_expression_has_one_result_and_no_more_metrics_than_allowed(name: str) -> None:
    metrics = ALARMS[name].get("Metrics")
    if metrics:
        assert [query["Expression"] for query in metrics if query.get("ReturnData", True)] == [
            "SUM(METRICS())"
        ]
        assert len(metrics) - 1 <= 10
        assert all(re.fullmatch(r"[a-z]\w*", query["Id"]) for query in metrics)
        assert len({query["Id"] for query in metrics}) == len(metrics)


@EVERY
def test_a_metric_of_aws_exists_and_is_that_of_our_machine_or_function(name: str) -> None:
    for namespace, metric, dimensions in monitoring.watched_by(ALARMS[name]):
        if namespace != "Keyturn":
            assert metric in OF_AWS[namespace]
            ((dimension, value),) = dimensions
            assert dimension == DIMENSION_OF[namespace]
            assert value in {"RotateSessionKey", "UndeliveredEvents.QueueName", *functions()}


def test_every_queue_of_what_was_not_answered_is_watched() -> None:
    watched = {
        value
        for alarm in ALARMS.values()
        for namespace, _, dimensions in monitoring.watched_by(alarm)
        for _, value in dimensions
        if namespace == "AWS/SQS"
    }
    assert watched == {f"{queue}.QueueName" for queue in resources("AWS::SQS::Queue")}


def test_silence_is_longer_than_one_late_look_and_shorter_than_a_morning() -> None:
    """An exposed key that is back has to be known within minutes: so the looks must not stop."""
    silent = ALARMS["WatchSilentAlarm"]
    assert (silent["Statistic"], silent["Threshold"]) == ("SampleCount", 1)
    assert silent["ComparisonOperator"] == "LessThanThreshold"
    assert "DatapointsToAlarm" not in silent
    seconds = silent["EvaluationPeriods"] * silent["Period"]
    assert 12 * watch_trigger.EVERY.total_seconds() < seconds <= 4 * 3600


@pytest.mark.parametrize("name", ["ExposedKeyInUseAlarm", "DriftFoundAlarm"])
def test_what_has_drifted_is_an_alarm_at_the_look_that_finds_it(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["Period"] == watch_trigger.EVERY.total_seconds()
    assert (alarm["EvaluationPeriods"], alarm["Threshold"]) == (1, 1)
    assert alarm["Statistic"] == "Maximum"


def test_a_key_is_overdue_when_the_watch_calls_it_too_old() -> None:
    assert monitoring.alarms(KeyAgeDays="30,60")["KeyOverdueAlarm"]["Threshold"] == "60"
    assert monitoring_template()["Resources"]["KeyOverdueAlarm"]["Properties"]["Threshold"] == {
        "Ref": "KeyAgeCriticalDays"
    }


def test_a_version_is_stuck_when_the_watch_calls_it_so() -> None:
    threshold = ALARMS["RotationStuckAlarm"]["Threshold"]
    assert threshold == key_health.UNDER_WAY.total_seconds()


def of_the_state_machines() -> set[str]:
    """The functions that a state machine calls, and calls again."""
    machines = resources("AWS::Serverless::StateMachine").values()
    return {
        name.removesuffix("Arn")
        for machine in machines
        for name in machine["DefinitionSubstitutions"]
    }


def test_functions_outside_the_state_machine_have_an_alarm_for_throttles() -> None:
    watched = {
        value
        for _, _, dimensions in monitoring.watched_by(ALARMS["FunctionsThrottledAlarm"])
        for _, value in dimensions
    }
    reserved = {name for name, own in functions().items() if "ReservedConcurrentExecutions" in own}
    assert watched == set(functions()) - of_the_state_machines()
    assert reserved <= watched


def test_functions_outside_the_state_machine_have_an_alarm_for_errors() -> None:
    watched = {
        value
        for alarm in ALARMS.values()
        for namespace, metric, dimensions in monitoring.watched_by(alarm)
        for _, value in dimensions
        if (namespace, metric) == ("AWS/Lambda", "Errors")
    }
    assert watched == set(functions()) - of_the_state_machines()
