"""Counting pods by the key that they were made for, and who looks when."""

import threading
from typing import Any

import pytest

from keyturn.rollout.pod_annotations import KEY_VERSION
from local import console
from local.sampler import Countdown, Gauges, PodCounts, Reading, count_pods
from local.traffic import Visitors, VisitorsReport

RUN = "11111111-1111-4111-8111-111111111111"


def pod(version: str | None = None, *, leaving: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"annotations": {KEY_VERSION: version}} if version else {}
    return {"metadata": {**metadata, **({"deletionTimestamp": "now"} if leaving else {})}}


@pytest.mark.parametrize(
    ("pods", "counts"),
    [
        ([], PodCounts(3, new=0, old=0, terminating=0)),
        ([pod(), pod("another"), pod(RUN)], PodCounts(3, new=1, old=2, terminating=0)),
        ([pod(leaving=True), pod(RUN)], PodCounts(3, new=1, old=0, terminating=1)),
        ([pod(RUN, leaving=True)], PodCounts(3, new=1, old=0, terminating=0)),
    ],
)
def test_pods_are_new_old_or_old_and_terminating(
    pods: list[dict[str, Any]], counts: PodCounts
) -> None:
    assert count_pods(pods, 3, RUN) == counts


def test_before_a_rotation_every_pod_is_old() -> None:
    assert count_pods([pod(), pod("")], 2, "") == PodCounts(2, new=0, old=2, terminating=0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (PodCounts(3, 0, 3, 0), "3 old"),
        (PodCounts(3, 1, 2, 0), "1 of 3 new, 2 old"),
        (PodCounts(3, 3, 0, 1), "3 of 3 new, 1 old terminating"),
        (PodCounts(3, 3, 0, 0), "3 of 3 new"),
    ],
)
def test_counts_are_told_in_words_and_what_is_zero_is_left_out(
    counts: PodCounts, words: str
) -> None:
    assert str(counts) == words


class FakeRedis:
    def __enter__(self) -> "FakeRedis":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def dbsize(self) -> int:
        return 7

    def client(self, _database: int) -> "FakeRedis":
        return self


class FakeStack:
    redis = FakeRedis()

    def pods(self, service: str) -> list[dict[str, Any]]:
        return [pod(RUN)] * console.REPLICAS[service]


def test_gauges_sample_cluster_redis_and_visitors_until_closed() -> None:
    seen = threading.Event()
    readings: list[Reading] = []

    def on_reading(reading: Reading) -> None:
        readings.append(reading)
        seen.set()

    visitors = Visitors("http://127.0.0.1:1", [])
    gauges = Gauges(FakeStack(), visitors, on_reading, RUN)  # type: ignore[arg-type]
    with gauges:
        assert seen.wait(10)
    count = len(readings)
    assert readings[0].sessions == 7
    assert readings[0].visitors == VisitorsReport()
    assert {name: counts.new for name, counts in readings[0].pods.items()} == console.REPLICAS
    assert not gauges._thread.is_alive()
    assert len(readings) == count


def test_a_countdown_tells_the_rate_and_the_time_while_a_purge_is_at_work() -> None:
    countdown = Countdown()
    assert countdown.tell(2000, 10.0) == "2,000"
    countdown.purge(working=True)
    assert countdown.tell(3000, 11.0) == "3,000"
    assert countdown.tell(2500, 11.5) == "2,500, 1,000 a second fewer, about 2.5 s to go"
    countdown.purge(working=True)  # its next slice
    assert countdown.tell(2000, 12.0) == "2,000, 1,000 a second fewer, about 2.0 s to go"
    assert countdown.tell(0, 14.0) == "0"


def test_the_logins_after_a_purge_are_not_counted_down() -> None:
    countdown = Countdown()
    countdown.tell(2000, 10.0)
    countdown.purge(working=True)
    countdown.tell(2000, 11.0)
    assert countdown.tell(1000, 12.0) == "1,000, 1,000 a second fewer, about 1.0 s to go"
    assert countdown.tell(4, 13.0) == "4"  # it may be over: it is before the next reading
    countdown.purge(working=False)
    assert countdown.tell(4, 13.5) == "4"
    assert countdown.tell(3, 20.0) == "3"


def test_a_second_purge_is_counted_down_from_its_own_beginning() -> None:
    countdown = Countdown()
    for sessions, at in ((2000, 1.0), (500, 2.0)):
        countdown.purge(working=True)
        countdown.tell(sessions, at)
    countdown.purge(working=False)
    countdown.tell(80, 60.0)
    countdown.purge(working=True)
    assert countdown.tell(80, 61.0) == "80"
    assert countdown.tell(40, 62.0) == "40, 40 a second fewer, about 1.0 s to go"


def test_sessions_without_a_purge_are_not_counted_down() -> None:
    countdown = Countdown()
    assert countdown.tell(2000, 10.0) == "2,000"
    assert countdown.tell(1500, 11.0) == "1,500"  # people log out, sessions expire
