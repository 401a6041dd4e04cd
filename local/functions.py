"""The Lambda service of the local stack: functions, their environments and their concurrency.

An invocation takes an idle environment or starts a new one, as Lambda does, up to the function's
reserved concurrency; beyond it the caller is told to come back later. The functions themselves run
unchanged under AWS's runtime client (see `local.lambda_environment`).
"""

import json
import threading
from collections.abc import Callable, Mapping

from local.async_invocation import DeadLetter, Patience, TooManyRequests, invoke_until_taken
from local.lambda_environment import ExecutionEnvironment, FunctionSettings
from local.lambda_invocation import Invocation, run
from local.processes import Child, Processes

__all__ = [
    "FunctionNotFound",
    "FunctionSettings",
    "Functions",
    "Invocation",
    "TooManyRequests",
]

ACCOUNT_CONCURRENCY = 1000
ENVIRONMENT_BYTES = 4096
# A function cannot set these: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
# PYTHONPATH is added to the list because it is how the layers are found here.
RESERVED_VARIABLES = frozenset({
    "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "PYTHONPATH", "_HANDLER", "_X_AMZN_TRACE_ID",
})  # fmt: skip

Environment = Mapping[str, str]


class FunctionNotFound(Exception):
    """No function has this name."""


class _Function:
    """A function's environments and how many of its invocations are under way."""

    def __init__(self, settings: FunctionSettings, arn: str) -> None:
        self.settings = settings
        self.arn = arn
        self.patience = Patience()
        self.environments: list[ExecutionEnvironment] = []
        self._idle: list[ExecutionEnvironment] = []
        self._in_flight = 0
        self._lock = threading.Lock()

    def enter(self) -> ExecutionEnvironment | None:
        """Count an invocation in and give it an idle environment, if there is one."""
        reserved = self.settings.reserved_concurrency
        limit = ACCOUNT_CONCURRENCY if reserved is None else reserved
        with self._lock:
            if self._in_flight >= limit:
                scope = "" if reserved is None else "ReservedFunction"
                reason = f"{scope}ConcurrentInvocationLimitExceeded"
                raise TooManyRequests(self.settings.name, reason)
            self._in_flight += 1
            self.environments = [each for each in self.environments if each.usable]
            self._idle = [each for each in self._idle if each.usable]
            return self._idle.pop() if self._idle else None

    def add(self, environment: ExecutionEnvironment) -> None:
        """Remember a new environment."""
        with self._lock:
            self.environments.append(environment)

    def leave(self, environment: ExecutionEnvironment | None) -> None:
        """Count the invocation out; its environment, if it still lives, may serve the next."""
        with self._lock:
            self._in_flight -= 1
            if environment and environment.usable:
                self._idle.append(environment)


def environment_bytes(variables: Mapping[str, str]) -> int:
    """Return how many of ENVIRONMENT_BYTES variables take: Lambda measures their JSON.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    measured = json.dumps(dict(variables), ensure_ascii=False, separators=(",", ":"))
    return len(measured.encode())


class Functions:
    """Creates and invokes functions; `close` ends every environment.

    `extra_environment` is what the stack adds to each function's variables (endpoint and
    credentials), the same for all or computed from the settings. `on_log` gets each line a function
    logs, `on_invocation` each finished invocation; both are called on the invocation's threads.
    `async_retry_seconds` are the pauses before the further attempts of a failed asynchronous
    invocation (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
    """

    def __init__(  # noqa: PLR0913  each is a choice of the stack, given by name
        self,
        processes: Processes,
        *,
        account: str,
        region: str,
        extra_environment: Environment | Callable[[FunctionSettings], Environment],
        on_log: Callable[[str, str], None] | None = None,
        on_invocation: Callable[[Invocation], None] | None = None,
        async_retry_seconds: tuple[float, ...] = (60.0, 120.0),
    ) -> None:
        self._processes = processes
        self._arn_prefix = f"arn:aws:lambda:{region}:{account}:function"
        self._extra_environment = extra_environment
        self._on_log = on_log
        self._on_invocation = on_invocation
        self._async_retry_seconds = async_retry_seconds
        self._bury: Callable[[DeadLetter], None] = lambda _letter: None
        self._functions: dict[str, _Function] = {}
        self._before: dict[str, Callable[[bytes], bool]] = {}
        self._closed = threading.Event()

    def create(self, settings: FunctionSettings) -> str:
        """Create a function and return its ARN.

        Raises ValueError for a name in use, a folder that is not there, a variable that Lambda
        keeps for itself, or more bytes of variables than Lambda takes.
        """
        if settings.name in self._functions:
            raise ValueError(f"a function named {settings.name} exists already")
        for folder in (settings.code, *settings.layers):
            if not folder.is_dir():
                raise ValueError(f"{settings.name}: there is no folder {folder}")
        if reserved := sorted(RESERVED_VARIABLES & settings.environment.keys()):
            raise ValueError(f"{settings.name}: Lambda reserves {', '.join(reserved)}")
        if (size := environment_bytes(settings.environment)) > ENVIRONMENT_BYTES:
            raise ValueError(
                f"{settings.name}: Lambda was unable to configure your environment variables"
                " because the environment variables you have provided exceeded the 4KB limit"
                f" ({size} bytes)"
            )
        arn = f"{self._arn_prefix}:{settings.name}"
        self._functions[settings.name] = _Function(settings, arn)
        return arn

    def names(self) -> list[str]:
        """Return the functions' names in the order of their creation."""
        return list(self._functions)

    def arn(self, name_or_arn: str) -> str:
        """Return the function's ARN, whichever way it is named; raises FunctionNotFound."""
        return self._find(name_or_arn).arn

    def settings(self, name_or_arn: str) -> FunctionSettings:
        """Return what the function was created with; raises FunctionNotFound."""
        return self._find(name_or_arn).settings

    def environments(self, name_or_arn: str) -> list[Child]:
        """Return the running processes of a function, busy and idle."""
        environments = self._find(name_or_arn).environments
        return [each.child for each in environments if each.usable]

    def payload_of(self, session_token: str) -> bytes:
        """Return the input of the last invocation of the environment with these credentials."""
        every = (one for found in self._functions.values() for one in found.environments)
        return next((one.payload for one in every if one.session_token == session_token), b"")

    def invoke(self, name_or_arn: str, payload: bytes) -> Invocation:
        """Invoke a function with a JSON payload and wait for the end.

        An error of the function is part of the Invocation; raises FunctionNotFound and
        TooManyRequests when it could not be invoked at all.
        """
        function = self._find(name_or_arn)
        act = self._before.get(function.settings.name)
        if act and act(payload):
            self._before.pop(function.settings.name, None)
        warm = function.enter()
        environment = warm
        try:
            if environment is None:
                environment = self._start(function)
            invocation = run(environment, payload, cold=warm is None)
        finally:
            function.leave(environment)
        if self._on_invocation:
            self._on_invocation(invocation)
        return invocation

    def before_invocations(self, name_or_arn: str, act: Callable[[bytes], bool]) -> None:
        """Call `act` with the payload before each invocation of a function, until it returns True.

        The invocation waits for it.
        """
        self._before[self._find(name_or_arn).settings.name] = act

    def invoke_async(self, name_or_arn: str, payload: bytes) -> None:
        """Queue an invocation, tried again as Lambda does; raises FunctionNotFound."""
        function = self._find(name_or_arn)
        threading.Thread(
            target=self._invoke_with_retries,
            args=(function.settings.name, payload),
            name=f"async {function.settings.name}",
            daemon=True,
        ).start()

    def limit_async_invocations(self, name_or_arn: str, patience: Patience) -> None:
        """Set how long a failed asynchronous invocation is tried."""
        self._find(name_or_arn).patience = patience

    def give_dead_letters_to(self, bury: Callable[[DeadLetter], None]) -> None:
        """Have events that a function with a dead-letter queue failed on for good sent there."""
        self._bury = bury

    def close(self) -> None:
        """End every environment and drop what is queued."""
        self._closed.set()
        for function in self._functions.values():
            for environment in function.environments:
                environment.close()

    def _find(self, name_or_arn: str) -> _Function:
        name = name_or_arn.rpartition("function:")[2].split(":")[0]
        try:
            return self._functions[name]
        except KeyError:
            raise FunctionNotFound(f"Function not found: {self._arn_prefix}:{name}") from None

    def _start(self, function: _Function) -> ExecutionEnvironment:
        settings, extra = function.settings, self._extra_environment
        environment = ExecutionEnvironment(
            settings,
            function.arn,
            self._processes,
            extra(settings) if callable(extra) else extra,
            self._on_log,
        )
        function.add(environment)
        return environment

    def _invoke_with_retries(self, name: str, payload: bytes) -> None:
        function = self._find(name)
        failure = invoke_until_taken(
            lambda: self.invoke(name, payload),
            self._async_retry_seconds,
            function.patience,
            self._closed,
        )
        queue = function.settings.dead_letter_queue
        if failure and queue:
            self._bury(DeadLetter(name, queue, payload, failure))
