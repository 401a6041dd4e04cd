"""The Roles of kubernetes/rbac.yaml, by the group that each is bound to."""

from pathlib import Path

import yaml

from local.cluster.resources import Json, Objects

MANIFEST = Path(__file__).parents[1] / "kubernetes" / "rbac.yaml"
DOCUMENTS: Objects = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one]

Permission = tuple[str, str]
"""A verb and a resource."""


def roles() -> dict[str, Json]:
    """Each group's Role; a binding binds one Role to one group of the same name."""
    by_name = {one["metadata"]["name"]: one for one in DOCUMENTS if one["kind"] == "Role"}
    bound = {}
    for binding in (one for one in DOCUMENTS if one["kind"] == "RoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["kind"] == "Group"
        assert subject["name"] == binding["roleRef"]["name"] == binding["metadata"]["name"]
        bound[subject["name"]] = by_name.pop(binding["roleRef"]["name"])
    assert not by_name, "a Role that is bound to nobody"
    return bound


def permissions(role: Json) -> list[Permission]:
    """Every permission of a Role."""
    return [(verb, resource) for verb, resource, _ in grants(role)]


def grants(role: Json) -> list[tuple[str, str, frozenset[str]]]:
    """Every permission of a Role, with the names that it is for; none is every name."""
    return [
        (verb, resource, frozenset(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def covers(role: Json, verb: str, resource: str, name: str) -> bool:
    """Whether a Role permits a request."""
    return any(
        (verb, resource) == (may, on) and (not names or name in names)
        for may, on, names in grants(role)
    )
