"""Everything that left the functions of a stack, by where it went."""

import json

from local.stack import RECORD_BUCKET
from tests.e2e.site import Site

PLACES = (
    "function logs",
    "execution histories",
    "records",
    "messages",
    "events",
    "rotation reports",
    "AWS calls",
    "cluster calls",
)


def collect_output(site: Site) -> dict[str, str]:
    """All output of the functions since the stack was started, by where it went."""
    reports = [site.report(rotation_id) for rotation_id in site.rotations]
    return {
        "function logs": "\n".join(site.log),
        "execution histories": _every_history(site),
        "records": _every_record(site),
        "messages": json.dumps(site.mailboxes.messages()),
        "events": json.dumps(site.mailboxes.events()),
        "rotation reports": repr(reports),
        "AWS calls": repr(site.stack.cloud.api_calls),
        "cluster calls": repr(site.stack.cluster.audit),
    }


def _every_history(site: Site) -> str:
    client = site.stack.cloud.client("stepfunctions")
    machine = site.stack.deployment.outputs["StateMachineArn"]
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
    arns = [run["executionArn"] for page in pages for run in page["executions"]]
    described = [client.describe_execution(executionArn=arn) for arn in arns]
    histories = client.get_paginator("get_execution_history")
    events = [
        event
        for arn in arns
        for page in histories.paginate(executionArn=arn)
        for event in page["events"]
    ]
    return repr((described, events))


def _every_record(site: Site) -> str:
    client = site.stack.cloud.client("s3")
    listed = client.list_objects_v2(Bucket=RECORD_BUCKET)["Contents"]
    bodies = [client.get_object(Bucket=RECORD_BUCKET, Key=one["Key"])["Body"] for one in listed]
    return "\n".join(body.read().decode() for body in bodies)
