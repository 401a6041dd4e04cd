"""The functions ask for what they are permitted, and are permitted nothing else.

Judged by all that was asked since the stack was started: whole rotations, and broken ones.
"""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from local.cloud import access_key_of
from tests.e2e import findings
from tests.e2e.failures import FAILURES, fail
from tests.e2e.site import Site
from tests.e2e.test_watch_key import daily_look

RBAC = Path(__file__).parents[2] / "kubernetes" / "rbac.yaml"


@pytest.fixture(scope="module")
def rotated(module_site: Site) -> Site:
    """A stack that has seen all that calls AWS: rotations, one undone, a finding, a key by hand.

    And a watch that tells people.
    """
    if not module_site.mailboxes.messages("Every service runs the new session key"):
        module_site.rotate_to_end()
    if not module_site.mailboxes.messages("and was undone"):
        fail(module_site, FAILURES["a Secret that is immutable"], turns=True)
    if not module_site.mailboxes.messages("Overtaken: "):
        findings.overtake(module_site)
    module_site.end(module_site.change_by_hand())
    module_site.end(module_site.spoil_by_hand())
    (told,) = daily_look(module_site, ahead=timedelta(days=100))
    assert told["concern"] == "TOO_OLD"
    return module_site


def test_the_cluster_denied_nothing_and_was_asked_only_what_the_role_grants(rotated: Site) -> None:
    asked = _asked_of_the_cluster(rotated)
    granted = _granted_by_the_role()
    assert rotated.interruptions.denied == []
    assert {entry for entry in asked if not _covers(granted, *entry)} == set()


def test_the_role_grants_nothing_that_a_rotation_does_not_use(rotated: Site) -> None:
    asked = _asked_of_the_cluster(rotated)
    unused = {
        (verb, resource, name)
        for verb, resource, names in _granted_by_the_role()
        for name in names or {""}
        if not any(_covers([(verb, resource, {name} - {""})], *entry) for entry in asked)
    }
    assert unused == set()


def test_each_function_calls_what_its_policy_allows_and_its_policy_allows_no_more(
    rotated: Site,
) -> None:
    assert _called(rotated) == _allowed(rotated)


def _asked_of_the_cluster(site: Site) -> set[tuple[str, str, str]]:
    roles = site.stack.deployment.outputs["ClusterAccessRoles"].split(",")
    audit = site.stack.cluster.audit
    return {(verb, what, name) for user, verb, what, name in audit if user in roles}


def _granted_by_the_role() -> list[tuple[str, str, set[str]]]:
    role = next(document for document in yaml.safe_load_all(RBAC.read_text()) if document)
    return [
        (verb, resource, set(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _covers(granted: list[tuple[str, str, set[str]]], verb: str, resource: str, name: str) -> bool:
    return any(
        (verb, resource) == (may, on) and (not names or name in names) for may, on, names in granted
    )


def _called(site: Site) -> dict[str, set[str]]:
    """The actions that each function has called, in IAM's words, and those that these imply."""
    called = {
        logical_id: {
            f"{call.service}:{call.operation}"
            for call in site.stack.cloud.api_calls
            if call.access_key_id == access_key_of(name)
        }
        for logical_id, name in site.stack.deployment.functions.items()
    }
    for actions in called.values():
        if "secretsmanager:RotateSecret" in actions:
            # Secrets Manager asks it of the caller: API reference, RotateSecret.
            actions.add("lambda:InvokeFunction")
    return called


def _allowed(site: Site) -> dict[str, set[str]]:
    """The actions that each function's role allows it."""
    allowed: dict[str, set[str]] = {}
    for logical_id in site.stack.deployment.functions:
        role = site.stack.deployment.resources[f"{logical_id}Role"].properties
        statements = [
            statement
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]
        actions = [statement["Action"] for statement in statements]
        allowed[logical_id] = {
            action for given in actions for action in ([given] if isinstance(given, str) else given)
        }
    return allowed
