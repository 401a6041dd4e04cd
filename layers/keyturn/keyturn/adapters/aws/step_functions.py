"""The two state machines: start, list and inspect executions, and run the preflight."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters.aws import client
from keyturn.adapters.aws import errors as aws_errors
from keyturn.monitoring.key_health import Execution
from keyturn.rotation.preflight import Answers, Question
from keyturn.run import caller
from keyturn.run.run import Run

MOST_EXECUTIONS = 1000  # one page, the newest first: years of rotations
# The newest first: what runs now is among the last, and each event has the ledger in it.
PAGE_EVENTS, MOST_EVENTS = 25, 1000
NAMES_TRIED = 10
HISTORY_SECONDS = 3.0
FIRST_DELAY_SECONDS = 0.1
POLL_SECONDS = 0.25


class StepFunctionsRuns:
    """Executions of the state machine, named after their runs."""

    def __init__(self, state_machine_arn: str) -> None:
        self.state_machine_arn = state_machine_arn
        self._client = client.client("stepfunctions")

    def ensure_started(self, run: Run) -> str:
        """Start the run's execution, or find it started; returns its name.

        The name makes it one: a repeated start with the same input returns the same execution while
        it runs; after its end, or with another input, ExecutionAlreadyExists. An execution that
        took the name beforehand, with another input or before the promotion, is not the run's: then
        the next name is used, which is the same at every retry.
        """
        given = json.dumps(run.as_ledger(), sort_keys=True)
        for number in range(1, NAMES_TRIED + 1):
            name = run.execution_name + (f"_{number}" if number > 1 else "")
            if self._start(name, given) or self._is_execution(run, name):
                return name
        raise errors.StateMachineUnavailable(
            f"{NAMES_TRIED} executions named {run.execution_name}_... already exist, and none of"
            f" them is the run. Version {run.version} is current and was not delivered. Check who"
            " may start executions of the state machine: docs/operations.md, A run that was forged."
        )

    def executions(self) -> Sequence[Execution]:
        """The executions in Step Functions, which forgets one 90 days after its end."""
        with self._translated("ListExecutions", self.state_machine_arn):
            answer = self._client.list_executions(
                stateMachineArn=self.state_machine_arn, maxResults=MOST_EXECUTIONS
            )
        return [
            Execution(
                run["name"],
                run["executionArn"],
                run["status"],
                run["startDate"],
                run.get("stopDate"),
            )
            for run in answer["executions"]
        ]

    def outcome(self, execution_arn: str) -> str | None:
        """The outcome in the record of an execution that succeeded."""
        with self._translated("DescribeExecution", execution_arn):
            execution = self._client.describe_execution(executionArn=execution_arn)
        outcome: str | None = json.loads(execution.get("output") or "{}").get("outcome")
        return outcome

    def was_lost(self, execution_arn: str) -> bool:
        """Whether an execution that ended badly did not reach its Fail state.

        Its last event is its end, and the one before is that of the state in which it ended. While
        the history does not show the end yet, the execution does not count as lost.
        """
        kinds = [str(event["type"]) for event in self._page(execution_arn, {})["events"]]
        ended = bool(kinds) and caller.EXECUTION_ENDED.fullmatch(kinds[0]) is not None
        return ended and kinds[1:2] != ["FailStateEntered"]

    def check_ready(self) -> None:
        """Read the history of an execution that does not exist: permitted, and answered."""
        self._page(caller.arn_of_execution(self.state_machine_arn, "preflight"), {})

    def wait_for_call(self, execution_arn: str, function_arn: str, payload: Any) -> bool:
        """Whether the execution waits for this call; its history may lag behind."""
        end, delay = time.monotonic() + HISTORY_SECONDS, FIRST_DELAY_SECONDS
        while not self._shows_call(execution_arn, function_arn, payload):
            if time.monotonic() > end:
                return False
            time.sleep(delay)
            delay *= 2
        return True

    def _shows_call(self, execution_arn: str, function_arn: str, payload: Any) -> bool:
        history: list[caller.HistoryEvent] = []
        token: dict[str, str] = {}
        while len(history) < MOST_EVENTS:
            page = self._page(execution_arn, token)
            history += [caller.history_event(event) for event in page["events"]]
            if caller.made_call(history, function_arn, payload):
                return True
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        return False

    def _page(self, execution_arn: str, token: Mapping[str, str]) -> Mapping[str, Any]:
        with self._translated("GetExecutionHistory", execution_arn):
            try:
                page: Mapping[str, Any] = self._client.get_execution_history(
                    executionArn=execution_arn, maxResults=PAGE_EVENTS, reverseOrder=True, **token
                )
            except ClientError as error:
                if aws_errors.code_of(error) == "ExecutionDoesNotExist":
                    return {"events": []}
                raise
        return page

    def _start(self, name: str, given: str) -> bool:
        """Start an execution; False where one of that name exists."""
        with self._translated("StartExecution", name):
            try:
                self._client.start_execution(
                    stateMachineArn=self.state_machine_arn, name=name, input=given
                )
            except ClientError as error:
                if aws_errors.code_of(error) == "ExecutionAlreadyExists":
                    return False
                raise
        return True

    def _is_execution(self, run: Run, name: str) -> bool:
        """Whether an existing execution has the run's input, and did not end as overtaken.

        One that ended as overtaken checked the labels before the promotion: it did nothing, and
        never will.
        """
        execution_arn = caller.arn_of_execution(self.state_machine_arn, name)
        with self._translated("DescribeExecution", name):
            execution = self._client.describe_execution(executionArn=execution_arn)
        outcome = json.loads(execution.get("output") or "{}").get("outcome")
        return run.is_input(json.loads(execution["input"])) and outcome != "superseded"

    def _translated(self, action: str, about: str) -> Any:
        return client.translate_errors(
            f"states:{action} of {about}", errors.StateMachineUnavailable
        )


class StepFunctionsQuestions:
    """The state machine that asks the functions of a rotation."""

    def __init__(self, state_machine_arn: str) -> None:
        self._arn = state_machine_arn
        self._client = client.client("stepfunctions")

    def ask(self, question: Question, seconds: float) -> Answers | None:
        """Ask, and wait for the answers; None if they do not arrive in time."""
        with self._translated("StartExecution"):
            started = self._client.start_execution(
                stateMachineArn=self._arn, input=json.dumps({"question": question})
            )
        end = time.monotonic() + seconds
        while (answers := self._answers(started["executionArn"])) is None:
            if time.monotonic() > end:
                return None
            time.sleep(POLL_SECONDS)
        return answers

    def start(self, question: Question, name: str) -> None:
        """Ask under a name, and do not wait; a repeated question is a success."""
        with self._translated("StartExecution"):
            try:
                self._client.start_execution(
                    stateMachineArn=self._arn, name=name, input=json.dumps({"question": question})
                )
            except ClientError as error:
                if aws_errors.code_of(error) != "ExecutionAlreadyExists":
                    raise

    def answers_of(self, name: str) -> Answers | None:
        """The answers in the execution of that name; None if it still runs, or never did."""
        return self._answers(caller.arn_of_execution(self._arn, name))

    def _answers(self, execution_arn: str) -> Answers | None:
        with self._translated("DescribeExecution"):
            try:
                execution = self._client.describe_execution(executionArn=execution_arn)
            except ClientError as error:
                if aws_errors.code_of(error) == "ExecutionDoesNotExist":
                    return None
                raise
        if execution["status"] == "RUNNING":
            return None
        answers = json.loads(execution.get("output") or "[]")
        return answers if isinstance(answers, list) else []

    def _translated(self, action: str) -> Any:
        return client.translate_errors(
            f"states:{action} of {self._arn}", errors.StateMachineUnavailable
        )
