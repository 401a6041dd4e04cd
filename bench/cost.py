"""What a rotation and a month cost, and how that grows. Pure: from what a rotation has used.

Everything that is counted was measured: invocations and their billed milliseconds, states entered,
API calls, bytes logged. Other sizes are reckoned from it by what is once a service, a look at a
rollout, or a slice of a purge. No free tier is taken off.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from keyturn.run import polling

PRICES_SEEN = "November 2026"
REGION_OF_PRICES = "us-east-1"
MILLION, HOURS = 1_000_000, 730


@dataclass(frozen=True)
class Price:
    """A list price in US dollars for one unit, and where it is from."""

    usd: float
    unit: str
    source: str


_AWS = "https://aws.amazon.com"
LAMBDA_TIME = Price(0.0000133334, "GB-second on arm64", f"{_AWS}/lambda/pricing/")
LAMBDA_CALLS = Price(0.20 / MILLION, "invocation", f"{_AWS}/lambda/pricing/")
TRANSITIONS = Price(0.025 / 1000, "state transition", f"{_AWS}/step-functions/pricing/")
SECRET_CALLS = Price(0.05 / 10_000, "Secrets Manager call", f"{_AWS}/secrets-manager/pricing/")
KMS_CALLS = Price(0.03 / 10_000, "KMS call", f"{_AWS}/kms/pricing/")
LOG_BYTES = Price(0.50 / 1e9, "byte logged", f"{_AWS}/cloudwatch/pricing/")
SECRET = Price(0.40, "secret a month", f"{_AWS}/secrets-manager/pricing/")
KMS_KEY = Price(1.00, "customer key a month", f"{_AWS}/kms/pricing/")
ALARM = Price(0.10, "alarm a month", f"{_AWS}/cloudwatch/pricing/")
DASHBOARD = Price(3.00, "dashboard a month", f"{_AWS}/cloudwatch/pricing/")
# A metric of one's own is paid for in the hours in which something is measured.
METRIC_HOUR = Price(0.30 / HOURS, "metric of one's own an hour", f"{_AWS}/cloudwatch/pricing/")
ENDPOINT = Price(0.01 * HOURS, "interface endpoint a month", f"{_AWS}/privatelink/pricing/")

FIXED = {
    "AWS::SecretsManager::Secret": SECRET,
    "AWS::KMS::Key": KMS_KEY,
    "AWS::CloudWatch::Alarm": ALARM,
    "AWS::CloudWatch::Dashboard": DASHBOARD,
}

# What other sizes are reckoned with.
ROLLOUT_SECONDS = 900  # as the template has it
SECONDS_A_POD = 30.0  # a new pod is started, ready, and the old one gone
KEYS_A_SECOND = 100_000.0  # `make bench` measures it
SLICE_SECONDS = 20.0
WATCH_METRICS = 5  # of the looks, which measure them in every hour
# A look of `watch_key`: every five minutes, and once a day.
LOOKS_A_DAY = 24 * 12 + 1
LOOK_SECONDS = 1.5  # it waits for two functions, which look at the cluster
ANSWER_SECONDS = 0.3
ANSWER_MEMORY_MB = 1024
QUESTION_STATES = 8  # the machine that asks them, and a branch of each
LOOK_SECRET_CALLS = 2 + 3 + 1  # of the watch, the one that compares keys, the one that counts pods
LOOK_KMS_CALLS = 1
LOOK_LOG_BYTES = 5_000
CHECK_STATES = 3  # WaitForPods, CheckRollout, RolloutDone
SERVICE_STATES = 2  # RestartService, ServiceRestarted
PURGE_STATES = 2  # PurgeSessions, PurgeDone


@dataclass(frozen=True)
class Calls:
    """A function's invocations in a rotation, the first of each environment's cold."""

    memory_mb: int
    cold: int
    warm: int
    cold_ms: float  # of one, as billed: initialisation and handler
    warm_ms: float

    @property
    def number(self) -> int:
        """How many there were."""
        return self.cold + self.warm

    @property
    def gb_seconds(self) -> float:
        """What Lambda bills by: memory times time."""
        return self.memory_mb / 1024 * (self.cold * self.cold_ms + self.warm * self.warm_ms) / 1000


@dataclass(frozen=True)
class Usage:
    """What one rotation has used; `calls` is by the handler's module."""

    calls: Mapping[str, Calls]
    transitions: int
    secret_calls: int
    kms_calls: int
    log_bytes: float

    @property
    def lines(self) -> list[tuple[str, float, Price]]:
        """Each thing that is billed, how much of it, and its price."""
        return [
            ("Lambda, time", sum(one.gb_seconds for one in self.calls.values()), LAMBDA_TIME),
            ("Lambda, invocations", sum(one.number for one in self.calls.values()), LAMBDA_CALLS),
            ("Step Functions", self.transitions, TRANSITIONS),
            ("Secrets Manager", self.secret_calls, SECRET_CALLS),
            ("KMS", self.kms_calls, KMS_CALLS),
            ("CloudWatch Logs", self.log_bytes, LOG_BYTES),
        ]

    @property
    def usd(self) -> float:
        """What it costs."""
        return sum(quantity * price.usd for _, quantity, price in self.lines)


@dataclass(frozen=True)
class Size:
    """How large an installation is: services, pods of each, sessions, seconds between two looks."""

    services: int
    pods: int
    sessions: int
    poll_seconds: int

    @property
    def looks(self) -> int:
        """How often the rollout of one service is looked at; they roll side by side.

        It may take as long as the template allows, or as long as its pods need.
        """
        seconds = math.ceil(self.pods * SECONDS_A_POD)
        limit = max(ROLLOUT_SECONDS, seconds)
        most = polling.most_looks(self.services)
        numbers = itertools.count(1)
        return next(
            number
            for number in numbers
            if polling.planned(number, most, limit, self.poll_seconds) >= seconds
        )

    @property
    def purge_seconds(self) -> float:
        """How long the purge works: two passes, of which the second finds nothing."""
        return self.sessions / KEYS_A_SECOND

    @property
    def slices(self) -> int:
        """How often the purge is called: once to look, then a slice at a time."""
        return 1 + math.ceil(self.purge_seconds / SLICE_SECONDS)


def grown(measured: Usage, size: Size) -> Usage:
    """What a rotation of another size uses, from one that was measured."""
    calls = dict(measured.calls)
    restart, check, purge = (calls[name] for name in GROWING)
    looks = size.services * size.looks
    slices = size.slices
    pace = purge.warm_ms + size.purge_seconds * 1000 / max(slices - 1, 1)
    calls["restart_service"] = replace(restart, cold=size.services, warm=0)
    calls["check_rollout"] = replace(check, cold=size.services, warm=looks - size.services)
    calls["purge_sessions"] = replace(purge, cold=1, warm=slices - 1, warm_ms=pace)
    more = {name: calls[name].number - measured.calls[name].number for name in GROWING}
    states = (
        SERVICE_STATES * more["restart_service"]
        + CHECK_STATES * more["check_rollout"]
        + PURGE_STATES * more["purge_sessions"]
    )
    added = sum(more.values())
    before = sum(one.number for one in measured.calls.values())
    return Usage(
        calls,
        measured.transitions + states,
        measured.secret_calls + added,  # each of them looks at the labels once
        measured.kms_calls,
        measured.log_bytes * (before + added) / before,
    )


GROWING = ("restart_service", "check_rollout", "purge_sessions")


def looks(watch: Calls, days: int = 30) -> Usage:
    """What the looks of `watch_key` use in a month: mostly warm, and each asks two functions."""
    number = LOOKS_A_DAY * days
    answered = Calls(ANSWER_MEMORY_MB, 0, number, 0.0, 1000 * ANSWER_SECONDS)
    calls = {
        "watch_key": replace(watch, cold=days, warm=number - days, warm_ms=1000 * LOOK_SECONDS),
        "deliver_key": answered,
        "check_rollout": answered,
    }
    return Usage(
        calls,
        QUESTION_STATES * number,
        LOOK_SECRET_CALLS * number,
        LOOK_KMS_CALLS * number,
        LOOK_LOG_BYTES * number,
    )


def month(rotation: Usage, watch: Calls, fixed: float, rotations: int, days: int = 30) -> float:
    """What a month costs: rotations, the looks of `watch_key`, and what is there anyway."""
    return rotations * rotation.usd + looks(watch, days).usd + fixed


def fixed_usd(kinds: Mapping[str, int], metrics: int, rotations: int) -> float:
    """What the stack itself costs a month, whatever its size: its resources and its metrics.

    `kinds` says how many resources of each kind the template has, `metrics` how many metrics there
    are; a rotation measures all of them within an hour, and the looks theirs in every hour.
    """
    priced = sum(number * FIXED[kind].usd for kind, number in kinds.items() if kind in FIXED)
    return priced + METRIC_HOUR.usd * (metrics * rotations + WATCH_METRICS * HOURS)
