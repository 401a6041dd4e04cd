"""One Role in the cluster for each function that calls it: manifest, template and guide agree."""

import re
import subprocess
from collections.abc import Mapping

import pytest
import yaml

from local.argo_rollouts import ROLLOUTS
from local.key_sources import PLACES
from tests import cluster_roles
from tests.project import FUNCTIONS, ROOT, document, environment, logical_id, template

ROLES = cluster_roles.roles()
PAIR = re.compile(r"\$\{(\w+)FunctionRole\.Arn\}=(\S+)")


def pairs() -> dict[str, str]:
    """The group of each function's role, as the stack's output pairs them."""
    joined = template()["Outputs"]["ClusterAccessRoles"]["Value"]["Fn::Join"][1]
    found = [PAIR.fullmatch(one["Fn::Sub"]) for one in joined]
    return {one[1]: one[2] for one in found if one}


def test_every_function_that_knows_the_api_server_has_its_own_group() -> None:
    calling = {name for name in FUNCTIONS if "CLUSTER_ENDPOINT" in environment(name)}
    named = {
        logical_id(name).removesuffix("Function"): f"keyturn-{name.replace('_', '-')}"
        for name in calling
    }
    assert pairs() == named
    assert {*ROLES} == {*named.values()}


def test_no_role_has_a_wildcard_and_every_secret_and_workload_is_named() -> None:
    for group, role in ROLES.items():
        for verb, resource, names in cluster_roles.grants(role):
            assert "*" not in f"{verb}{resource}{names}", group
            assert names or resource in {"pods", "pods/log"}, group


@pytest.mark.parametrize("group", ["keyturn-check-rollout", "keyturn-validate-rotation"])
def test_what_reads_logs_only_reads_and_reads_no_secret(group: str) -> None:
    granted = cluster_roles.permissions(ROLES[group])
    assert {verb for verb, _ in granted} == {"get", "list"}
    assert "secrets" not in {resource for _, resource in granted}


def test_logs_are_read_by_the_two_functions_that_may_do_nothing_else() -> None:
    reading = ("get", "pods/log")
    readers = {group for group, role in ROLES.items() if reading in cluster_roles.permissions(role)}
    assert readers == {"keyturn-check-rollout", "keyturn-validate-rotation"}


@pytest.mark.parametrize("place", PLACES)
def test_no_place_of_the_demo_lets_a_function_at_more_than_its_comment_says(place: str) -> None:
    adapted = PLACES[place].permissions(cluster_roles.DOCUMENTS)
    writes = {
        (document["metadata"]["name"], resource)
        for document in adapted
        for rule in document.get("rules", ())
        for resource in rule["resources"]
        if "patch" in rule["verbs"]
    }
    delivered = {"kubernetes-secret": "secrets", "external-secrets": "externalsecrets"}.get(place)
    for group in ("keyturn-deliver-key",):
        written = {resource for name, resource in writes if name == group}
        assert written - {"deployments"} == ({delivered} if delivered else set())
    names = [one["metadata"]["name"] for one in adapted]
    assert all(names.count(name) == 2 for name in names), "a Role without its binding"


def test_the_loop_of_the_guide_takes_each_pair_apart() -> None:
    guide = document(ROOT / "docs" / "deploy.md")
    (loop,) = re.findall(
        r"(    for pair in .*\n      aws eks create-access-entry .*\n    done)", guide
    )
    path = "arn:aws:iam::123456789012:role"
    arns = {
        f"{path}/keyturn/k-DeliverKeyFunctionRole-1": "keyturn-deliver-key",
        f"{path}/with=sign/k-CheckRolloutFunctionRole-2": "keyturn-check-rollout",
    }
    assert asked(loop, arns) == arns


def asked(loop: str, arns: Mapping[str, str]) -> dict[str, str]:
    """Run the loop in a shell in which `aws` and `output` are functions."""
    value = ",".join(f"{arn}={group}" for arn, group in arns.items())
    script = (
        f"output() {{ printf %s '{value}'; }}\n"
        'aws() { printf "%s\\n" "$6 $8"; }\n'
        f"CLUSTER=k\n{loop}\n"
    )
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return dict(line.split(" ") for line in done.stdout.splitlines())


def test_the_rule_for_rollouts_lets_the_restart_alone_patch() -> None:
    """It is a comment: a rule for what a cluster does not have would be a right for nothing."""
    text = cluster_roles.MANIFEST.read_text(encoding="utf-8")
    (block,) = re.findall(r"(?m)^# .* in keyturn-restart-service\n((?:#   .*\n)+)", text)
    (rule,) = yaml.safe_load(re.sub(r"(?m)^#", "", block))
    served = {"apiGroups": [ROLLOUTS.group], "resources": [ROLLOUTS.plural]}
    assert rule == {**served, "resourceNames": ["<Rollout>"], "verbs": ["get", "patch"]}
    assert (
        "# and in keyturn-check-rollout and keyturn-validate-rotation the same with verbs [get]."
        in text
    )
