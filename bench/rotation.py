"""Rotates with Keyturn and by the runbook's script, in turns, on the same local stack.

Each finds the same: so many sessions under the current key, five pods, nothing under way. Keyturn
rotates twice in each round: first with every function cold, as on a schedule of weeks, then warm.
Afterwards it is checked that the rotation did its work; how long it took is read from the clock,
the cluster and Step Functions.
"""

import base64
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.commands import Command, run
from bench.figures import KEYTURN, RUNBOOK, WARM, Rotation, Ways
from bench.rollouts import RolloutWatch
from keyturn.secret import key
from local import console
from local.cluster.resources import SECRETS
from local.stack import SESSION_DATABASE, LocalStack
from local.users import Bulk, can_open_page, log_in

RUNS = 5
OVER_HTTP = 50  # enough to see that login works; the others are written as the auth service does
POLL_SECONDS = 0.05
LONGEST_SECONDS = 180.0
GRACE_SECONDS = 2.0
SCRIPT = Path(__file__).with_name("runbook.sh")

Tell = Callable[[str], None]


class RotationFailed(Exception):
    """A rotation did not do its work, so its time says nothing; the message says what is wrong."""


class Bench:
    """Measures rotations on a running stack."""

    def __init__(self, stack: LocalStack, sessions: int, tell: Tell) -> None:
        for program in ("bash", "curl", "openssl"):
            if not shutil.which(program):
                raise RotationFailed(f"The runbook's script needs {program}: install it.")
        self._stack = stack
        self._sessions = sessions
        self._tell = tell
        self.redis_client = ""
        self._rotation_id = ""

    def measure(self) -> Ways:
        """Rotate RUNS times each way, in turns."""
        ways: Ways = {RUNBOOK: [], KEYTURN: [], WARM: []}
        for number in range(1, RUNS + 1):
            for name, rotations in ways.items():
                rotations.append(self._rotate(name))
            took = ", ".join(f"{name} {found[-1].total:.2f} s" for name, found in ways.items())
            self._tell(f"Rotations {number} of {RUNS}: {took}")
        return ways

    def rotate_cold(self) -> str:
        """Rotate once with Keyturn, every function cold; returns the id. Raises RotationFailed."""
        cookie = self._log_in()
        self._cool_down()
        self._by_keyturn()
        self._confirm(KEYTURN, cookie)
        return self._rotation_id

    def _confirm(self, name: str, cookie: str) -> None:
        if (left := self._sessions_left()) or can_open_page(
            self._stack.urls["web-console"], cookie
        ):
            raise RotationFailed(f"{name}: {left} of {self._sessions} sessions are left.")

    def _rotate(self, name: str) -> Rotation:
        """Prepare, rotate, wait for the last old pod, and check."""
        stack, before = self._stack, self._stack.delivered_fingerprint()
        cookie = self._log_in()
        if name == KEYTURN:
            self._cool_down()
        rotate = self._by_runbook if name == RUNBOOK else self._by_keyturn
        with RolloutWatch(stack.cluster.admin, console.NAMESPACE) as watch:
            started = time.time()
            ended = rotate()
            stack.wait(lambda: watch.rollouts() is not None, f"{name}: the last old pod is gone")
            rollouts = watch.rollouts()
        if rollouts is None or stack.delivered_fingerprint() == before:
            raise RotationFailed(f"{name}: the pods have no new key.")
        self._confirm(name, cookie)
        over = rollouts.complete if name == RUNBOOK else rollouts.last_pod_gone
        return Rotation(
            total=ended - started,
            before=rollouts.restarted - started,
            rollout=over - rollouts.restarted,
            after=ended - over,
            last_pod_gone=rollouts.last_pod_gone - rollouts.restarted,
            old_pods_left=rollouts.old_pods_left(ended),
        )

    def _log_in(self) -> str:
        """Begin with a full database; returns the cookie of a session that opens the console."""
        stack = self._stack
        held = stack.cluster.admin.get(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)
        current = key.parse_key(base64.b64decode(held["data"][key.FIELD]).decode())
        with stack.redis.client(SESSION_DATABASE) as client:
            client.flushdb()
            bulk = Bulk(client, current.raw)
            url = stack.urls["web-console"]
            cookies = log_in(self._sessions, url, bulk=bulk, over_http=OVER_HTTP).cookies
        if not can_open_page(url, cookies[-1]):
            raise RotationFailed("A session does not open the console before the rotation.")
        return cookies[-1]

    def _cool_down(self) -> None:
        """End every execution environment, so that each function's next call starts one."""
        functions = self._stack.functions
        for name in functions.names():
            for environment in functions.environments(name):
                environment.stop(GRACE_SECONDS)

    def _sessions_left(self) -> int:
        with self._stack.redis.client(SESSION_DATABASE) as client:
            return sum(1 for _ in client.scan_iter(match="session:*", count=1000))

    def _by_keyturn(self) -> float:
        """Call RotateSecret and return when the execution ended, as Step Functions tells."""
        stack = self._stack
        self._rotation_id = rotation_id = stack.rotate()
        report = stack.secrets_manager.wait_for_rotation(
            stack.secret_arn, rotation_id, LONGEST_SECONDS
        )
        if report.outcome != "succeeded":
            raise RotationFailed(f"Keyturn: the new key was not promoted: {report.outcome}.")
        client, arn = stack.cloud.client("stepfunctions"), stack.execution_arn(rotation_id)
        deadline = time.monotonic() + LONGEST_SECONDS
        while (found := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
            stack.check()
            if time.monotonic() > deadline:
                raise RotationFailed(f"Keyturn: not over after {LONGEST_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)
        if found["status"] != "SUCCEEDED":
            raise RotationFailed(f"Keyturn: {found['status']}: {found.get('error')}.")
        return float(found["stopDate"].timestamp())

    def _by_runbook(self) -> float:
        """Run the script and return when it ended."""
        stack = self._stack
        authority = _write_authority(stack.cluster.ca_pem)
        try:
            env = {**_program_path(), **self._addresses(), "KUBERNETES_CA": str(authority)}
            command = Command("runbook", ["bash", str(SCRIPT)], env, LONGEST_SECONDS)
            self.redis_client = run(stack.processes, command)[0]
            return time.time()
        finally:
            with suppress(OSError):
                authority.unlink()

    def _addresses(self) -> dict[str, str]:
        stack = self._stack
        return {
            "SECRETS_URL": stack.cloud.endpoint,
            "SECRET_ID": stack.secret_arn,
            "KUBERNETES_URL": stack.cluster.url,
            "KUBERNETES_TOKEN": stack.cluster.admin_token,
            "NAMESPACE": console.NAMESPACE,
            "KUBERNETES_SECRET": console.KUBERNETES_SECRET,
            "SERVICES": " ".join(console.REPLICAS),
            "REDIS_HOST": stack.redis.host,
            "REDIS_PORT": str(stack.redis.port),
            "REDIS_DATABASE": str(SESSION_DATABASE),
            "HEALTH_URLS": " ".join(f"{stack.urls[name]}/healthz" for name in console.REPLICAS),
            "LOGIN_URL": f"{stack.urls['auth-service']}/login",
        }


def _program_path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHON": sys.executable}


def _write_authority(pem: str) -> Path:
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(pem)
    return Path(file.name)
