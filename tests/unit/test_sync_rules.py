"""`local.external_secrets.sync_rules`: the operator's rules, as `externalsecret_controller.go`."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.cluster.custom_resources import loses_custom_resources
from local.external_secrets import sync_rules
from local.key_sources.external_secret import external_secret
from tests.every_case import every_case

NOW = datetime(2026, 3, 1, 12, 0, 30, 500_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def manifest(synced: timedelta | None = None, **spec: Any) -> dict[str, Any]:
    """An ExternalSecret on the API server; `synced` is how long ago, if ever."""
    found = external_secret("arn:aws:secretsmanager:eu-central-1:123456789012:secret:key")
    found["metadata"] |= {"generation": 1, "uid": "4b2f"}
    found["spec"] |= spec
    if synced is not None:
        found["status"] = sync_rules.done(found, NOW - synced, NOW - synced)
    return found


def annotated(found: dict[str, Any]) -> dict[str, Any]:
    """The same, asked to sync."""
    changed = copy.deepcopy(found)
    changed["metadata"]["annotations"] = {"force-sync": "1"}
    return changed


@every_case(
    ("spec", "due_when_asked"),
    [
        ({}, True),
        ({"refreshPolicy": "Periodic"}, True),
        ({"refreshPolicy": "OnChange"}, True),
        ({"refreshPolicy": "OnChange", "refreshInterval": "0"}, True),
        ({"refreshPolicy": "CreatedOnce"}, False),
        ({"refreshInterval": "0"}, False),
        ({"refreshInterval": "0s"}, False),
        ({"refreshInterval": "-1m"}, False),
    ],
)
def test_a_request_to_sync_is_heard_unless_the_policy_ignores_it(
    spec: dict[str, Any], due_when_asked: bool
) -> None:
    assert sync_rules.should_refresh(manifest(**spec), NOW)
    synced = manifest(MINUTE, **spec)
    assert not sync_rules.should_refresh(synced, NOW)
    assert sync_rules.should_refresh(annotated(synced), NOW) == due_when_asked


@pytest.mark.parametrize(
    ("interval", "ago", "due"),
    [
        ("1h0m0s", timedelta(minutes=59), False),
        ("1h0m0s", timedelta(minutes=61), True),
        ("1m30s", timedelta(seconds=89), False),
        ("1m30s", timedelta(seconds=92), True),
        ("500ms", timedelta(seconds=2), True),
        ("1h", timedelta(seconds=-10), True),
    ],
    ids=["fresh", "an hour old", "fresh of 90 s", "old of 90 s", "half a second", "in the future"],
)
def test_a_sync_is_due_again_after_its_interval(interval: str, ago: timedelta, due: bool) -> None:
    assert sync_rules.should_refresh(manifest(ago, refreshInterval=interval), NOW) == due


def test_the_status_of_a_sync_tells_when_it_began_in_whole_seconds() -> None:
    found = manifest(MINUTE)
    assert found["status"]["refreshTime"] == "2026-03-01T11:59:30Z"
    assert found["status"]["syncedResourceVersion"].startswith("1-")
    assert found["status"]["syncedResourceVersion"] != sync_rules.resource_version(annotated(found))


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    synced = manifest(MINUTE)
    (first,) = synced["status"]["conditions"]
    (second,) = sync_rules.done(synced, NOW, NOW)["conditions"]
    (failed,) = sync_rules.failed(synced, "could not update Secret", NOW)["conditions"]
    assert second["lastTransitionTime"] == first["lastTransitionTime"] == "2026-03-01T11:59:30Z"
    assert (failed["status"], failed["reason"]) == ("False", "SecretSyncedError")
    assert failed["lastTransitionTime"] == "2026-03-01T12:00:30Z"


def test_a_secret_is_valid_as_it_was_written_and_in_no_other_way() -> None:
    written = sync_rules.secret_of(manifest(), {"KEY": "new"}, None)
    assert sync_rules.is_secret_valid(written)
    assert not sync_rules.is_secret_valid(None)
    assert not sync_rules.is_secret_valid({**written, "data": {"KEY": "b2xk"}})
    unlabelled = {**written, "metadata": {**written["metadata"], "labels": {}}}
    assert not sync_rules.is_secret_valid(unlabelled)


@pytest.mark.parametrize(("policy", "owned"), [("Owner", True), ("Orphan", False)])
def test_the_external_secret_owns_its_secret_unless_configured_otherwise(
    policy: str, owned: bool
) -> None:
    found = manifest(target={"name": "session-key", "creationPolicy": policy})
    metadata = sync_rules.secret_of(found, {"KEY": "new"}, {"data": {"OTHER": "eA=="}})["metadata"]
    owners = metadata.get("ownerReferences", [])
    assert [(owner["uid"], owner["controller"]) for owner in owners] == [("4b2f", True)] * owned


def test_fields_of_the_secret_that_it_does_not_bring_are_kept() -> None:
    written = sync_rules.secret_of(manifest(), {"KEY": "new"}, {"data": {"OTHER": "eA=="}})
    assert written["data"] == {"OTHER": "eA==", "KEY": "bmV3"}


@pytest.mark.parametrize(
    ("kubernetes", "go", "loses"),
    [
        ("v1.20.2", "go1.18.1", True),
        ("v1.23.17", "go1.19.6", True),
        ("v1.20.2+reflect2.1.0.2", "go1.19.8", False),
        ("v1.20.2+dirty", "go1.19.8", True),
        ("v1.20.2", "go1.15.5", False),
        ("v1.24.0", "go1.18.1", False),
        ("v1.33.0", "go1.24.2", False),
    ],
)
def test_an_api_server_that_would_end_at_a_custom_resource_is_known_beforehand(
    kubernetes: str, go: str, loses: bool
) -> None:
    assert loses_custom_resources({"gitVersion": kubernetes, "goVersion": go}) == loses
