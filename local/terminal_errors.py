"""The two errors that end an execution whatever its states catch, as AWS raises and handles them.

- `States.ALL` and `States.TaskFailed` match neither States.DataLimitExceeded nor States.Runtime, in
  a Retry and in a Catch. The first can be caught by its name, the second not at all: it "always
  causes the execution to fail". moto lets `States.ALL` catch both.
- A path that matches nothing is States.Runtime. moto names it `Exception` in a payload template
  (Parameters, ItemSelector, ResultSelector), which can be caught, and takes it for false in a
  Choice rule. AWS's guide has the name States.ParameterPathFailure for `Parameters`; what Step
  Functions answers is States.Runtime with the words below, and of the two it is the stricter.
- Only `IsPresent` may ask for a path that matches nothing; any other rule of a Choice fails with
  "Invalid path ...: The choice state's condition path references an invalid value."

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
https://docs.aws.amazon.com/step-functions/latest/dg/state-choice.html
"""

from collections.abc import Callable
from typing import Any

DATA_LIMIT, RUNTIME = "States.DataLimitExceeded", "States.Runtime"
WHERE = "An error occurred while executing the state "


def enforce() -> None:
    """Have moto's interpreter raise and handle both errors so; to be called once a process."""
    _never_catch()
    _refuse_missing_paths()


def _never_catch() -> None:
    from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (  # noqa: PLC0415  importing the interpreter takes two seconds
        ErrorEqualsDecl,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (  # noqa: PLC0415  the same
        FailureEventException,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import (  # noqa: PLC0415  the same
        iteration_worker,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_parallel import (  # noqa: PLC0415  the same
        branches_decl,
    )

    ErrorEqualsDecl._eval_body = _without_terminal_errors(ErrorEqualsDecl._eval_body)  # noqa: SLF001  moto offers no other way
    # moto refuses to name an error of an iteration or a branch that is one of Step Functions' own.
    for inner in (iteration_worker, branches_decl):
        inner.CustomErrorName = _error_name(inner.CustomErrorName)
    FailureEventException.get_execution_failed_event_details = _located_once(
        FailureEventException.get_execution_failed_event_details
    )


def _refuse_missing_paths() -> None:
    from moto.stepfunctions.parser.asl.component.common.payload.payloadvalue.payloadbinding.payload_binding import (  # noqa: E501, PLC0415  as above
        PayloadBinding,
    )
    from moto.stepfunctions.parser.asl.component.state.choice.comparison.comparison_variable import (  # noqa: E501, PLC0415  the same
        ComparisonVariable,
    )

    PayloadBinding._eval_body = _filled_in(PayloadBinding._eval_body)  # noqa: SLF001  as above
    ComparisonVariable._eval_body = _compare  # noqa: SLF001  the same


def _without_terminal_errors(original: Callable[..., Any]) -> Callable[..., Any]:
    def matches(declared: Any, env: Any) -> None:
        name = env.stack[-1].error_name
        if name in {DATA_LIMIT, RUNTIME}:
            env.stack.pop()
            named = {error.error_name for error in declared.error_names}
            env.stack.append(name == DATA_LIMIT and DATA_LIMIT in named)
        else:
            original(declared, env)

    return matches


def _error_name(custom: Callable[..., Any]) -> Callable[..., Any]:
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (  # noqa: PLC0415  as above
        StatesErrorName,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (  # noqa: PLC0415  as above
        StatesErrorNameType,
    )

    def named(error_name: str | None) -> Any:
        if error_name in {DATA_LIMIT, RUNTIME}:
            return StatesErrorName(typ=StatesErrorNameType.from_name(error_name))
        return custom(error_name=error_name)

    return named


def _located_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name the state where it failed: moto puts that of the Map around it before it."""

    def details(failure: Any) -> Any:
        told, (_error, cause) = original(failure), failure.extract_error_cause_pair() or ("", "")
        if cause and cause.startswith(WHERE):
            told["cause"] = cause
        return told

    return details


def _filled_in(original: Callable[..., Any]) -> Callable[..., Any]:
    """Fill in one field of a payload template."""
    from moto.stepfunctions.parser.asl.utils.encoding import to_json_str  # noqa: PLC0415  as above
    from moto.stepfunctions.parser.asl.utils.json_path import (  # noqa: PLC0415  the same
        NoSuchJsonPathError,
    )

    def fill(binding: Any, env: Any) -> None:
        try:
            original(binding, env)
        except NoSuchJsonPathError as missing:
            given = to_json_str(missing.data, separators=(",", ":"))
            raise _runtime_error(
                env,
                f"The JSONPath '{missing.json_path}' specified for the field"
                f" '{binding._field_name()}' could not be found in the input '{given}'",  # noqa: SLF001  as above
            ) from None

    return fill


def _compare(comparison: Any, env: Any) -> None:
    """Judge one rule of a Choice, whose variable and whose value may be paths."""
    from moto.stepfunctions.parser.asl.component.state.choice.comparison.comparison_operator_type import (  # noqa: E501, PLC0415  as above
        ComparisonOperatorType,
    )
    from moto.stepfunctions.parser.asl.component.state.choice.comparison.variable import (  # noqa: PLC0415  the same
        NoSuchVariable,
    )
    from moto.stepfunctions.parser.asl.utils.json_path import (  # noqa: PLC0415  the same
        NoSuchJsonPathError,
    )

    function, variable = comparison.comparison_function, comparison.variable
    variable.eval(env)
    asks = function.operator_type is ComparisonOperatorType.IsPresent
    if isinstance(env.stack[-1], NoSuchVariable) and not asks:
        raise _no_value(env, variable.string_sampler.literal_value)
    try:
        function.eval(env)
    except NoSuchJsonPathError as missing:
        raise _no_value(env, missing.json_path) from None


def _no_value(env: Any, path: str) -> Exception:
    says = "The choice state's condition path references an invalid value."
    return _runtime_error(env, f"Invalid path '{path}': {says}")


def _runtime_error(env: Any, cause: str) -> Exception:
    from moto.stepfunctions.parser.api import HistoryEventType  # noqa: PLC0415  as above
    from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (  # noqa: PLC0415  the same
        FailureEvent,
        FailureEventException,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (  # noqa: PLC0415  the same
        StatesErrorName,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (  # noqa: PLC0415  the same
        StatesErrorNameType,
    )

    failure = FailureEvent(
        env=env,
        error_name=StatesErrorName(typ=StatesErrorNameType.StatesRuntime),
        event_type=HistoryEventType.TaskFailed,
        event_details={"taskFailedEventDetails": {"error": RUNTIME, "cause": cause}},
    )
    raised: Exception = FailureEventException(failure_event=failure)
    return raised
