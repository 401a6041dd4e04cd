"""What the creators of resources share: the stack they create in and what they return."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.cloud import Cloud
from local.functions import Functions

Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Stack:
    """The stack under creation. `root` is the template's folder, `layers` the layers by ARN."""

    name: str
    root: Path
    cloud: Cloud
    functions: Functions
    layers: dict[str, Path] = field(default_factory=dict)

    def name_of(self, logical_id: str) -> str:
        """Make the name of a resource to which the template gives none."""
        return f"{self.name}-{logical_id}"

    def arn(self, service: str, resource: str) -> str:
        """Write an ARN of this stack's account and region."""
        return f"arn:aws:{service}:{self.cloud.region}:{self.cloud.account}:{resource}"


@dataclass(frozen=True)
class Created:
    """A created resource: what `Ref` returns, and what `Fn::GetAtt` does."""

    physical_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


Create = Callable[[str, Properties, Stack], Created]


def policy_document(document: Mapping[str, Any]) -> str:
    """Write a policy as JSON; SAM's own policies lack the version, which the APIs insist on."""
    return json.dumps({"Version": "2012-10-17", **document})


def is_true(value: object) -> bool:
    """Read a boolean, which a parameter turns into text."""
    return str(value).lower() == "true"


def present(**fields: Any) -> dict[str, Any]:
    """Leave out what the template does not set."""
    return {name: value for name, value in fields.items() if value is not None}
