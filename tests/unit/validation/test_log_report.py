"""What the logs prove, of which pods, and how little of it travels."""

import json

import pytest

from keyturn import errors
from keyturn.validation import log_report
from keyturn.validation.log_report import LogMatch, PodCount, Report
from keyturn.validation.log_rules import NOT_32_BYTES, NOT_SET, OLD_SESSION

WHOLE = PodCount("web-console", 3, 3, 3)


def match(pod: str, rule: str = NOT_32_BYTES, count: int = 1, note: str = "") -> LogMatch:
    return LogMatch(pod, "app", rule, count, None, note)


def test_a_key_error_without_a_note_is_decisive_and_an_old_session_never() -> None:
    assert match("web-console-1").decisive
    assert not match("web-console-1", note="part of longer lines").decisive
    assert not match("web-console-1", OLD_SESSION).decisive


def test_every_pod_with_a_decisive_match_is_named_and_no_other() -> None:
    found = [
        match("a", NOT_SET),
        match("b", OLD_SESSION),
        match("c", count=2),
        match("d", note="x"),
    ]
    with pytest.raises(errors.KeyErrorsInLogs) as told:
        log_report.refuse_decisive(found)
    assert "(a/app: key-not-set x1, c/app: key-not-32-bytes x2)" in str(told.value)
    log_report.refuse_decisive(found[1::2])


def test_the_error_of_a_thousand_pods_names_some_and_counts_the_rest() -> None:
    with pytest.raises(errors.KeyErrorsInLogs, match=r"and 990 more\)") as told:
        log_report.refuse_decisive([match(f"web-console-{number}") for number in range(1000)])
    assert len(str(told.value)) < 1000


SEVERAL = (
    "a: 1 of 4 pods do not carry the run's annotations, 2 of 3 pods were not read; b: no pod exists"
)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((), ""),
        ((WHOLE,), ""),
        ((PodCount("web", 0, 0, 0),), "web: no pod exists"),
        ((PodCount("web", 3, 1, 1),), "web: 2 of 3 pods do not carry the run's annotations"),
        ((PodCount("web", 3, 3, 1),), "web: 2 of 3 pods were not read"),
        (
            (PodCount("a", 4, 3, 1), WHOLE, PodCount("b", 0, 0, 0)),
            SEVERAL,
        ),
    ],
)
def test_a_report_is_complete_only_where_it_is_about_every_pod_that_exists(
    counts: tuple[PodCount, ...], reason: str
) -> None:
    entry = Report((), 0, counts).as_entry()
    assert (entry["complete"], entry["reason"]) == (not reason, reason)
    assert entry["says"] == (f"The logs do not show every pod: {reason}." if reason else "")


def test_pods_that_the_restart_did_not_make_are_refused_by_name_and_number() -> None:
    log_report.refuse_unstamped(Report((), 3, (WHOLE, PodCount("auth-service", 0, 0, 0))))
    stripped = Report((), 0, (WHOLE, PodCount("auth-service", 2, 0, 0), PodCount("db", 3, 2, 2)))
    with pytest.raises(errors.RestartOverwritten) as told:
        log_report.refuse_unstamped(stripped)
    assert str(told.value).startswith("2 of 2 pods of auth-service, 1 of 3 pods of db do not carry")
    assert "web-console" not in str(told.value)
    assert "kubectl rollout history" in str(told.value)


def test_lines_that_mention_a_key_error_are_counted_and_people_are_told() -> None:
    found = (
        match("a", count=3, note="part of longer lines"),
        match("b", NOT_SET, 2, note="this container does not get the key"),
        match("b", OLD_SESSION, 40),
    )
    entry = Report(found, 2, (WHOLE,)).as_entry()
    assert entry["lines"] == {NOT_SET: 2, NOT_32_BYTES: 3, OLD_SESSION: 40}
    assert entry["complete"]
    assert entry["says"].startswith("Log lines that mention a key error without proving one: 5.")


def test_old_sessions_alone_are_nothing_to_tell_people() -> None:
    assert Report((match("a", OLD_SESSION, 40),), 1, (WHOLE,)).as_entry()["says"] == ""


def test_the_entry_does_not_grow_with_the_pods_and_keeps_what_matters_most() -> None:
    """An outsider may write into every log: the state machine carries 256 KiB."""
    old = [match(f"web-console-{'x' * 200}-{n}", OLD_SESSION, 10_000 + n) for n in range(10_000)]
    mention = match("auth-service-1", note="part of longer lines")
    entry = Report((*old, mention), 10_001, (WHOLE,)).as_entry()
    assert len(json.dumps(entry)) < 32 * 1024
    assert entry["findings"][0]["pod"] == "auth-service-1"
    assert entry["findings"][1]["count"] == 19_999
    assert entry["lines"] == {NOT_32_BYTES: 1, OLD_SESSION: sum(range(10_000, 20_000))}
