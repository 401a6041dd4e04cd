"""A key that is changed by hand, and what the watch does about it, on the whole stack."""

import json
from datetime import timedelta
from typing import Any

from keyturn import key
from keyturn.run import now, timestamp
from tests.e2e.site import Site


def daily_look(site: Site, *, ahead: timedelta = timedelta()) -> list[dict[str, Any]]:
    """What the daily rule does, now or some days ahead."""
    name = site.stack.function_name("WatchKeyFunction")
    event = {"detail-type": "Scheduled Event", "time": timestamp(now() + ahead)}
    answer = site.stack.functions.invoke(name, json.dumps(event).encode())
    assert answer.function_error is None, answer.payload
    found: list[dict[str, Any]] = json.loads(answer.payload)["found"]
    return found


def test_a_key_that_a_hand_has_changed_is_carried_to_the_services_once(site: Site) -> None:
    version = site.change_by_hand()
    ended = site.end(version)
    assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "succeeded")
    assert ended.output["trigger"]["kind"] == "watch"
    assert site.delivered() == site.document(version)[key.FIELD]
    runs = site.executions()
    assert daily_look(site) == []
    assert site.executions() == runs


def test_a_value_that_no_service_can_use_is_turned_back_before_any_pod_meets_it(site: Site) -> None:
    before, delivered = site.current(), site.delivered()
    version = site.spoil_by_hand()
    ended = site.end(version)
    assert (ended.status, ended.error) == ("FAILED", "KeyNot32Bytes")
    record = site.stack.record(version)
    assert (record["outcome"], record["failure"]["step"]) == ("restored", "DeliverKey")
    assert (site.current(), site.delivered()) == (before, delivered)
    runs = site.executions()
    assert daily_look(site) == []
    assert site.executions() == runs


def test_a_rotation_starts_its_own_run_though_the_watch_sees_its_label_move(site: Site) -> None:
    ended = site.rotate_to_end()
    assert ended.output["trigger"]["kind"] != "watch"
    assert daily_look(site) == []
