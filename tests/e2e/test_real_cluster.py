"""A whole rotation on Kubernetes' own control plane, under the RBAC of production."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local import console
from local.cluster.audit import AuditEntry
from local.cluster.control_plane_binaries import ASSETS, REMEDY
from local.cluster.resources import PODS
from local.stack import LocalStack
from local.stack_parameters import cluster_groups
from tests import cluster_roles
from tests.e2e.site import FUNCTIONS, LOAN

ROLES = cluster_roles.roles()
# Asked only where a container crashes, which none does here.
OF_CRASHES = {("keyturn-check-rollout", "get", "pods/log", "")}

Asked = set[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Story:
    """The stack after one rotation, and what was so before."""

    stack: LocalStack
    status: str
    record: dict[str, Any]
    pods_before: set[str]


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    if not os.environ.get(ASSETS):
        pytest.skip(f"no real control plane: {ASSETS} is not set. {REMEDY}")
    LOAN.end()
    with LocalStack(real_cluster=True, preloaded=FUNCTIONS) as stack:
        before = pod_names(stack)
        rotation_id = stack.rotate()
        status, record = ended(stack, rotation_id)
        yield Story(stack, status, record, before)


def pod_names(stack: LocalStack) -> set[str]:
    found = stack.cluster.admin.list(PODS, console.NAMESPACE)
    return {pod["metadata"]["name"] for pod in found}


def ended(stack: LocalStack, rotation_id: str) -> tuple[str, dict[str, Any]]:
    """Wait for the end of the rotation and of its run; the run's status and record."""
    report = stack.secrets_manager.wait_for_rotation(stack.secret_arn, rotation_id, 60)
    assert report.outcome == "succeeded", report.error
    client, arn = stack.cloud.client("stepfunctions"), stack.execution_arn(rotation_id)
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(client.describe_execution(executionArn=arn))
        return bool(found["status"] != "RUNNING")

    stack.wait(over, "the run has ended")
    return found["status"], json.loads(found.get("output") or "{}")


def asked_by_the_functions(audit: list[AuditEntry], stack: LocalStack) -> Asked:
    groups = cluster_groups(stack.deployment)
    return {
        (groups[user], verb, resource, name)
        for user, verb, resource, name in audit
        if user in groups
    }


def granted() -> Asked:
    """Every single permission: group, verb, resource, and name where the role has names."""
    return {
        (group, verb, resource, name)
        for group, role in ROLES.items()
        for verb, resource, names in cluster_roles.grants(role)
        for name in names or {""}
    }


def test_the_rotation_succeeds_and_every_pod_is_a_new_one(story: Story) -> None:
    assert (story.status, story.record["outcome"]) == ("SUCCEEDED", "succeeded")
    assert story.stack.delivered_fingerprint() == story.record["fingerprints"]["new"]
    assert len(pod_names(story.stack)) == len(story.pods_before)
    assert not pod_names(story.stack) & story.pods_before


def test_each_function_asks_for_what_its_role_grants_and_for_all_of_it(story: Story) -> None:
    asked = asked_by_the_functions(story.stack.cluster.audit, story.stack)
    named = {name for *_, name in granted()}
    seen = {(*call, name if name in named else "") for *call, name in asked}
    assert seen == granted() - OF_CRASHES


def test_a_dead_api_server_is_what_the_stack_says_has_died(story: Story) -> None:
    server = next(one for one in story.stack.cluster.children if one.name == "kube-apiserver")
    assert story.stack.problem is None
    os.kill(server.pid, 9)
    server.process.wait(5)
    assert story.stack.problem == f"kube-apiserver (pid {server.pid}) ended with signal 9"
