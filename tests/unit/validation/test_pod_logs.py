"""No new pod is without its key, and nothing of a line leaves the function."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import errors
from keyturn.rollout.pod_annotations import Stamp
from keyturn.rollout.status import Pod
from keyturn.validation import pod_logs
from keyturn.validation.log_report import LogMatch, PodCount, Report
from keyturn.validation.pod_logs import ContainerLog, Line, ServiceLogs
from tests.conftest import NEW, NOON, STAMP
from tests.fakes import FakeCluster, FakeStopwatch

SECOND = timedelta(seconds=1)
CRASHED, NOT_READY = "the container crashed", "its pod is not ready"
NOT_SET = "FATAL SESSION_ENCRYPTION_KEY is not set"
NOT_32_BYTES = "ValueError: SESSION_ENCRYPTION_KEY must decode to 32 bytes, got 24"
NGINX = (
    '203.0.113.9 - - [27/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 612 "-"'
    ' "SESSION_ENCRYPTION_KEY must decode to 32 bytes"'
)


def log_of(
    pod: str, *texts: str, container: str = "app", gets_key: bool = True, trouble: str = ""
) -> ContainerLog:
    """A log of which each line is a second later than the one before."""
    lines = [Line(NOON + number * SECOND, text) for number, text in enumerate(texts)]
    return ContainerLog(pod, container, lines, gets_key, trouble)


def service_of(*found: ContainerLog, name: str = "web-console") -> ServiceLogs:
    """A service of which every pod carries the stamp."""
    pods = sorted({log.pod for log in found})
    return ServiceLogs(name, pods, pods, found)


def read(*found: ContainerLog) -> Report:
    return pod_logs.read_logs([service_of(*found)], FakeStopwatch())


def matches(log: ContainerLog) -> list[LogMatch]:
    found = pod_logs.search(log)
    assert found is not None
    return found


@pytest.mark.parametrize("trouble", [CRASHED, NOT_READY])
@pytest.mark.parametrize(
    ("line", "rule"), [(NOT_SET, "key-not-set"), (NOT_32_BYTES, "key-not-32-bytes")]
)
def test_a_key_error_needs_the_container_the_message_and_the_pods_state(
    line: str, rule: str, trouble: str
) -> None:
    log = log_of("pod-1", "started", line, "GET / 200", trouble=trouble)
    with pytest.raises(errors.KeyErrorsInLogs, match=f"pod-1/app: {rule} x1"):
        read(log)


@pytest.mark.parametrize(
    ("spoilt", "note"),
    [
        (
            log_of("pod-1", NOT_SET, gets_key=False, trouble=CRASHED),
            "this container does not get the key",
        ),
        (log_of("pod-1", f"{NOT_SET} ...", trouble=CRASHED), "part of longer lines"),
        (log_of("pod-1", NOT_SET), "the container did not crash and its pod is ready"),
    ],
)
def test_without_one_of_the_three_it_is_counted_and_decides_nothing(
    spoilt: ContainerLog, note: str
) -> None:
    report = read(spoilt)
    (found,) = report.findings
    assert (found.rule, found.count, found.note) == ("key-not-set", 1, note)


@pytest.mark.parametrize("trouble", ["", CRASHED, NOT_READY])
def test_what_a_visitor_writes_into_an_access_log_ends_no_rotation(trouble: str) -> None:
    """`curl -A "must decode to 32 bytes"`, also where the pod is in trouble of another kind."""
    report = read(log_of("web-console-1", *[NGINX] * 3, trouble=trouble))
    assert report.lines == {"key-not-32-bytes": 3}


def test_one_statement_among_mentions_is_enough() -> None:
    with pytest.raises(errors.KeyErrorsInLogs, match="pod-1/app: key-not-32-bytes x2"):
        read(log_of("pod-1", NGINX, NOT_32_BYTES, trouble=CRASHED))


def test_each_rule_is_counted_with_the_time_of_its_first_line() -> None:
    line = "cannot decrypt"
    log = log_of("pod-1", "started", line, "GET / 200", line)
    found = LogMatch("pod-1", "app", "old-session", 2, "2026-11-24T12:00:01.000Z")
    assert pod_logs.search(log) == [found]


def test_a_line_that_several_rules_know_counts_for_each() -> None:
    found = matches(log_of("pod-1", f"{NOT_SET}; {NOT_32_BYTES}"))
    assert {(match.rule, match.count) for match in found} == {
        ("key-not-set", 1),
        ("key-not-32-bytes", 1),
    }


def test_the_first_line_is_the_earliest_and_unstamped_lines_count() -> None:
    text = "cannot decrypt"
    lines = [Line(None, text), Line(NOON + SECOND, text), Line(NOON, text)]
    log = ContainerLog("pod-1", "app", lines, True, "")
    (found,) = matches(log)
    assert (found.count, found.firstAt) == (3, "2026-11-24T12:00:00.000Z")
    (unstamped,) = matches(replace(log, lines=lines[:1]))
    assert (unstamped.count, unstamped.firstAt) == (1, None)


def test_old_sessions_that_cannot_be_decrypted_are_counted_and_not_decisive() -> None:
    report = read(log_of("web-console-1", *["cannot decrypt session"] * 3, trouble=CRASHED))
    finding = LogMatch("web-console-1", "app", "old-session", 3, "2026-11-24T12:00:00.000Z")
    assert report == Report((finding,), 1, (PodCount("web-console", 1, 1, 1),))


def test_a_key_error_in_any_service_is_told_without_the_line() -> None:
    lines = ["SESSION_ENCRYPTION_KEY must decode to 32 bytes", f"{NOT_32_BYTES} c2VjcmV0"]
    bad = service_of(log_of("auth-service-1", *lines, trouble=CRASHED), name="auth-service")
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        pod_logs.read_logs([service_of(log_of("web-console-1", "fine")), bad], FakeStopwatch())
    assert "auth-service-1/app: key-not-32-bytes x2" in str(told.value)
    assert "c2VjcmV0" not in str(told.value)


def test_logs_are_read_of_this_restart_and_since_the_run_began() -> None:
    asked: list[tuple[str, Stamp, datetime, bool]] = []

    class Listening:
        def of_restart(
            self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
        ) -> ServiceLogs:
            asked.append((service, stamp, since, crashed_only))
            return service_of(log_of(service, "fine"), name=service)

    found = pod_logs.of_services(Listening(), ["web-console", "auth-service"], STAMP, NOON)
    assert [one.service for one in found] == ["web-console", "auth-service"]
    assert asked == [("web-console", STAMP, NOON, False), ("auth-service", STAMP, NOON, False)]


def slow(
    watch: FakeStopwatch, count: int, seconds: float, text: str = ""
) -> Iterator[ContainerLog]:
    """Logs of which each takes some time to read."""
    for number in range(count):

        def lines() -> Iterator[Line]:
            watch.seconds += seconds
            yield Line(NOON, text)

        yield ContainerLog(f"pod-{number}", "app", lines(), True, CRASHED)


def ten(found: Iterable[ContainerLog]) -> ServiceLogs:
    pods = [f"pod-{number}" for number in range(10)]
    return ServiceLogs("web-console", pods, pods, found)


def test_reading_ends_with_its_time_and_says_of_how_many_pods_it_is() -> None:
    watch = FakeStopwatch(100.0)
    after = service_of(log_of("auth-service-1", "fine"), name="auth-service")
    report = pod_logs.read_logs(
        [ten(slow(watch, 10, 2.0, "cannot decrypt")), after], watch, seconds=5
    )
    assert report.services == (
        PodCount("web-console", 10, 10, 3),
        PodCount("auth-service", 1, 1, 0),
    )
    assert report.reason.startswith("web-console: 7 of 10 pods were not read")
    assert [finding.pod for finding in report.findings] == ["pod-0", "pod-1", "pod-2"]
    assert (report.logs, watch.seconds) == (3, 106.0)


def test_reading_that_ends_in_time_is_complete_however_many_logs_there_are() -> None:
    watch = FakeStopwatch()
    report = pod_logs.read_logs([ten(slow(watch, 10, 0.5))], watch, seconds=5)
    assert (report.logs, report.reason) == (10, "")


def test_a_decisive_match_is_told_also_where_time_did_not_suffice() -> None:
    watch = FakeStopwatch()
    with pytest.raises(errors.KeyErrorsInLogs, match="pod-0/app: key-not-set x1"):
        pod_logs.read_logs([ten(slow(watch, 3, 9.0, NOT_SET))], watch, seconds=5)


@pytest.mark.parametrize("refusal", [errors.ServiceNotFound, errors.ClusterRefused])
def test_a_pod_whose_log_is_not_there_was_not_read(refusal: type[errors.KeyturnError]) -> None:
    def gone() -> Iterator[Line]:
        raise refusal("gone")
        yield

    lost = ContainerLog("web-console-2", "app", gone(), True, "")
    sidecar = log_of("web-console-2", "fine", container="proxy", gets_key=False)
    report = read(log_of("web-console-1", "fine"), lost, sidecar)
    assert report.services == (PodCount("web-console", 2, 2, 1),)


def test_a_pod_of_which_only_a_sidecar_was_read_was_not_read() -> None:
    report = read(log_of("web-console-1", "fine", gets_key=False))
    assert report.services == (PodCount("web-console", 1, 1, 0),)


def test_no_pod_at_all_and_pods_without_the_stamp_are_no_clean_report() -> None:
    none = ServiceLogs("web-console", [], [], [])
    stripped = ServiceLogs("auth-service", ["auth-service-1"], [], [])
    report = pod_logs.read_logs([none, stripped], FakeStopwatch())
    assert report.reason == (
        "web-console: no pod exists; auth-service: 1 of 1 pods do not carry the run's annotations"
    )


@given(st.lists(st.text(max_size=40), max_size=6), st.sampled_from([NOT_SET, NOT_32_BYTES]))
def test_nothing_of_a_line_leaves(texts: list[str], fatal: str) -> None:
    marked = [f"<<{text}>> cannot decrypt" for text in texts]
    log = log_of("pod-1", *marked)
    assert "<<" not in f"{asdict(read(log))} {read(log)} {log} {log!r} {service_of(log)!r}"
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        read(log_of("pod-1", f"<<{fatal}>>", fatal, trouble=CRASHED))
    assert "<<" not in f"{told.value} {told.value!r}"
    assert told.value.__cause__ is None


def test_the_fake_cluster_filters_crashed_containers() -> None:
    crashed, running = log_of("web-console-2", "x"), log_of("web-console-1", "y")
    pods = [Pod("web-console-1", NEW, key_delivery=STAMP.delivery), Pod("web-console-2", NEW)]
    cluster = FakeCluster(pods_of={"web-console": pods}, logs=[running], crashes=[crashed])
    assert cluster.of_restart("web-console", STAMP, NOON, crashed_only=True).logs == [crashed]
    whole = cluster.of_restart("web-console", STAMP, NOON)
    assert (whole.logs, whole.stamped) == ([running, crashed], ["web-console-1"])
    assert whole.pods == ["web-console-1", "web-console-2"]
