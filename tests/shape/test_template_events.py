"""Who calls whom: permissions bound to their source, and nothing that is lost."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from keyturn.monitoring import key_health, watch_trigger
from local import event_patterns
from local.event_patterns import matches
from local.events import target_input
from tests.conftest import ARN
from tests.policies import Call, allows, denies, statements
from tests.project import ACCOUNT, of_type, stack, template

ASYNCHRONOUS = {"RespondToFindingFunction", "WatchKeyFunction"}
STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE")
SIX_HOURS, TWO_WEEKS = 6 * 3600, 14 * 24 * 3600
SOURCES = {
    "SecretsManagerMayRotate": (
        "RotateSecretFunction.Arn", "secretsmanager.amazonaws.com", "SessionKeySecret",
    ),
    "EventBridgeMayRespond": (
        "RespondToFindingFunction.Arn", "events.amazonaws.com", "GuardDutyRule.Arn",
    ),
    "FrequentRuleMayWatch": (
        "WatchKeyFunction.Arn", "events.amazonaws.com", "FrequentWatchRule.Arn",
    ),
    "SecretProtectionRuleMayWatch": (
        "WatchKeyFunction.Arn", "events.amazonaws.com", "SecretProtectionRule.Arn",
    ),
    "KmsKeyProtectionRuleMayWatch": (
        "WatchKeyFunction.Arn", "events.amazonaws.com", "KmsKeyProtectionRule.Arn",
    ),
    "DailyRuleMayWatch": ("WatchKeyFunction.Arn", "events.amazonaws.com", "DailyWatchRule.Arn"),
    "KeyMovedRuleMayWatch": ("WatchKeyFunction.Arn", "events.amazonaws.com", "KeyMovedRule.Arn"),
    "RunEndedRuleMayWatch": ("WatchKeyFunction.Arn", "events.amazonaws.com", "RunEndedRule.Arn"),
}  # fmt: skip


def rules() -> dict[str, dict[str, Any]]:
    return of_type("AWS::Events::Rule", stack())


def test_a_function_is_called_by_one_source_of_this_account() -> None:
    permissions = of_type("AWS::Lambda::Permission", stack())
    assert permissions.keys() == SOURCES.keys()
    for name, permission in permissions.items():
        assert permission["Action"] == "lambda:InvokeFunction"
        called, by, source = SOURCES[name]
        assert (permission["FunctionName"], permission["Principal"]) == (called, by)
        assert permission["SourceArn"] == source


def test_a_permission_for_an_event_rule_has_no_account_beside_the_rules_arn() -> None:
    """EventBridge User Guide, "Troubleshooting": with a SourceAccount it may not invoke at all."""
    for permission in of_type("AWS::Lambda::Permission", stack()).values():
        account = "123456789012" if permission["Principal"].startswith("secrets") else None
        assert permission.get("SourceAccount") == account


def test_an_event_rule_calls_a_function_that_lets_it_and_no_other_rule_does() -> None:
    called = {
        (target["Arn"], f"{name}.Arn")
        for name, rule in rules().items()
        for target in rule["Targets"]
    }
    permitted = {(function, source) for function, by, source in SOURCES.values() if "events" in by}
    assert called == permitted


def test_the_key_is_watched_at_the_same_time_every_day_and_when_it_moves() -> None:
    assert rules()["DailyWatchRule"]["ScheduleExpression"] == "cron(0 8 * * ? *)"
    assert rules()["KeyMovedRule"]["EventPattern"] == {
        "source": ["aws.secretsmanager"],
        "detail-type": ["Secret Label Updated"],
        "resources": ["SessionKeySecret"],
        "detail": {"labelUpdated": ["AWSCURRENT"]},
    }
    assert template()["Parameters"]["RotationNoticeHours"]["MinValue"] == 24


def test_the_frequent_look_never_runs_beside_the_daily_one() -> None:
    rule = rules()["FrequentWatchRule"]
    minutes = re.fullmatch(r"cron\((\d)/(\d) \* \* \* \? \*\)", rule["ScheduleExpression"])
    assert minutes
    first, every = map(int, minutes.groups())
    assert timedelta(minutes=every) == watch_trigger.EVERY
    assert 0 < first < every
    (target,) = rule["Targets"]
    event = {"id": "1", "detail-type": "Scheduled Event", "time": "2026-11-24T12:02:00Z"}
    given = json.loads(target_input(target, event))
    call = watch_trigger.parse_trigger(given, "arn:secret")
    assert (call.kind, call.at.isoformat()) == ("frequent", "2026-11-24T12:02:00+00:00")


@pytest.mark.parametrize("rule", ["SecretProtectionRule", "KmsKeyProtectionRule"])
def test_the_watch_knows_every_call_that_a_rule_brings_it(rule: str) -> None:
    detail = rules()[rule]["EventPattern"]["detail"]
    assert set(detail["eventName"]) <= watch_trigger.CHANGES.keys()
    assert detail["errorCode"] == [{"exists": False}]  # a call that was refused has changed nothing


def test_every_call_that_the_watch_knows_is_brought_by_one_rule() -> None:
    brought = [
        name
        for rule in ("SecretProtectionRule", "KmsKeyProtectionRule")
        for name in rules()[rule]["EventPattern"]["detail"]["eventName"]
    ]
    assert sorted(brought) == sorted(watch_trigger.CHANGES)


def test_a_run_that_ended_badly_is_looked_into_at_once_and_no_other_execution() -> None:
    pattern = rules()["RunEndedRule"]["EventPattern"]
    event_patterns.check(pattern)

    def ended(status: str, machine: str = "RotateSessionKey") -> dict[str, Any]:
        return {
            "source": "aws.states",
            "detail-type": "Step Functions Execution Status Change",
            "time": "2026-11-24T12:00:00Z",
            "detail": {"status": status, "stateMachineArn": machine},
        }

    assert {one for one in STATUSES if matches(pattern, ended(one))} == key_health.ENDED_BADLY
    assert not matches(pattern, ended("FAILED", "Preflight"))
    assert watch_trigger.parse_trigger(ended("FAILED"), "arn:secret").kind == "ended"


def cloud_trail(source: str, name: str, **detail: Any) -> dict[str, Any]:
    """An event of CloudTrail, as the KMS and the Secrets Manager guides show it."""
    return {
        "source": f"aws.{source}",
        "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": f"{source}.amazonaws.com", "eventName": name, **detail},
    }


def test_a_changed_policy_of_the_secret_matches_and_that_of_another_does_not() -> None:
    pattern = rules()["SecretProtectionRule"]["EventPattern"]
    event_patterns.check(pattern)
    ours: dict[str, Any] = {"responseElements": {"arn": "SessionKeySecret"}}
    assert matches(pattern, cloud_trail("secretsmanager", "PutResourcePolicy", **ours))
    assert not matches(pattern, cloud_trail("secretsmanager", "GetSecretValue", **ours))
    refused = {**ours, "errorCode": "AccessDenied"}
    assert not matches(pattern, cloud_trail("secretsmanager", "PutResourcePolicy", **refused))
    other = {"responseElements": {"arn": "another"}}
    assert not matches(pattern, cloud_trail("secretsmanager", "PutResourcePolicy", **other))
    assert not matches(pattern, cloud_trail("kms", "PutKeyPolicy", **ours))


def test_a_changed_policy_of_the_kms_key_matches_and_that_of_another_does_not() -> None:
    pattern = rules()["KmsKeyProtectionRule"]["EventPattern"]
    event_patterns.check(pattern)

    def of(*arns: str) -> dict[str, Any]:
        resources = [{"ARN": arn, "accountId": "1", "type": "AWS::KMS::Key"} for arn in arns]
        return cloud_trail("kms", "PutKeyPolicy", resources=resources)

    assert matches(pattern, of("KmsKey.Arn"))
    assert matches(pattern, of("another", "KmsKey.Arn"))
    assert not matches(pattern, of("another"))
    assert not matches(pattern, of())
    own = "arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-1234-1234-123456789012"
    existing = {
        "InitialSessionKey": "",
        "ExistingSecretArn": ARN,
        "KmsKeyArns": f"{own},{own[:-1]}3",
    }
    with_own = of_type("AWS::Events::Rule", stack(**existing))["KmsKeyProtectionRule"]
    for arn in (own, f"{own[:-1]}3", "KmsKey.Arn"):
        assert matches(with_own["EventPattern"], of(arn))
    assert not matches(with_own["EventPattern"], of("another"))


def test_findings_of_this_account_alone_are_looked_at() -> None:
    pattern = rules()["GuardDutyRule"]["EventPattern"]
    assert pattern["source"] == ["aws.guardduty"]
    assert pattern["detail"]["accountId"] == ["123456789012"]
    assert pattern["detail"]["service"] == {"archived": [False]}


def test_an_event_that_its_function_does_not_take_is_kept() -> None:
    for rule in rules().values():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": "UndeliveredEvents.Arn"}
            assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    ages = {
        name: target["RetryPolicy"]["MaximumEventAgeInSeconds"]
        for name, rule in rules().items()
        for target in rule["Targets"]
    }
    # A frequent look that is late is as good as the next one.
    assert ages.pop("FrequentWatchRule") == watch_trigger.EVERY.total_seconds()
    assert set(ages.values()) == {SIX_HOURS}


def test_an_event_on_which_its_function_fails_is_kept() -> None:
    functions = of_type("AWS::Serverless::Function", stack())
    keeping = {name for name, own in functions.items() if "DeadLetterQueue" in own}
    assert keeping == ASYNCHRONOUS
    for name in keeping:
        own = functions[name]
        assert own["DeadLetterQueue"] == {"Type": "SQS", "TargetArn": "UndeliveredEvents.Arn"}
        limits = own["EventInvokeConfig"]
        assert limits == {"MaximumEventAgeInSeconds": SIX_HOURS, "MaximumRetryAttempts": 2}


def test_every_queue_is_encrypted_and_keeps_what_it_holds_for_two_weeks() -> None:
    for queue in of_type("AWS::SQS::Queue", stack()).values():
        assert queue.get("SqsManagedSseEnabled") is True or queue.get("KmsMasterKeyId")
        assert queue["MessageRetentionPeriod"] == TWO_WEEKS


def sent_by(rule: str, account: str = "123456789012") -> Call:
    context = {"aws:SourceArn": rule, "aws:SourceAccount": account, "aws:SecureTransport": "true"}
    return Call("sqs:SendMessage", "UndeliveredEvents.Arn", context)


def test_our_rules_alone_may_put_events_into_the_queue() -> None:
    (policy,) = of_type("AWS::SQS::QueuePolicy", stack()).values()
    assert policy["Queues"] == ["UndeliveredEvents"]
    given = statements(policy["PolicyDocument"])
    for rule in rules():
        assert allows(given, sent_by(f"{rule}.Arn"))
        assert not allows(given, sent_by(f"{rule}.Arn", "210987654321"))
    assert not allows(given, sent_by(ACCOUNT.format(service="events", name="rule/another")))
    in_clear = Call("sqs:SendMessage", "UndeliveredEvents.Arn", {"aws:SecureTransport": "false"})
    assert denies(given, in_clear)
    without = of_type("AWS::SQS::QueuePolicy", stack(GuardDutyFindings="false"))
    assert "GuardDutyRule" not in str(without)


def test_alarms_of_this_account_alone_may_use_the_topic_and_nobody_without_tls() -> None:
    (policy,) = of_type("AWS::SNS::TopicPolicy", stack()).values()
    given = statements(policy["PolicyDocument"])
    alarm = ACCOUNT.format(service="cloudwatch", name="alarm:old-key")

    def published(account: str, secure: str = "true") -> Call:
        context = {"aws:SourceArn": alarm, "aws:SourceAccount": account}
        return Call("sns:Publish", "RotationTopic", {**context, "aws:SecureTransport": secure})

    assert allows(given, published("123456789012"))
    assert not allows(given, published("210987654321"))
    assert denies(given, published("123456789012", "false"))
    (allowing,) = (one for one in given if one["Effect"] == "Allow")
    assert allowing["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
