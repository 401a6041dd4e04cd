"""The rotations that findings have started: written and read as tags, and believed alone."""

import re
from datetime import timedelta

import pytest

from keyturn.findings.event import parse_finding
from keyturn.findings.policy import ROTATES, token_of
from keyturn.secret.finding_history import (
    MOST_KEPT,
    StartedRotation,
    finding_of,
    started_rotations,
    tags_to_drop,
)
from tests.conftest import NOON
from tests.every_case import every_case
from tests.project import event, template

ID = "0123456789abcdef0123456789abcdef"
TOKEN = "emergency-gd-" + ID


def started(token: str = TOKEN, hours: float = 0, name: str = "X:Y/Z") -> StartedRotation:
    return StartedRotation(token, NOON - timedelta(hours=hours), name, ID)


def tags_of(*rotations: StartedRotation) -> dict[str, str]:
    return {one.tag_key: one.tag_value for one in rotations}


@every_case("name", ROTATES)
def test_every_type_that_rotates_fits_into_a_tag_and_is_read_as_it_was_written(name: str) -> None:
    rotation = started(f"{token_of(parse_finding(event('respond_to_finding')))}-100", name=name)
    assert len(rotation.tag_key) <= 127
    assert len(rotation.tag_value) <= 255
    assert re.fullmatch(r"[A-Za-z0-9 +=._:/@-]+", rotation.tag_key + rotation.tag_value)
    assert started_rotations(tags_of(rotation)) == [rotation]


def test_the_signs_that_a_tag_does_not_allow_are_escaped() -> None:
    rotation = started(name="Backdoor:Runtime/C&CActivity.B!DNS")
    assert rotation.tag_value == (
        f"2026-11-24T12:00:00.000Z Backdoor:Runtime/C=26CActivity.B=21DNS {ID}"
    )
    assert rotation.finding == f"Backdoor:Runtime/C&CActivity.B!DNS {ID}"


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"yesterday X:Y/Z {ID}",
        f"2026-11-24T12:00:00 X:Y/Z {ID}",
        "2026-11-24T12:00:00.000Z X:Y/Z visit-evil.example",
        f"2026-11-24T12:00:00.000Z X:Y/=0A=0Aforged {ID}",
        f"2026-11-24T12:00:00.000Z X:Y/Z {ID} and more",
    ],
)
def test_a_value_of_another_form_is_no_rotation_and_is_cleared_away(value: str) -> None:
    tags = {f"keyturn:finding:{TOKEN}": value}
    assert started_rotations(tags) == []
    assert finding_of(started_rotations(tags), TOKEN) == ""
    assert tags_to_drop(started("other"), tags) == [f"keyturn:finding:{TOKEN}"]


def test_the_finding_of_a_token_is_the_recorded_one_and_no_others() -> None:
    known = started_rotations(tags_of(started(), started("later", name="A:B/C")))
    assert finding_of(known, "later") == f"A:B/C {ID}"
    assert finding_of(known, f"{TOKEN}-2") == ""


def test_what_is_older_than_a_day_makes_room_and_other_tags_stay() -> None:
    old, young = started("old", hours=24), started("young", hours=23.9)
    tags = {"team": "web", f"keyturn:exposed:{ID}": "", **tags_of(young, old)}
    assert tags_to_drop(started("new"), tags) == [old.tag_key]
    assert [one.token for one in started_rotations(tags)] == ["old", "young"]


def test_there_are_never_more_than_the_greatest_daily_limit() -> None:
    """Rotations that never get anywhere do not count for the limit, but for the room."""
    many = [started(f"token-{hours}", hours=hours / 2) for hours in range(1, MOST_KEPT + 3)]
    dropped = tags_to_drop(started("new"), tags_of(*many))
    assert dropped == [one.tag_key for one in many[MOST_KEPT - 1 :]]
    assert tags_to_drop(many[0], tags_of(*many[:MOST_KEPT])) == []
    limits = template()["Parameters"]["FindingLimits"]["AllowedPattern"]
    allowed = [number for number in range(1, 100) if re.match(limits, f"60,{number}")]
    assert max(allowed) == MOST_KEPT
