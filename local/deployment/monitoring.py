"""Creates alarms and dashboards.

They are kept by moto's CloudWatch, which tells of them as AWS does. It evaluates no alarm, and gets
no metric: what the functions measure can be read in their logs.
"""

import json
from typing import Any

from botocore.model import Shape

from local.deployment.errors import DeploymentError
from local.deployment.parameters import text
from local.deployment.stack import Created, Properties, Stack, is_true


def create_alarm(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::CloudWatch::Alarm`: its properties are those of PutMetricAlarm."""
    name = properties.get("AlarmName", stack.name_of(logical_id))
    client = stack.cloud.client("cloudwatch")
    shape = client.meta.service_model.operation_model("PutMetricAlarm").input_shape
    client.put_metric_alarm(**_typed({**properties, "AlarmName": name}, shape))
    return Created(name, {"Arn": stack.arn("cloudwatch", f"alarm:{name}")})


def create_dashboard(logical_id: str, properties: Properties, stack: Stack) -> Created:
    """Create an `AWS::CloudWatch::Dashboard`; raises DeploymentError for a body without widgets."""
    name, body = (
        properties.get("DashboardName", stack.name_of(logical_id)),
        properties["DashboardBody"],
    )
    try:
        widgets = json.loads(body)["widgets"]
    except (ValueError, KeyError, TypeError) as problem:
        raise DeploymentError(f"the body is not JSON with widgets: {problem}") from problem
    if not isinstance(widgets, list):
        raise DeploymentError("the body's widgets are not a list")
    stack.cloud.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=body)
    return Created(name)


def _typed(value: Any, shape: Shape) -> Any:
    """Give a value the types of the API: a parameter of the template makes text of a number."""
    if shape.type_name == "structure":
        return {name: _typed(item, _member(shape, name)) for name, item in value.items()}
    if shape.type_name == "list":
        return [_typed(item, shape.member) for item in value]
    if shape.type_name == "boolean":
        return is_true(value)
    if shape.type_name in {"integer", "long"}:
        return int(value)
    return float(value) if shape.type_name in {"double", "float"} else text(value)


def _member(shape: Any, name: str) -> Shape:
    if name not in shape.members:
        raise DeploymentError(f"CloudWatch knows no {name} of {shape.name}")
    member: Shape = shape.members[name]
    return member
