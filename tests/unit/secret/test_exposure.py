"""Marks of exposure: how they are written and read, found again, and make room for each other."""

from datetime import UTC, datetime, timedelta

import pytest

from keyturn.secret.exposure import (
    MARKS_KEPT,
    TAGS_ALLOWED,
    Mark,
    exposed_versions,
    find_mark,
    fingerprints,
    tags_to_drop,
)
from tests.conftest import NEW, NOON, OLD

FINGERPRINT = "0123456789abcdef"
ODD = "ticket #4711: put by hand, before the audit"


def versions(count: int) -> list[str]:
    return [f"{number:036d}" for number in range(count)]


def tags_of(*marks: Mark) -> dict[str, str]:
    return {mark.tag_key: mark.tag_value for mark in marks}


def aged(version: str, days: int) -> Mark:
    return Mark(version, NOON - timedelta(days=days), "emergency")


@pytest.mark.parametrize("fingerprint", [None, FINGERPRINT])
def test_a_mark_is_read_as_it_was_written(fingerprint: str | None) -> None:
    mark = Mark(OLD, NOON, "finding", fingerprint)
    assert exposed_versions(tags_of(mark)) == [mark]


def test_a_mark_is_a_tag_that_every_service_allows() -> None:
    longest = Mark("v" * 64, NOON, "emergency", FINGERPRINT)
    assert longest.tag_key == "keyturn:exposed:" + "v" * 64
    assert longest.tag_value == "2026-11-24T12:00:00.000Z 0123456789abcdef emergency"
    for mark in (longest, Mark(ODD, NOON, "finding"), Mark("ä" * 32, NOON, "finding")):
        assert len(mark.tag_key) <= 127
        assert all(sign.isascii() for sign in mark.tag_key)
        assert all(sign.isalnum() or sign in "+-=._:/@ " for sign in mark.tag_key + mark.tag_value)


def test_other_tags_are_no_marks() -> None:
    assert exposed_versions({"team": "web", "keyturn:finding:x": "y"}) == []


@pytest.mark.parametrize("value", ["", "yesterday - emergency", f"{NOON:%Y-%m-%dT%H:%M} - finding"])
def test_a_value_that_cannot_be_read_makes_a_version_no_less_exposed(value: str) -> None:
    (mark,) = exposed_versions({f"keyturn:exposed:{OLD}": value})
    assert (mark.version, mark.reason) == (OLD, "unknown")
    assert mark.at < NOON - timedelta(days=10_000)
    assert mark.at.tzinfo is UTC


def test_a_reason_of_another_release_is_unknown_and_the_rest_is_kept() -> None:
    found = exposed_versions({f"keyturn:exposed:{OLD}": f"2026-11-24T12:00Z {FINGERPRINT} audit"})
    assert found == [Mark(OLD, NOON, "unknown", FINGERPRINT)]


def test_a_mark_is_found_by_its_version_or_by_its_key() -> None:
    mark, other = Mark(OLD, NOON, "finding", FINGERPRINT), Mark(ODD, NOON, "emergency")
    marks = exposed_versions(tags_of(mark, other))
    assert find_mark(marks, OLD) == mark
    assert find_mark(marks, NEW, FINGERPRINT) == mark
    found = find_mark(marks, ODD)
    assert found
    assert found.reason == "emergency"
    assert find_mark(marks, NEW) is None
    assert find_mark(marks, NEW, "f" * 16) is None
    assert fingerprints(marks) == {FINGERPRINT}


def test_the_oldest_mark_of_a_version_without_a_label_makes_room() -> None:
    kept = [aged(version, days) for days, version in enumerate(versions(MARKS_KEPT), 1)]
    tags = tags_of(*kept)
    oldest, next_oldest = kept[-1], kept[-2]
    new = Mark(NEW, NOON, "emergency")
    assert tags_to_drop(new, tags, {}) == [oldest.tag_key]
    assert tags_to_drop(new, tags, {oldest.version: ["AWSPREVIOUS"]}) == [next_oldest.tag_key]
    assert tags_to_drop(new, tags, {oldest.version: []}) == [oldest.tag_key]


def test_there_is_room_for_fewer_marks_beside_many_other_tags() -> None:
    others = {f"team-{number}": "" for number in range(TAGS_ALLOWED - 3)}
    marks = tags_of(*(aged(version, days) for days, version in enumerate(versions(3))))
    assert tags_to_drop(Mark(NEW, NOON, "finding"), {**others, **marks}, {}) == [
        f"keyturn:exposed:{versions(3)[2]}"
    ]
    reserved = {f"aws:cloudformation:{number}": "" for number in range(30)}
    assert tags_to_drop(Mark(NEW, NOON, "finding"), {**reserved, **marks}, {}) == []


def test_a_mark_that_is_written_again_drops_none() -> None:
    tags = tags_of(*(aged(version, 1) for version in versions(MARKS_KEPT + 5)))
    assert tags_to_drop(Mark(versions(1)[0], NOON, "emergency"), tags, {}) == []


def test_no_mark_tells_more_than_it_must() -> None:
    mark = Mark(OLD, datetime(2026, 11, 24, tzinfo=UTC), "finding", FINGERPRINT)
    assert mark.tag_value.split() == ["2026-11-24T00:00:00.000Z", FINGERPRINT, "finding"]
