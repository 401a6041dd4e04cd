"""A SAM template becomes a working stack of the local cloud, or the error says why not."""

import json
import secrets
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.clock import SystemClock
from local.cloud import Cloud
from local.deployment import Deployment, DeploymentError, deploy
from local.functions import Functions
from local.processes import Processes
from local.secrets_manager import SecretsManager

ACCOUNT = "111122223333"
REGION = "eu-west-1"

FUNCTION = """
import os
import shared

def handler(event, context):
    return {"variables": {name: os.environ[name] for name in ("MODE", "SERVICES", "TOPIC")},
            "shared": shared.NAME, "event": event}

def rotate(event, context):
    return None
"""

STATE_MACHINE = {
    "StartAt": "Show",
    "States": {
        "Show": {
            "Type": "Task",
            "Resource": "${ShowFunctionArn}",
            "Parameters": {"pause": "${Pause}"},
            "End": True,
        }
    },
}

TEMPLATE = """
    Transform: AWS::Serverless-2016-10-31
    Parameters:
      Mode: {Type: String, Default: scheduled, AllowedValues: [scheduled, emergency]}
      Services: {Type: CommaDelimitedList, Default: "web-console,auth-service"}
      Days: {Type: Number, Default: 30}
      RecordsName: {Type: String, Default: ""}
    Conditions:
      KeepsRecords: !Not [!Equals [!Ref RecordsName, ""]]
    Globals:
      Function:
        Runtime: python3.13
        CodeUri: code/
        Timeout: 20
        MemorySize: 256
        Layers: [!Ref SharedLayer]
        Environment:
          Variables: {MODE: !Ref Mode, SERVICES: !Join [";", !Ref Services]}
    Resources:
      Machine:
        Type: AWS::Serverless::StateMachine
        Properties:
          DefinitionUri: machine.asl.json
          DefinitionSubstitutions: {ShowFunctionArn: !GetAtt ShowFunction.Arn, Pause: !Ref Days}
          Policies: [{LambdaInvokePolicy: {FunctionName: !Ref ShowFunction}}]
      ShowFunction:
        Type: AWS::Serverless::Function
        Properties:
          Handler: app.handler
          ReservedConcurrentExecutions: 2
          Environment: {Variables: {TOPIC: !Ref Topic}}
          EventInvokeConfig: {MaximumRetryAttempts: 0}
          Policies:
            - Statement:
                - {Effect: Allow, Action: "sns:Publish", Resource: !Ref Topic}
                - !If
                  - KeepsRecords
                  - {Effect: Allow, Action: "sqs:SendMessage", Resource: !Sub "${Records.Arn}"}
                  - !Ref AWS::NoValue
          Events:
            Daily: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
            Finding: {Type: EventBridgeRule, Properties: {Pattern: {source: [aws.guardduty]}}}
      RotateFunction:
        Type: AWS::Serverless::Function
        Properties: {Handler: app.rotate}
      SharedLayer:
        Type: AWS::Serverless::LayerVersion
        Properties: {ContentUri: layer}
      SessionKey:
        Type: AWS::SecretsManager::Secret
        Properties:
          KmsKeyId: !GetAtt Key.Arn
          SecretString: '{"owner": "platform"}'
      Schedule:
        Type: AWS::SecretsManager::RotationSchedule
        DependsOn: MayRotate
        Properties:
          SecretId: !Ref SessionKey
          RotationLambdaARN: !GetAtt RotateFunction.Arn
          RotationRules: {ScheduleExpression: !Sub "cron(0 3 ${Days} * ? *)"}
          RotateImmediatelyOnUpdate: false
      MayRotate:
        Type: AWS::Lambda::Permission
        Properties:
          FunctionName: !Ref RotateFunction
          Action: lambda:InvokeFunction
          Principal: secretsmanager.amazonaws.com
      SecretPolicy:
        Type: AWS::SecretsManager::ResourcePolicy
        Properties:
          SecretId: !Ref SessionKey
          ResourcePolicy:
            Statement:
              - Effect: Deny
                Principal: "*"
                Action: "secretsmanager:DeleteSecret"
                Resource: "*"
      Key:
        Type: AWS::KMS::Key
        Properties: {EnableKeyRotation: true}
      KeyAlias:
        Type: AWS::KMS::Alias
        Properties: {AliasName: alias/session-key, TargetKeyId: !Ref Key}
      Topic: {Type: AWS::SNS::Topic}
      TopicPolicy:
        Type: AWS::SNS::TopicPolicy
        Properties:
          Topics: [!Ref Topic]
          PolicyDocument:
            Statement:
              - Effect: Allow
                Principal: {Service: events.amazonaws.com}
                Action: "sns:Publish"
                Resource: !Ref Topic
      Queue:
        Type: AWS::SQS::Queue
        Properties: {VisibilityTimeout: !Ref Days}
      Logs:
        Type: AWS::Logs::LogGroup
        Properties: {RetentionInDays: !Ref Days}
      Records:
        Type: AWS::SQS::Queue
        Condition: KeepsRecords
        Properties: {QueueName: !Ref RecordsName}
      QueuePolicy:
        Type: AWS::SQS::QueuePolicy
        Condition: KeepsRecords
        Properties:
          Queues: [!Ref Records]
          PolicyDocument:
            Statement: [{Effect: Deny, Principal: "*", Action: "sqs:*", Resource: "*"}]
      TooOld:
        Type: AWS::CloudWatch::Alarm
        Properties:
          AlarmActions: [!Ref Topic]
          Namespace: Keys
          MetricName: Age
          Dimensions: [{Name: service, Value: !Ref AWS::StackName}]
          Statistic: Maximum
          Period: 300
          EvaluationPeriods: 1
          ComparisonOperator: GreaterThanThreshold
          Threshold: !Ref Days
          TreatMissingData: ignore
      Failing:
        Type: AWS::CloudWatch::Alarm
        Properties:
          AlarmName: failing
          EvaluationPeriods: 3
          DatapointsToAlarm: 1
          ComparisonOperator: GreaterThanThreshold
          Threshold: 0
          Metrics:
            - {Id: all, Expression: SUM(METRICS())}
            - Id: show
              ReturnData: false
              MetricStat:
                Stat: Sum
                Period: !Ref Days
                Metric:
                  Namespace: AWS/Lambda
                  MetricName: Errors
                  Dimensions: [{Name: FunctionName, Value: !Ref ShowFunction}]
      Picture:
        Type: AWS::CloudWatch::Dashboard
        Properties:
          DashboardBody: !Sub |
            {"widgets": [{"type": "alarm", "properties": {"alarms": ["${TooOld.Arn}"]}}]}
    Outputs:
      MachineArn: {Value: !Ref Machine}
      RecordsArn: {Condition: KeepsRecords, Value: !GetAtt Records.Arn}
      KeyId: {Value: !Select [1, !Split ["/", !GetAtt Key.Arn]]}
"""

Deploy = Callable[..., Deployment]


@pytest.fixture
def functions() -> Iterator[Functions]:
    with Processes() as processes:
        yield Functions(processes, account=ACCOUNT, region=REGION, extra_environment={})


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
    yield front
    manager.close()
    functions.close()
    front.close()


@pytest.fixture
def deployed(tmp_path: Path, cloud: Cloud, functions: Functions) -> Deploy:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(FUNCTION)
    (tmp_path / "layer" / "shared").mkdir(parents=True)
    (tmp_path / "layer" / "shared" / "__init__.py").write_text("NAME = 'from the layer'")
    (tmp_path / "machine.asl.json").write_text(json.dumps(STATE_MACHINE))

    def deployed(template: str, **parameters: str) -> Deployment:
        path = tmp_path / "template.yaml"
        path.write_text(textwrap.dedent(template))
        return deploy(path, parameters, cloud, functions)

    return deployed


def resources(text: str) -> str:
    return "Transform: AWS::Serverless-2016-10-31\nResources:\n" + textwrap.indent(
        textwrap.dedent(text), "  "
    )


def test_a_deployed_function_runs_with_the_templates_settings(
    deployed: Deploy, cloud: Cloud, functions: Functions
) -> None:
    deployment = deployed(TEMPLATE, Mode="emergency")
    name = deployment.functions["ShowFunction"]
    settings = functions.settings(name)
    assert (settings.timeout_seconds, settings.memory_mb, settings.reserved_concurrency) == (
        20,
        256,
        2,
    )
    answer = json.loads(functions.invoke(name, b'{"a": 1}').payload)
    assert answer == {
        "event": {"a": 1},
        "shared": "from the layer",
        "variables": {
            "MODE": "emergency",
            "SERVICES": "web-console;auth-service",
            "TOPIC": deployment.physical_ids["Topic"],
        },
    }


def test_a_built_layer_is_imported_from_its_folder_python(
    tmp_path: Path, deployed: Deploy, functions: Functions
) -> None:
    (tmp_path / "layer" / "shared").rename(tmp_path / "package")
    (tmp_path / "layer" / "python").mkdir()
    (tmp_path / "package").rename(tmp_path / "layer" / "python" / "shared")
    name = deployed(TEMPLATE).functions["ShowFunction"]
    assert json.loads(functions.invoke(name, b"{}").payload)["shared"] == "from the layer"


def test_a_deployed_state_machine_calls_the_deployed_function(
    deployed: Deploy, cloud: Cloud
) -> None:
    machine = deployed(TEMPLATE).outputs["MachineArn"]
    definition = cloud.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
    show = json.loads(definition["definition"])["States"]["Show"]
    assert show["Resource"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:keyturn-ShowFunction"
    assert show["Parameters"] == {"pause": "30"}


def test_a_deployed_secret_is_stored_and_scheduled_but_not_rotated(
    deployed: Deploy, cloud: Cloud
) -> None:
    secret = deployed(TEMPLATE, Days="7").physical_ids["SessionKey"]
    client = cloud.client("secretsmanager")
    assert client.get_secret_value(SecretId=secret)["SecretString"] == '{"owner": "platform"}'
    described = client.describe_secret(SecretId=secret)
    assert described["RotationRules"] == {"ScheduleExpression": "cron(0 3 7 * ? *)"}
    assert described["RotationLambdaARN"].endswith(":keyturn-RotateFunction")
    policy = json.loads(client.get_resource_policy(SecretId=secret)["ResourcePolicy"])
    assert policy["Statement"][0]["Action"] == "secretsmanager:DeleteSecret"


def test_a_condition_decides_over_resources_outputs_and_statements(
    deployed: Deploy, cloud: Cloud
) -> None:
    deployment = deployed(TEMPLATE, RecordsName="records")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:records"
    assert deployment.outputs["RecordsArn"] == arn
    queue = cloud.client("sqs").get_queue_attributes(
        QueueUrl=deployment.physical_ids["Records"], AttributeNames=["Policy"]
    )["Attributes"]
    assert json.loads(queue["Policy"])["Statement"][0]["Effect"] == "Deny"
    policy = cloud.client("iam").get_role_policy(
        RoleName="keyturn-ShowFunctionRole", PolicyName="ShowFunctionRolePolicy0"
    )["PolicyDocument"]
    assert [each["Resource"] for each in policy["Statement"]] == [
        deployment.physical_ids["Topic"],
        arn,
    ]


def test_what_a_condition_leaves_out_is_not_there(deployed: Deploy, cloud: Cloud) -> None:
    deployment = deployed(TEMPLATE)
    assert "RecordsArn" not in deployment.outputs
    assert "Records" not in deployment.physical_ids
    assert len(cloud.client("sqs").list_queues()["QueueUrls"]) == 1
    role = deployment.resources["ShowFunctionRole"].properties
    assert len(role["Policies"][0]["PolicyDocument"]["Statement"]) == 1


def test_other_resources_are_created_as_the_template_says(deployed: Deploy, cloud: Cloud) -> None:
    deployment = deployed(TEMPLATE)
    ids = deployment.physical_ids
    key = cloud.client("kms").describe_key(KeyId="alias/session-key")["KeyMetadata"]
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    queue = cloud.client("sqs").get_queue_attributes(
        QueueUrl=ids["Queue"], AttributeNames=["VisibilityTimeout"]
    )["Attributes"]
    rules = {rule["Name"]: rule for rule in cloud.client("events").list_rules()["Rules"]}
    assert key["KeyId"] == ids["Key"] == deployment.outputs["KeyId"]
    assert cloud.client("kms").get_key_rotation_status(KeyId=ids["Key"])["KeyRotationEnabled"]
    assert [(group["logGroupName"], group["retentionInDays"]) for group in groups] == [
        ("keyturn-Logs", 30)
    ]
    assert queue["VisibilityTimeout"] == "30"
    assert rules["keyturn-ShowFunctionDaily"]["ScheduleExpression"] == "rate(1 day)"
    assert json.loads(rules["keyturn-ShowFunctionFinding"]["EventPattern"]) == {
        "source": ["aws.guardduty"]
    }


def test_alarms_and_dashboards_are_kept_and_can_be_looked_up(
    deployed: Deploy, cloud: Cloud
) -> None:
    deployment = deployed(TEMPLATE)
    watch = cloud.client("cloudwatch")
    alarms = {one["AlarmName"]: one for one in watch.describe_alarms()["MetricAlarms"]}
    assert set(alarms) == {"keyturn-TooOld", "failing"}
    old = alarms["keyturn-TooOld"]
    assert old["AlarmActions"] == [deployment.physical_ids["Topic"]]
    assert (old["Threshold"], old["Period"], old["TreatMissingData"]) == (30.0, 300, "ignore")
    assert old["Dimensions"] == [{"Name": "service", "Value": "keyturn"}]
    expression, metric = alarms["failing"]["Metrics"]
    assert expression["Expression"] == "SUM(METRICS())"
    assert metric["MetricStat"]["Period"] == 30
    assert metric["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "FunctionName", "Value": deployment.physical_ids["ShowFunction"]}
    ]
    body = watch.get_dashboard(DashboardName=deployment.physical_ids["Picture"])["DashboardBody"]
    (widget,) = json.loads(body)["widgets"]
    assert widget["properties"]["alarms"] == [old["AlarmArn"]]


def nested(folder: Path, topic: str) -> str:
    """A template with a nested one, which has an alarm that notifies a topic of the outer one."""
    (folder / "alarms.yaml").write_text(
        textwrap.dedent("""
        Parameters: {Topic: {Type: String}, Days: {Type: Number}}
        Resources:
          TooOld:
            Type: AWS::CloudWatch::Alarm
            Properties:
              AlarmActions: [!Ref Topic]
              ComparisonOperator: GreaterThanThreshold
              EvaluationPeriods: 1
              Threshold: !Ref Days
    """)
    )
    return resources(f"""
        Topic: {{Type: AWS::SNS::Topic}}
        Nested:
          Type: AWS::CloudFormation::Stack
          Properties: {{TemplateURL: alarms.yaml, Parameters: {{Topic: {topic}, Days: 90}}}}
    """)


def test_a_nested_template_is_deployed_with_the_outer_ones_values(
    deployed: Deploy, cloud: Cloud, tmp_path: Path
) -> None:
    deployment = deployed(nested(tmp_path, "!Ref Topic"))
    (alarm,) = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarm["AlarmName"] == deployment.physical_ids["TooOld"] == "keyturn-Nested-TooOld"
    assert alarm["AlarmActions"] == [deployment.physical_ids["Topic"]]
    assert alarm["Threshold"] == 90


def test_what_a_nested_template_cannot_deploy_is_named_with_both(
    deployed: Deploy, tmp_path: Path
) -> None:
    template = nested(tmp_path, "!Ref Topic")
    (tmp_path / "alarms.yaml").write_text("Resources: {A: {Type: AWS::SNS::Topic}}")
    with pytest.raises(DeploymentError, match=r"^Nested \(.*Stack\): .*no parameter Days"):
        deployed(template)
    (tmp_path / "alarms.yaml").unlink()
    with pytest.raises(DeploymentError, match=r"^Nested \(.*Stack\): cannot read the template"):
        deployed(template)


def test_resources_come_after_those_they_wait_for(deployed: Deploy) -> None:
    order = list(deployed(TEMPLATE).resources)
    assert order.index("MayRotate") < order.index("Schedule")
    assert order.index("Topic") < order.index("ShowFunction") < order.index("Machine")
    assert order.index("Key") < order.index("SessionKey") < order.index("Schedule")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("A: {Type: AWS::EC2::Vpc}", "AWS::EC2::Vpc cannot be deployed locally"),
        ("""
         A: {Type: AWS::SNS::Topic, DependsOn: B}
         B: {Type: AWS::SNS::Topic, DependsOn: A}
         """, "wait for each other"),
        ("A: {Type: AWS::SNS::Topic, Properties: {TopicName: !Ref Absent}}",
         r"A \(AWS::SNS::Topic\): Absent is neither"),
        ("A: {Type: AWS::Serverless::Function, Properties: {Handler: a.b, CodeUri: absent}}",
         "the template is not valid: .*Runtime"),
        ("""
         A:
           Type: AWS::Serverless::Function
           Properties: {Handler: a.b, Runtime: python3.13, CodeUri: absent}
         """, r"A \(AWS::Lambda::Function\): ValueError: .* there is no folder"),
        ("""
         A:
           Type: AWS::Serverless::StateMachine
           Properties: {DefinitionUri: machine.asl.json, Role: "arn:aws:iam::111122223333:role/r"}
         """, r"A \(.*\): DefinitionSubstitutions gives no value for \$\{ShowFunctionArn\}"),
        ("""
         A:
           Type: AWS::Events::Rule
           Properties:
             EventPattern: {source: [x]}
             Targets: [{Id: q, Arn: "arn:aws:sqs:eu-west-1:111122223333:q"}]
         """, "events are not delivered to arn:aws:sqs"),
        ("A: {Type: AWS::SNS::Topic, Properties: {Subscription: []}}",
         "subscriptions of a topic are not made"),
        ("A: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: '{\"widgets\": [}'}}",
         "the body is not JSON with widgets"),
        ("A: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: '{}'}}",
         "the body is not JSON with widgets"),
        ("""
         A:
           Type: AWS::CloudWatch::Alarm
           Properties: {Threshhold: 1, EvaluationPeriods: 1, ComparisonOperator: x}
         """, "CloudWatch knows no Threshhold of PutMetricAlarmInput"),
    ],
)  # fmt: skip
def test_what_cannot_be_deployed_is_named(deployed: Deploy, template: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        deployed(resources(template))


def test_a_template_that_is_missing_or_empty_is_refused(
    tmp_path: Path, cloud: Cloud, functions: Functions
) -> None:
    with pytest.raises(DeploymentError, match="cannot read the template"):
        deploy(tmp_path / "absent.yaml", {}, cloud, functions)
    (tmp_path / "empty.yaml").write_text("Description: nothing")
    with pytest.raises(DeploymentError, match=r"empty\.yaml has no Resources"):
        deploy(tmp_path / "empty.yaml", {}, cloud, functions)


def test_an_unknown_parameter_is_refused_before_anything_is_created(
    deployed: Deploy, cloud: Cloud
) -> None:
    with pytest.raises(DeploymentError, match="there is no parameter Colour"):
        deployed(TEMPLATE, Colour="blue")
    assert cloud.api_calls == []


def test_no_secret_is_shown_by_a_deployment(deployed: Deploy) -> None:
    value = secrets.token_hex(16)
    template = resources(
        f"A: {{Type: AWS::SecretsManager::Secret, Properties: {{SecretString: {value}}}}}"
    )
    deployment: Any = deployed(template)
    assert deployment.resources["A"].properties["SecretString"] == value
    assert value not in repr(deployment)
