"""An execution of the state machine without a clock: what its history and its payloads come to.

It runs the definition that is deployed, and counts events and bytes as Step Functions does. Time
passes in Wait states and before retries alone, so that as many looks are made as the definition
and the functions allow. The iterations of a Map are run one after the other, from the same moment.
An end-to-end test compares it with what the local interpreter records.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.execution_limits import payload_bytes

# A function's name, the state's, the indexes of the iterations around it, the input: the result.
Call = Callable[[str, str, tuple[int, ...], Any], Any]
FUNCTION = re.compile(r"\$\{(\w+)FunctionArn\}")
TASK = ("LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded")
QUEUED = ("TaskScheduled", "TaskStarted", "TaskSucceeded")


class Failure(Exception):
    """What a function raised, or a Fail state says."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(error)
        self.error, self.cause = error, cause


@dataclass
class Clock:
    """Simulated seconds since the execution's start."""

    seconds: float = 0.0


@dataclass
class Execution:
    """One execution: `call` stands in for Lambda, `values` for the definition's substitutions."""

    definition: Mapping[str, Any]
    values: Mapping[str, str]
    call: Call
    context: Mapping[str, Any]
    clock: Clock = field(default_factory=Clock)
    events: Counter[str] = field(default_factory=Counter)
    largest: tuple[int, str] = (0, "")
    entered: Counter[str] = field(default_factory=Counter)
    _measured: Any = None

    def run(self, given: Any) -> Any:
        """Run to the end; returns the output. Raises Failure where a Fail state was reached."""
        self.events["ExecutionStarted"] += 1
        try:
            output = self._run(self.definition, given, ())
        except Failure:
            self.events["ExecutionFailed"] += 1
            raise
        self.events["ExecutionSucceeded"] += 1
        return output

    def _run(self, machine: Mapping[str, Any], given: Any, place: tuple[int, ...]) -> Any:
        name: str | None = machine["StartAt"]
        while name is not None:
            state = machine["States"][name]
            self.entered[name] += 1
            self._hand_on(name, given)
            self.events[f"{state['Type']}StateEntered"] += 1
            given, name = getattr(self, f"_{state['Type'].lower()}")(name, state, given, place)
            self.events[f"{state['Type']}StateExited"] += 1
            self._hand_on(name or "the end", given)
        return given

    def _hand_on(self, name: str, payload: Any) -> None:
        if payload is not self._measured:  # what one state ends with the next begins with
            self._measured = payload
            self.largest = max(self.largest, (payload_bytes(payload), name))

    def _pass(self, _name: str, state: Any, given: Any, _place: Any) -> tuple[Any, str]:
        result = state.get("Result", self._filled(state.get("Parameters"), given))
        return _put(given, state.get("ResultPath", "$"), result), state["Next"]

    def _choice(self, _name: str, state: Any, given: Any, _place: Any) -> tuple[Any, str]:
        chosen = (rule["Next"] for rule in state["Choices"] if _holds(rule, given))
        return given, next(chosen, state.get("Default"))

    def _wait(self, _name: str, state: Any, given: Any, _place: Any) -> tuple[Any, str]:
        seconds = _get(given, state["SecondsPath"])
        assert isinstance(seconds, int)
        assert seconds > 0
        self.clock.seconds += seconds
        return given, state["Next"]

    def _succeed(self, _name: str, state: Any, given: Any, _place: Any) -> tuple[Any, None]:
        return _get(given, state.get("OutputPath", "$")), None

    def _fail(self, _name: str, state: Any, given: Any, _place: Any) -> tuple[Any, None]:
        raise Failure(_get(given, state["ErrorPath"]), _get(given, state["CausePath"]))

    def _task(self, name: str, state: Any, given: Any, place: tuple[int, ...]) -> tuple[Any, str]:
        payload = self._filled(state["Parameters"], given) if "Parameters" in state else given
        self._hand_on(name, payload)
        queued = "InvocationType" in state.get("Parameters", {})
        tries: Counter[int] = Counter()
        while True:
            try:
                result = self._invoke(name, state, payload, place, queued=queued)
            except Failure as failure:
                if not self._retries(state, failure, tries):
                    return self._caught(state, given, failure)
            else:
                return _put(given, state.get("ResultPath", "$"), result), state["Next"]

    def _invoke(
        self, name: str, state: Any, payload: Any, place: tuple[int, ...], *, queued: bool
    ) -> Any:
        for kind in (QUEUED if queued else TASK)[:2]:
            self.events[kind] += 1
        text = state["Parameters"]["FunctionName"] if queued else state["Resource"]
        function = FUNCTION.fullmatch(text)
        assert function
        sent = payload["Payload"] if queued else payload
        try:
            result = self.call(function[1], name, place, json.loads(json.dumps(sent)))
        except Failure:
            self.events["TaskFailed" if queued else "LambdaFunctionFailed"] += 1
            raise
        self.events["TaskSucceeded" if queued else "LambdaFunctionSucceeded"] += 1
        self._hand_on(name, result)
        return {"StatusCode": 202} if queued else result

    def _retries(self, state: Any, failure: Failure, tries: Counter[int]) -> bool:
        for number, retry in enumerate(state.get("Retry", ())):
            if failure.error in retry["ErrorEquals"]:
                tries[number] += 1
                longest = retry["IntervalSeconds"] * retry["BackoffRate"] ** (tries[number] - 1)
                self.clock.seconds += min(longest, retry["MaxDelaySeconds"])
                return bool(tries[number] <= retry["MaxAttempts"])
        return False

    def _caught(self, state: Any, given: Any, failure: Failure) -> tuple[Any, str]:
        for catch in state.get("Catch", ()):
            if {failure.error, "States.ALL"} & set(catch["ErrorEquals"]):
                told = {"Error": failure.error, "Cause": failure.cause}
                return _put(given, catch["ResultPath"], told), catch["Next"]
        raise failure

    def _map(self, _name: str, state: Any, given: Any, place: tuple[int, ...]) -> tuple[Any, str]:
        self.events["MapStateStarted"] += 1
        begun, ended, results = self.clock.seconds, [self.clock.seconds], []
        failed: Failure | None = None
        for index, item in enumerate(_get(given, state["ItemsPath"])):
            self.clock.seconds = begun
            self.events["MapIterationStarted"] += 1
            selected = self._filled(state["ItemSelector"], given, item)
            try:
                results.append(self._run(state["ItemProcessor"], selected, (*place, index)))
                self.events["MapIterationSucceeded"] += 1
            except Failure as failure:
                self.events["MapIterationFailed"] += 1
                failed = failed or failure
            ended.append(self.clock.seconds)
        self.clock.seconds = max(ended)
        if failed:
            self.events["MapStateFailed"] += 1
            return self._caught(state, given, failed)
        self.events["MapStateSucceeded"] += 1
        return _put(given, state["ResultPath"], results), state["Next"]

    def _filled(self, template: Any, given: Any, item: Any = None) -> Any:
        """A payload template with its paths and functions resolved."""
        if not isinstance(template, Mapping):
            return given if template is None else template
        filled = {}
        for name, value in template.items():
            if not name.endswith(".$"):
                filled[name] = self._filled(value, given, item)
            elif value == "$$.Map.Item.Value":
                filled[name[:-2]] = item
            elif value.startswith("$$."):
                filled[name[:-2]] = _get(self.context, value[1:])
            elif value.startswith("States."):
                filled[name[:-2]] = self._intrinsic(value)
            else:
                filled[name[:-2]] = _get(given, value)
        return filled

    def _intrinsic(self, text: str) -> Any:
        function, value = re.findall(r"States\.(\w+)\('\$\{(\w+)\}'", text)[0]
        told = self.values[value]
        return told.split(",") if function == "StringSplit" else json.loads(told)


def _get(given: Any, path: str) -> Any:
    for name in path.split(".")[1:]:
        given = given[name]
    return given


def _is_present(given: Any, path: str) -> bool:
    try:
        _get(given, path)
    except KeyError:
        return False
    return True


def _put(given: Any, path: str, result: Any) -> Any:
    name, _, below = path.removeprefix("$").removeprefix(".").partition(".")
    return {**given, name: _put(given.get(name, {}), f"$.{below}", result)} if name else result


def _holds(rule: Mapping[str, Any], given: Any) -> bool:
    if "And" in rule:
        return all(_holds(part, given) for part in rule["And"])
    if "Or" in rule:
        return any(_holds(part, given) for part in rule["Or"])
    if "Not" in rule:
        return not _holds(rule["Not"], given)
    if "IsPresent" in rule:
        return _is_present(given, rule["Variable"]) is rule["IsPresent"]
    found = _get(given, rule["Variable"])  # Step Functions too fails where there is none
    (compared,) = (rule[word] for word in ("StringEquals", "BooleanEquals") if word in rule)
    return bool(found == compared)
