"""`keyturn.logs`: no new pod is without its key, and nothing of a line leaves the function."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors, logs
from keyturn.logs import ContainerLog, Finding, Line, Report
from keyturn.stamp import Stamp
from tests.conftest import NOON, STAMP
from tests.fakes import FakeCluster, FakeStopwatch

SECOND = timedelta(seconds=1)
FATAL_LINES = [
    ("FATAL SESSION_ENCRYPTION_KEY is not set", "key-not-set"),
    ('{"msg": "session_encryption_key environment variable not set"}', "key-not-set"),
    ("ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24", "key-not-32-bytes"),
]


def log_of(pod: str, *texts: str, container: str = "app") -> ContainerLog:
    """A log of which each line is a second later than the one before."""
    lines = [Line(NOON + number * SECOND, text) for number, text in enumerate(texts)]
    return ContainerLog(pod, container, lines)


def read(*found: ContainerLog) -> Report:
    return logs.read(found, FakeStopwatch())


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        *FATAL_LINES,
        ("warning: could not decrypt session cookie", "old-session"),
        ("Failed to decrypt session abc", "old-session"),
        ("cannot decrypt", "old-session"),
    ],
)
def test_each_rule_knows_its_lines_and_when_it_met_the_first(line: str, rule: str) -> None:
    log = log_of("pod-1", "started", line, "GET / 200", line)
    assert logs.search(log) == [Finding("pod-1", "app", rule, 2, "2026-11-24T12:00:01.000Z")]


@pytest.mark.parametrize(
    "line",
    ["", "SESSION_ENCRYPTION_KEY loaded", "the cache is not set", "32 bytes sent", "decrypted"],
)
def test_ordinary_lines_match_no_rule(line: str) -> None:
    assert logs.search(log_of("pod-1", line)) == []


def test_a_line_that_several_rules_know_counts_for_each() -> None:
    (line, _), (_, _), (other, _) = FATAL_LINES
    found = logs.search(log_of("pod-1", f"{line}; {other}"))
    assert {(finding.rule, finding.count) for finding in found} == {
        ("key-not-set", 1),
        ("key-not-32-bytes", 1),
    }


def test_the_first_of_lines_is_the_earliest_and_those_without_a_stamp_count_too() -> None:
    text = "cannot decrypt"
    lines = [Line(None, text), Line(NOON + SECOND, text), Line(NOON, text)]
    (found,) = logs.search(ContainerLog("pod-1", "app", lines))
    assert (found.count, found.firstAt) == (3, "2026-11-24T12:00:00.000Z")
    (unstamped,) = logs.search(ContainerLog("pod-1", "app", lines[:1]))
    assert (unstamped.count, unstamped.firstAt) == (1, None)


def test_old_sessions_that_cannot_be_decrypted_are_counted_and_not_fatal() -> None:
    report = read(log_of("web-console-1", *["cannot decrypt session"] * 3))
    finding = Finding("web-console-1", "app", "old-session", 3, "2026-11-24T12:00:00.000Z")
    assert report == Report((finding,), logs=1, complete=True)


def test_a_key_error_in_any_service_is_fatal_and_told_without_the_line() -> None:
    line = "SESSION_ENCRYPTION_KEY must decode to 32 bytes: c2VjcmV0"
    bad = log_of("auth-service-1", line, line, container="proxy")
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        read(log_of("web-console-1", "fine"), bad)
    assert "auth-service-1/proxy: key-not-32-bytes x2" in str(told.value)
    assert "c2VjcmV0" not in str(told.value)


def test_every_pod_with_a_fatal_finding_is_named_and_no_other() -> None:
    texts = [text for text, _ in FATAL_LINES]
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        read(log_of("a", texts[0]), log_of("b", "cannot decrypt"), log_of("c", texts[2]))
    assert "(a/app: key-not-set x1, c/app: key-not-32-bytes x1)" in str(told.value)


def test_logs_are_read_of_this_restart_and_since_the_run_began() -> None:
    asked: list[tuple[str, Stamp, datetime, bool]] = []

    class Listening:
        def of_restart(
            self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
        ) -> Iterable[ContainerLog]:
            asked.append((service, stamp, since, crashed_only))
            return [log_of(service, "fine")]

    found = logs.of_services(Listening(), ["web-console", "auth-service"], STAMP, NOON)
    assert [log.pod for log in found] == ["web-console", "auth-service"]
    assert asked == [("web-console", STAMP, NOON, False), ("auth-service", STAMP, NOON, False)]


def slow(
    watch: FakeStopwatch, count: int, seconds: float, text: str = ""
) -> Iterator[ContainerLog]:
    """Logs of which each takes some time to read."""
    for number in range(count):

        def lines() -> Iterator[Line]:
            watch.seconds += seconds
            yield Line(NOON, text)

        yield ContainerLog(f"pod-{number}", "app", lines())


def test_reading_ends_with_its_time_and_says_that_it_is_not_complete() -> None:
    watch = FakeStopwatch(100.0)
    report = logs.read(slow(watch, 10, 2.0, "cannot decrypt"), watch, seconds=5)
    assert (report.logs, report.complete) == (3, False)
    assert [finding.pod for finding in report.findings] == ["pod-0", "pod-1", "pod-2"]
    assert watch.seconds == 106.0


def test_reading_that_ends_in_time_is_complete_however_many_logs_there_are() -> None:
    watch = FakeStopwatch()
    report = logs.read(slow(watch, 10, 0.5), watch, seconds=5)
    assert (report.logs, report.complete) == (10, True)


def test_a_fatal_finding_is_told_also_where_time_did_not_suffice() -> None:
    watch = FakeStopwatch()
    with pytest.raises(errors.KeyErrorsInLogs, match="pod-0/app: key-not-set x1"):
        logs.read(slow(watch, 3, 9.0, FATAL_LINES[0][0]), watch, seconds=5)


def test_no_log_at_all_is_a_complete_report() -> None:
    assert read() == Report((), logs=0, complete=True)


@given(st.lists(st.text(max_size=40), max_size=6), st.sampled_from([f for f, _ in FATAL_LINES]))
def test_nothing_of_a_line_leaves(texts: list[str], fatal: str) -> None:
    marked = [f"<<{text}>> cannot decrypt" for text in texts]
    log = log_of("pod-1", *marked)
    assert "<<" not in f"{asdict(read(log))} {read(log)} {log} {log!r} {log.lines!r}"
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        read(log_of("pod-1", f"<<{fatal}>>"))
    assert "<<" not in f"{told.value} {told.value!r}"
    assert told.value.__cause__ is None


def test_the_fake_cluster_shows_crashed_containers_alone_where_they_are_asked_for() -> None:
    crashed, running = log_of("web-console-2", "x"), log_of("web-console-1", "y")
    cluster = FakeCluster(logs=[running], crashes=[crashed])
    assert cluster.of_restart("web-console", STAMP, NOON, crashed_only=True) == [crashed]
    assert cluster.of_restart("web-console", STAMP, NOON) == [running, crashed]
