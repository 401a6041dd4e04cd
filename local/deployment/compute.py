"""Creates functions, layers and state machines."""

import re
from pathlib import Path

from local.async_invocation import OLDEST_EVENT_SECONDS, Patience
from local.deployment.errors import DeploymentError
from local.deployment.parameters import text
from local.deployment.stack import Created, Properties, Stack, present
from local.deployment.template import local_path
from local.functions import FunctionSettings


def create_function(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::Lambda::Function`."""
    name = properties.get("FunctionName", stack.name_of(logical_id))
    reserved = properties.get("ReservedConcurrentExecutions")
    variables = properties.get("Environment", {}).get("Variables", {})
    settings = FunctionSettings(
        name,
        properties["Handler"],
        local_path(properties["Code"], stack.root).resolve(),
        tuple(_layer(arn, stack) for arn in properties.get("Layers", [])),
        {key: text(value) for key, value in variables.items()},
        float(properties.get("Timeout", 3)),
        int(properties.get("MemorySize", 128)),
        None if reserved is None else int(reserved),
        properties.get("LoggingConfig", {}).get("LogGroup"),
        properties.get("DeadLetterConfig", {}).get("TargetArn"),
    )
    return Created(name, {"Arn": stack.functions.create(settings)})


def create_event_invoke_config(_: str, properties: Properties, stack: Stack) -> Created:
    """Apply an `AWS::Lambda::EventInvokeConfig`: how long a failed asynchronous call is tried."""
    if properties.get("DestinationConfig"):
        raise DeploymentError("the end of a call goes to no destination locally; use a queue")
    attempts = properties.get("MaximumRetryAttempts")
    patience = Patience(
        None if attempts is None else int(attempts),
        float(properties.get("MaximumEventAgeInSeconds", OLDEST_EVENT_SECONDS)),
    )
    stack.functions.limit_async_invocations(properties["FunctionName"], patience)
    return Created(f"{properties['FunctionName']}-event-invoke-config")


def create_layer(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::Lambda::LayerVersion`: a folder from which functions import.

    A built layer is unpacked to /opt, where `python` is the folder that is on Python's path; the
    source of ours is what is copied into it.
    https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html
    """
    name = properties.get("LayerName", logical_id)
    arn = stack.arn("lambda", f"layer:{name}:1")
    content = local_path(properties["Content"], stack.root).resolve()
    python = content / "python"
    stack.layers[arn] = python if python.is_dir() else content
    return Created(arn, {"LayerVersionArn": arn})


def create_state_machine(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::StepFunctions::StateMachine`."""
    name = properties.get("StateMachineName", stack.name_of(logical_id))
    substitutions = properties.get("DefinitionSubstitutions", {})
    path = local_path(properties["DefinitionS3Location"], stack.root)
    definition = substitute(path.read_text(encoding="utf-8"), substitutions)
    arn = stack.cloud.client("stepfunctions").create_state_machine(
        name=name,
        definition=definition,
        **present(roleArn=properties["RoleArn"], type=properties.get("StateMachineType")),
    )["stateMachineArn"]
    return Created(arn, {"Arn": arn, "Name": name})


def substitute(definition: str, substitutions: Properties) -> str:
    """Put `DefinitionSubstitutions` into a definition; raises DeploymentError if one is missing."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in substitutions:
            raise DeploymentError(f"DefinitionSubstitutions gives no value for ${{{match[1]}}}")
        return text(substitutions[match[1]])

    return re.sub(r"\$\{([A-Za-z0-9_]+)\}", replace, definition)


def _layer(arn: str, stack: Stack) -> Path:
    if arn not in stack.layers:
        raise DeploymentError(f"layer {arn} is not in this template, so it cannot be used locally")
    return stack.layers[arn]
