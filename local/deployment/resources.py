"""Which resource types can be deployed, and what creates each."""

from collections.abc import Mapping

from local.deployment import compute, foundations, messaging, monitoring, secrets
from local.deployment.errors import DeploymentError
from local.deployment.stack import Create, Created, Properties, Stack


def record(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Keep a resource that has no effect locally, such as a permission.

    Its properties can be read from the deployment, as those of every resource.
    """
    name = properties.get("Name", stack.name_of(logical_id))
    return Created(name, {"Arn": stack.arn("local", name)})


CREATE: Mapping[str, Create] = {
    "AWS::CloudWatch::Alarm": monitoring.create_alarm,
    "AWS::CloudWatch::Dashboard": monitoring.create_dashboard,
    "AWS::Events::Rule": messaging.create_rule,
    "AWS::IAM::Role": foundations.create_role,
    "AWS::KMS::Alias": foundations.create_key_alias,
    "AWS::KMS::Key": foundations.create_key,
    "AWS::Lambda::EventInvokeConfig": compute.create_event_invoke_config,
    "AWS::Lambda::Function": compute.create_function,
    "AWS::Lambda::LayerVersion": compute.create_layer,
    "AWS::Lambda::Permission": record,
    "AWS::Logs::LogGroup": foundations.create_log_group,
    "AWS::SNS::Topic": messaging.create_topic,
    "AWS::SNS::TopicPolicy": messaging.create_topic_policy,
    "AWS::SQS::Queue": messaging.create_queue,
    "AWS::SQS::QueuePolicy": messaging.create_queue_policy,
    "AWS::SecretsManager::ResourcePolicy": secrets.create_resource_policy,
    "AWS::SecretsManager::RotationSchedule": secrets.create_rotation_schedule,
    "AWS::SecretsManager::Secret": secrets.create_secret,
    "AWS::StepFunctions::StateMachine": compute.create_state_machine,
}


def creator_of(kind: str) -> Create:
    """Return what creates a resource type; raises DeploymentError for one we do not know."""
    if kind not in CREATE:
        raise DeploymentError(f"{kind} cannot be deployed locally")
    return CREATE[kind]
