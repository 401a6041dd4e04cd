"""Starts the state machine, once a run, and lists its executions."""

import json
from collections.abc import Sequence

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters import aws
from keyturn.run import Run
from keyturn.watch import Execution

MOST_EXECUTIONS = 1000  # one page, the newest first: years of rotations


class StepFunctionsRuns:
    """Executions of one state machine, named after their runs."""

    def __init__(self, state_machine_arn: str) -> None:
        self._arn = state_machine_arn
        self._client = aws.client("stepfunctions")

    def ensure_started(self, run: Run) -> None:
        """Start the run's execution; that it exists already is success.

        The name makes it one: a repeated start with the same input answers with the same execution
        while it runs; after its end, or with another input, with ExecutionAlreadyExists.
        """
        doing = f"states:StartExecution of {run.execution_name}"
        with aws.translated(doing, errors.StateMachineUnavailable):
            try:
                self._client.start_execution(
                    stateMachineArn=self._arn,
                    name=run.execution_name,
                    input=json.dumps(run.as_ledger(), sort_keys=True),
                )
            except ClientError as error:
                if aws.code(error) != "ExecutionAlreadyExists":
                    raise

    def executions(self) -> Sequence[Execution]:
        """The executions that Step Functions knows: it forgets one 90 days after its end."""
        doing = f"states:ListExecutions of {self._arn}"
        with aws.translated(doing, errors.StateMachineUnavailable):
            answer = self._client.list_executions(
                stateMachineArn=self._arn, maxResults=MOST_EXECUTIONS
            )
        return [
            Execution(run["name"], run["executionArn"], run["status"], run["startDate"])
            for run in answer["executions"]
        ]
