"""Kubernetes' role-based access control: who may do what, read from Role and RoleBinding documents.

Source: Kubernetes, "Using RBAC Authorization". Rules only ever add permissions; there is no deny.
`resourceNames` never permit `create` (the name is not known then), and permit `list` and `watch`
only together with the field selector `metadata.name`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from local.cluster.resources import Json

MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    """Somebody that the cluster knows."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attributes:
    """What a request is about, as far as permission goes. `resource` includes the subresource."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def refusal(self, user: User) -> str:
        """Why the request is refused, in Kubernetes' words."""
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return (
            f'User "{user.name}" cannot {self.verb} resource "{self.resource}" '
            f'in API group "{self.group}" {scope}'
        )


@dataclass(frozen=True)
class Rule:
    """One rule of a role."""

    api_groups: frozenset[str]
    resources: frozenset[str]
    verbs: frozenset[str]
    resource_names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, document: Json) -> "Rule":
        """Read a rule as it stands in a Role."""
        return cls(
            frozenset(document.get("apiGroups", [])),
            frozenset(document.get("resources", [])),
            frozenset(document.get("verbs", [])),
            frozenset(document.get("resourceNames", [])),
        )

    def permits(self, asked: Attributes) -> bool:
        """Whether this rule permits the request."""
        plural, slash, subresource = asked.resource.partition("/")
        names = {"*", asked.resource, f"*/{subresource}" if slash else plural}
        return (
            bool(self.verbs & {"*", asked.verb})
            and bool(self.api_groups & {"*", asked.group})
            and bool(self.resources & names)
            and (not self.resource_names or asked.name in self.resource_names)
        )


@dataclass(frozen=True)
class Grant:
    """A role that is bound: rules for some users and groups, in a namespace ('' is everywhere)."""

    users: frozenset[str]
    groups: frozenset[str]
    namespace: str
    rules: tuple[Rule, ...]

    def permits(self, user: User, asked: Attributes) -> bool:
        """Whether this grant is the user's and permits the request."""
        if user.name not in self.users and not self.groups.intersection(user.groups):
            return False
        if self.namespace not in {"", asked.namespace}:
            return False
        return any(rule.permits(asked) for rule in self.rules)


def permits(grants: Iterable[Grant], user: User, asked: Attributes) -> bool:
    """Whether the user may do it. Members of `system:masters` may do everything."""
    return MASTERS in user.groups or any(grant.permits(user, asked) for grant in grants)


def read_grants(manifest: Path, namespace: str) -> list[Grant]:
    """Read the Roles and RoleBindings (and their cluster-wide kin) of a YAML file.

    `namespace` is where documents without one belong. Raises `ValueError` for a binding whose role
    the file does not hold.
    """
    with manifest.open() as text:
        documents = [document for document in yaml.safe_load_all(text) if document]
    roles = {
        _role_key(
            document["kind"], _namespace(document, namespace), document["metadata"]["name"]
        ): (tuple(Rule.of(rule) for rule in document.get("rules") or []))
        for document in documents
        if document["kind"] in {"Role", "ClusterRole"}
    }
    return [
        _grant(document, _namespace(document, namespace), roles)
        for document in documents
        if document["kind"] in {"RoleBinding", "ClusterRoleBinding"}
    ]


def _grant(
    binding: Json, namespace: str, roles: dict[tuple[str, str, str], tuple[Rule, ...]]
) -> Grant:
    reference = binding["roleRef"]
    rules = roles.get(_role_key(reference["kind"], namespace, reference["name"]))
    if rules is None:
        raise ValueError(
            f"{binding['kind']} {binding['metadata']['name']} refers to {reference['kind']} "
            f"{reference['name']}, which the file does not hold"
        )
    subjects = binding.get("subjects", [])
    return Grant(_named(subjects, "User"), _named(subjects, "Group"), namespace, rules)


def _named(subjects: Collection[Json], kind: str) -> frozenset[str]:
    return frozenset(subject["name"] for subject in subjects if subject["kind"] == kind)


def _namespace(document: Json, default: str) -> str:
    if document["kind"].startswith("Cluster"):
        return ""
    return str(document["metadata"].get("namespace", default))


def _role_key(kind: str, namespace: str, name: str) -> tuple[str, str, str]:
    return kind, "" if kind == "ClusterRole" else namespace, name
