"""Starts the state machine, once a run."""

import json

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters import aws
from keyturn.run import Run


class StepFunctionsRuns:
    """Executions of one state machine, named after their runs."""

    def __init__(self, state_machine_arn: str) -> None:
        self._arn = state_machine_arn
        self._client = aws.client("stepfunctions")

    def ensure_started(self, run: Run) -> None:
        """Start the run's execution; that it exists already is success.

        The name and the input are the same bytes for the same run, so a repeated start while it
        runs answers with the same execution, and after its end with ExecutionAlreadyExists.
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
