"""The dashboard: what it shows is what the functions measure, and all of it is shown or watched."""

import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyturn import errors, telemetry
from keyturn.monitoring.key_health import Execution
from tests import emf, monitoring
from tests.conftest import NEW, NOON
from tests.ledgers import caught
from tests.project import FUNCTIONS, event, resources
from tests.stage import Context, Stage, handler_of

NAMESPACE = "Keyturn"
BODY = monitoring.dashboard()
KINDS = {"alarm", "log", "metric", "text"}
FIRST_ROW = ["alarm", "metric", "log", "log"]


def widgets(kind: str) -> list[dict[str, Any]]:
    return [widget for widget in BODY["widgets"] if widget["type"] == kind]


def cells(widget: dict[str, Any]) -> set[tuple[int, int]]:
    across = range(widget["x"], widget["x"] + widget["width"])
    down = range(widget["y"], widget["y"] + widget["height"])
    return set(itertools.product(across, down))


def endings() -> Iterator[dict[str, Any]]:
    """The ledger of a run of each mode for each way in which it can end."""
    whole = event("finish_rotation")
    turned = event("restore_previous_key")
    for mode in ("scheduled", "emergency"):
        ledger = {**whole, "rotation": {**whole["rotation"], "mode": mode}}
        yield ledger
        yield {**ledger, "failures": {"validate_rotation": caught("LoginBroken", "it answers 404")}}
        yield {**ledger, "failures": {"purge_sessions": caught("Superseded", "by another")}}
    back = {"startedAt": turned["start"]["startedAt"], "seconds": 0.1}
    yield {
        **whole,
        "rotation": {**whole["rotation"], "mode": "rollback"},
        "restore_previous_key": {
            **back,
            "decided": "",
            "from": "",
            "to": "",
            "deliver": True,
            "restart": True,
            **{name: turned[name] for name in ("rotation", "start")},
        },
        "before_rollback": turned,
    }


def findings() -> Iterator[dict[str, Any]]:
    """A finding that rotates the key, one that is told of, and one that is ignored."""
    found = event("respond_to_finding")
    yield found
    detail = found["detail"]
    elsewhere = {"eksClusterDetails": {"name": "another", "arn": "arn:aws:eks:::another"}}
    resource = {**detail["resource"], **elsewhere}
    yield {**found, "detail": {**detail, "resource": resource}}
    yield {**found, "detail": {**detail, "service": {**detail["service"], "archived": True}}}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Every line that the functions write, on fakes, in all that can become of a rotation."""
    said = io.StringIO()
    monkeypatch.setattr(telemetry.logger.registered_handler, "stream", said)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    stage = Stage()
    stage.promote()
    stage.wire(monkeypatch)
    rules = stage.store.rules
    stage.store.rules = replace(rules, enabled=True, next_rotation=NOON + timedelta(days=9))
    handler_of("watch_key", monkeypatch)(event("watch_key"), Context())
    stage.runs.known = [Execution(f"rot-{NEW}", "arn", "SUCCEEDED", NOON)]
    handler_of("watch_key", monkeypatch)(event("watch_key"), Context())
    for function in FUNCTIONS:
        with pytest.raises(errors.RequestRefused):
            handler_of(function, monkeypatch)({}, Context())
    for ledger in endings():
        handler_of("finish_rotation", monkeypatch)(ledger, Context())
    for finding in findings():
        handler_of("respond_to_finding", monkeypatch)(finding, Context())
    stage.store.made[NEW] = NOON  # after the finding's last activity: it marks the key before
    handler_of("respond_to_finding", monkeypatch)(event("respond_to_finding"), Context())
    return [*capsys.readouterr().out.splitlines(), *said.getvalue().splitlines()]


@pytest.fixture
def measured(written: list[str]) -> set[emf.Metric]:
    data = emf.data(written)
    assert {datum.namespace for datum in data} == {NAMESPACE}
    return {datum.metric for datum in data}


def of_ours(metrics: Iterator[monitoring.Measured]) -> set[emf.Metric]:
    return {(name, dimensions) for namespace, name, dimensions in metrics if namespace == NAMESPACE}


def test_the_dashboard_shows_every_metric_that_is_measured_and_no_other(
    measured: set[emf.Metric],
) -> None:
    assert of_ours(monitoring.shown_by(BODY)) == measured


def test_every_metric_of_an_alarm_is_measured(measured: set[emf.Metric]) -> None:
    for alarm in monitoring.alarms().values():
        assert of_ours(monitoring.watched_by(alarm)) <= measured


def test_a_metric_is_shown_once() -> None:
    shown = list(monitoring.shown_by(BODY))
    assert len(shown) == len(set(shown))


def test_the_first_row_answers_what_people_ask_first() -> None:
    first = sorted((one for one in BODY["widgets"] if one["y"] == 0), key=lambda one: one["x"])
    assert [widget["type"] for widget in first] == FIRST_ROW
    titles = [widget["properties"]["title"] for widget in first]
    for question, title in zip(
        ("anything wrong", "How old is the key? What is next", "happened last", "announced"),
        titles,
        strict=True,
    ):
        assert question in title
    numbers = {metric[1] for metric in first[1]["properties"]["metrics"]}
    assert (first[1]["properties"]["view"], numbers) == (
        "singleValue",
        {"KeyAge", "TimeToRotation"},
    )


@pytest.mark.parametrize("findings", ["true", "false"])
def test_every_alarm_there_is_stands_on_the_dashboard(findings: str) -> None:
    body = monitoring.dashboard(GuardDutyFindings=findings)
    (widget,) = (one for one in body["widgets"] if one["type"] == "alarm")
    there = monitoring.alarms(GuardDutyFindings=findings)
    assert sorted(widget["properties"]["alarms"]) == sorted(f"{name}.Arn" for name in there)


def test_widgets_fill_the_page_and_none_covers_another() -> None:
    assert {widget["type"] for widget in BODY["widgets"]} == KINDS
    every = [cell for widget in BODY["widgets"] for cell in cells(widget)]
    assert len(every) == len(set(every))
    assert {x for x, _ in every} == set(range(24))
    assert len(every) == 24 * (1 + max(y for _, y in every))


def test_a_page_shows_a_month_and_each_graph_its_own_period() -> None:
    assert (BODY["start"], BODY["periodOverride"]) == ("-P35D", "inherit")
    for widget in widgets("metric"):
        properties = widget["properties"]
        assert properties["period"] in {300, 3600, 86_400}
        assert properties["stat"] in {"Sum", "Maximum", "Minimum"}
        assert properties["region"] == "eu-central-1"
        assert properties["title"]


def test_the_operations_page_is_named() -> None:
    (text,) = widgets("text")
    assert "heading in docs/operations.md:" in text["properties"]["markdown"]


def reached(document: Any, path: str) -> bool:
    """Whether a line has a field; Logs Insights joins names, and places in a list, with dots."""
    for part in path.split("."):
        if isinstance(document, list) and document:
            document = document[0]
        elif isinstance(document, dict) and part in document:
            document = document[part]
        else:
            return False
    return True


@pytest.mark.parametrize("query", [one["properties"]["query"] for one in widgets("log")])
def test_a_query_finds_lines_that_have_the_fields_it_shows(query: str, written: list[str]) -> None:
    source, where, shown, *rest = query.split(" | ")
    assert source == "SOURCE 'FunctionLogs'"
    assert rest == ["sort @timestamp desc", "limit 5"]
    present = re.findall(r"ispresent\(([\w.]+)\)", where)
    equal = re.findall(r"([\w.]+) = '(\w+)'", where)
    lines = [
        line
        for line in emf.documents(written)
        if all(reached(line, path) for path in present)
        and all(line.get(name) == value for name, value in equal)
    ]
    assert lines
    for path in shown.removeprefix("fields @timestamp, ").split(", "):
        assert all(reached(line, path) for line in lines), path


def test_a_run_is_one_row_of_the_query(written: list[str]) -> None:
    rows = [one for one in emf.documents(written) if "outcome" in one and "mode" in one]
    assert [(row["mode"], row["outcome"], row["error"]) for row in rows] == [
        ("scheduled", "succeeded", None),
        ("scheduled", "failed", "LoginBroken"),
        ("scheduled", "superseded", "Superseded"),
        ("emergency", "succeeded", None),
        ("emergency", "failed", "LoginBroken"),
        ("emergency", "superseded", "Superseded"),
        ("scheduled", "rolled-back", "LoginBroken"),
    ]


def test_cloudwatch_takes_measures_out_of_the_log_that_the_functions_write_to() -> None:
    """Of a group of the class Infrequent Access it would not."""
    assert resources("AWS::Logs::LogGroup")["FunctionLogs"].get("LogGroupClass") is None
    assert json.dumps(BODY).count("SOURCE 'FunctionLogs'") == len(widgets("log"))
