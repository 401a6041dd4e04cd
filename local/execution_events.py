"""What EventBridge hears of an execution: how it has ended. moto tells it nothing.

AWS tells of the start as well (status RUNNING), which no rule of the template asks for.
https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
"""

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

Send = Callable[[Mapping[str, Any]], None]
_buses: dict[tuple[str, str], Send] = {}


def connect(account: str, region: str, send: Send) -> None:
    """Have `send` called with the event of each execution of an account and Region that ends."""
    _buses[account, region] = send


def disconnect(account: str, region: str) -> None:
    """Send no more of them."""
    del _buses[account, region]


def publish() -> None:
    """Have moto's interpreter publish the events; to be called once a process."""
    from moto.stepfunctions.parser.backend.execution import (  # noqa: PLC0415  importing the interpreter takes two seconds
        BaseExecutionWorkerCommunication,
    )

    BaseExecutionWorkerCommunication.terminated = _publishing(
        BaseExecutionWorkerCommunication.terminated
    )


def _publishing(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def terminated(communication: Any) -> None:
        original(communication)
        ended = communication.execution
        if send := _buses.get((ended.account_id, ended.region_name)):
            send(_event(ended))

    return terminated


def _event(ended: Any) -> dict[str, Any]:
    stopped: datetime = ended.stop_date
    succeeded = ended.status == "SUCCEEDED"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": ended.account_id,
        "time": stopped.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": ended.region_name,
        "resources": [ended.exec_arn],
        "detail": {
            "executionArn": ended.exec_arn,
            "stateMachineArn": ended.state_machine.arn,
            "name": ended.name,
            "status": ended.status,
            "startDate": _milliseconds(ended.start_date),
            "stopDate": _milliseconds(stopped),
            "input": json.dumps(ended.input_data),
            "inputDetails": {"included": True},
            "output": ended.output if succeeded else None,
            "outputDetails": {"included": True} if succeeded else None,
            "error": ended.error,
            "cause": ended.cause,
        },
    }


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
