"""What the stack asks of the place that its pods read their key from."""

import abc
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.secret.key import SessionKey
from local.checks import Claim
from local.cloud import Cloud
from local.cluster import RunningCluster
from local.cluster.resources import Json, Objects
from local.console import Injection
from local.processes import Processes


class PlaceProblem(Exception):
    """The place cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Ground:
    """The parts of the stack that a place is built on; `parts` ends what it starts.

    `tell` says a sentence on the screen, `wait` waits for a condition with the stack's patience.
    """

    processes: Processes
    cluster: RunningCluster
    cloud: Cloud
    parts: contextlib.ExitStack
    tell: Callable[[str], None]
    wait: Callable[[Callable[[], bool], str], None]


class Place(abc.ABC):
    """A place, which holds the key in use today from its creation.

    `title` is what sentences call it. Raises PlaceProblem where it cannot be had.
    """

    title: str
    refusal: tuple[str, str]
    """What is done to it so that a delivery is refused, and the error that says so."""
    keeps_versions: bool = False
    """Whether what the key replaced can still be read there."""

    def __init__(self, ground: Ground, key: SessionKey) -> None:
        self._ground = ground
        self._first = key

    @classmethod
    def permissions(cls, rbac: Objects) -> Objects:
        """What Keyturn may do in the cluster with this place, from the documents that it ships."""
        return rbac

    @property
    @abc.abstractmethod
    def injection(self) -> Injection:
        """How a pod gets its key when it starts."""

    @property
    @abc.abstractmethod
    def parameters(self) -> dict[str, str]:
        """What the template is told of it."""

    @abc.abstractmethod
    def take_over(self, secret_arn: str) -> None:
        """Do what can only be done when Keyturn's secret exists, if there is anything."""

    @abc.abstractmethod
    def value(self) -> str:
        """Look up what the pods would read now."""

    @abc.abstractmethod
    def write(self, value: str) -> None:
        """Write over the key, as another tool might."""

    @abc.abstractmethod
    def refuse(self) -> None:
        """Have a delivery refused, as `refusal` says."""

    @abc.abstractmethod
    def claims(self, record: Mapping[str, Any], first_key: str) -> list[Claim]:
        """What is so after a rotation; `first_key` is the fingerprint of the key before."""


def is_about_secrets(document: Json) -> bool:
    """Whether an RBAC document is a Role that lets somebody at the Secret."""
    return any("secrets" in rule["resources"] for rule in document.get("rules", ()))


def controller_of(metadata: Json) -> Json:
    """The owner reference of an object's controller, empty where it has none."""
    owners = metadata.get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})
