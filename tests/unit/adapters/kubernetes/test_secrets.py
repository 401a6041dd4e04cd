"""What is read of both objects, and what is written."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from keyturn import errors
from keyturn.adapters.kubernetes.api import MERGE, KubernetesApi
from keyturn.adapters.kubernetes.secrets import (
    KubernetesExternalSecret,
    KubernetesSecret,
    external_secret,
)
from keyturn.delivery.external_secrets import ExternalSecret
from keyturn.secret import key
from keyturn.settings.loading import DeliverySettings
from keyturn.settings.types import DeliveryMode
from tests.conftest import NEW, NOON
from tests.every_case import every_case

FIELD = "SESSION_ENCRYPTION_KEY"
SETTINGS = DeliverySettings(
    DeliveryMode("external-secrets"), "session-key", FIELD, "", "web-session"
)


class Api:
    """The Kubernetes API with one object, which remembers what it was asked to change."""

    namespace = "web"

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.unserved = "nothing"
        self.read: list[str] = []
        self.patches: list[tuple[str, dict[str, Any], str, bool]] = []

    def get(self, path: str, query: Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        self.read.append(path)
        if self.unserved in path:
            raise errors.ResourceNotServed("no such version")
        return self.found

    def patch(self, path: str, body: dict[str, Any], kind: str, *, dry_run: bool) -> Any:
        self.patches.append((path, body, kind, dry_run))
        return self.found


def secret_of(found: dict[str, Any]) -> tuple[KubernetesSecret, Api]:
    api = Api({"metadata": {"resourceVersion": "7"}, **found})
    return KubernetesSecret(cast("KubernetesApi", api), SETTINGS), api


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_secret_is_read_with_what_decides_whether_it_is_writable() -> None:
    held = key.generate_key()
    labels = {"reconcile.external-secrets.io/managed": "true"}
    target, api = secret_of(
        {
            "metadata": {"resourceVersion": "7", "labels": labels},
            "data": {"OTHER": encoded("x"), "SESSION_ENCRYPTION_KEY": encoded(held.base64)},
            "immutable": True,
        }
    )
    found = target.read()
    assert api.read == ["/api/v1/namespaces/web/secrets/session-key"]
    assert found.contains(held)
    assert (found.resource_version, found.immutable) == ("7", True)
    assert found.owner == "the External Secrets Operator"
    assert held.base64 not in f"{found!r} {found}"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"OTHER": "eA=="},
        {"SESSION_ENCRYPTION_KEY": "AAA"},
        {"SESSION_ENCRYPTION_KEY": "/w=="},
    ],
    ids=["no data", "empty", "another field", "not base64", "not text"],
)
def test_a_secret_that_holds_no_text_in_its_field_holds_no_key(data: dict[str, str] | None) -> None:
    target, _ = secret_of({"data": data})
    found = target.read()
    assert found.value is None
    assert not found.contains(key.generate_key())
    assert (found.immutable, found.owner) == (False, None)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_secret_is_written_in_one_field_if_nobody_wrote_it_meanwhile(dry_run: bool) -> None:
    target, api = secret_of({})
    target.write("text", "7", dry_run=dry_run)
    body = {
        "metadata": {"resourceVersion": "7"},
        "data": {"SESSION_ENCRYPTION_KEY": encoded("text")},
    }
    assert api.patches == [("/api/v1/namespaces/web/secrets/session-key", body, MERGE, dry_run)]


def object_of(spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "web-session"}, "spec": spec, "status": status}


BARE = ExternalSecret("web-session", "web-session", refresh_interval="1h")


def test_an_external_secret_is_read_from_its_spec_and_status() -> None:
    found = external_secret(
        object_of(
            {
                "refreshPolicy": "OnChange",
                "refreshInterval": "15m0s",
                "target": {"name": "session-key", "immutable": True},
                "data": [{"secretKey": FIELD, "remoteRef": {"key": "k", "version": "uuid/1"}}],
            },
            {
                "refreshTime": "2026-11-24T12:00:00Z",
                "syncedResourceVersion": "3-abc",
                "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced"}],
            },
        ),
        FIELD,
    )
    assert found == ExternalSecret(
        name="web-session",
        writes="session-key",
        refresh_policy="OnChange",
        refresh_interval="15m0s",
        immutable=True,
        pinned=True,
        ready=True,
        refreshed_at=NOON,
    )


@pytest.mark.parametrize("status", [None, {}, {"conditions": None, "refreshTime": None}])
def test_an_external_secret_that_was_never_synced_has_the_operators_defaults(
    status: dict[str, Any] | None,
) -> None:
    assert external_secret(object_of({}, status), FIELD) == BARE
    empty: dict[str, Any] = {"target": {"template": None}, "data": [], "dataFrom": None}
    assert external_secret(object_of(empty), FIELD) == BARE


@pytest.mark.parametrize(
    ("condition", "ready"),
    [
        ({"type": "Ready", "status": "True"}, True),
        ({"type": "Ready", "status": "False", "reason": "SecretSyncedError"}, False),
        ({"type": "Ready", "status": "Unknown"}, False),
        ({"type": "Deleted", "status": "True"}, False),
    ],
)
def test_an_external_secret_is_ready_by_that_condition_alone(
    condition: dict[str, str], ready: bool
) -> None:
    assert external_secret(object_of({}, {"conditions": [condition]}), FIELD).ready is ready


def test_the_time_of_a_sync_has_a_zone_whatever_it_is() -> None:
    status = {"refreshTime": "2026-11-24T13:30:00+01:00"}
    found = external_secret(object_of({}, status), FIELD)
    assert found.refreshed_at == NOON + timedelta(minutes=30)


PINNED = {"key": "k", "version": "uuid/1"}
FOLLOWS = {"key": "k"}
TEMPLATE = {"template": {"data": {FIELD: "{{ .OTHER }}"}}}
OF_A_FILE = {"template": {"templateFrom": [{"configMap": {"name": "key"}}]}}
LABELS_ONLY = {"template": {"metadata": {"labels": {"app": "web"}}}}


def data(*references: dict[str, str], field: str = FIELD) -> list[dict[str, Any]]:
    return [{"secretKey": field, "remoteRef": reference} for reference in references]


@every_case(
    ("spec", "pinned"),
    [
        ({"data": data(FOLLOWS)}, False),
        ({"data": data({"key": "k", "version": ""})}, False),
        ({"data": data({"key": "k", "version": "AWSCURRENT"})}, False),
        ({"data": data({"key": "k", "version": "AWSPREVIOUS"})}, True),
        ({"data": data(PINNED)}, True),
        ({"data": [{"secretKey": FIELD, "sourceRef": {}}]}, False),
        ({"dataFrom": [{"extract": FOLLOWS}]}, False),
        ({"dataFrom": [{"extract": FOLLOWS}, {"extract": PINNED}]}, True),
        ({"dataFrom": [{"find": {"name": {"regexp": "k"}}}]}, False),
        ({"dataFrom": [{"sourceRef": {"generatorRef": {"name": "g"}}}]}, False),
    ],
)
def test_a_reference_to_one_version_is_seen_wherever_it_stands(
    spec: dict[str, Any], pinned: bool
) -> None:
    assert external_secret(object_of(spec), FIELD).pinned is pinned


@every_case(
    ("spec", "pinned"),
    [
        ({"data": data(PINNED, field="OTHER")}, False),
        ({"data": [*data(FOLLOWS), *data(PINNED, field="OTHER")]}, False),
        ({"data": data(PINNED, FOLLOWS)}, False),
        ({"data": data(FOLLOWS, PINNED)}, True),
        ({"data": data(FOLLOWS), "dataFrom": [{"extract": PINNED}]}, False),
        ({"data": data(PINNED), "dataFrom": [{"extract": FOLLOWS}]}, True),
        ({"data": data(FOLLOWS, field="OTHER"), "dataFrom": [{"extract": PINNED}]}, True),
        ({"data": data(PINNED, field="OTHER"), "target": TEMPLATE}, True),
        ({"data": data(PINNED, field="OTHER"), "target": OF_A_FILE}, True),
        ({"data": data(PINNED, field="OTHER"), "target": LABELS_ONLY}, False),
    ],
)
def test_only_a_reference_that_may_bring_the_key_pins_it(
    spec: dict[str, Any], pinned: bool
) -> None:
    assert external_secret(object_of(spec), FIELD).pinned is pinned


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_sync_is_forced_by_one_annotation_and_nothing_else(dry_run: bool) -> None:
    api = Api(object_of({}))
    operator = KubernetesExternalSecret(cast("KubernetesApi", api), SETTINGS)
    assert operator.name == "ExternalSecret web/web-session"
    assert operator.read() == BARE
    operator.force_sync(f"{NEW}-1", dry_run=dry_run)
    path = "/apis/external-secrets.io/v1/namespaces/web/externalsecrets/web-session"
    body = {"metadata": {"annotations": {"force-sync": f"{NEW}-1"}}}
    assert api.read == [path]
    assert api.patches == [(path, body, MERGE, dry_run)]


def test_the_version_that_is_served_is_asked_first_from_then_on() -> None:
    api = Api(object_of({}))
    operator = KubernetesExternalSecret(cast("KubernetesApi", api), SETTINGS)
    asked = []
    for unserved in ("/v1/", "/v1/", "/v1beta1/", "/v1beta1/"):
        api.unserved = unserved
        operator.read()
        asked.append([path.split("/")[3] for path in api.read])
        api.read.clear()
    assert asked == [["v1", "v1beta1"], ["v1beta1"], ["v1beta1", "v1"], ["v1"]]
