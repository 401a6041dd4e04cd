"""The Kubernetes Secret that the pods read their key from, and that Keyturn writes."""

import base64
from collections.abc import Mapping
from typing import Any

from keyturn.secret import key as secret_key
from keyturn.secret.key import FIELD, SessionKey
from local import console
from local.checks import Claim
from local.cluster.resources import SECRETS, Json
from local.console import Injection
from local.key_sources.place import Ground, Place


class KubernetesSecretPlace(Place):
    """A Secret of the console's namespace."""

    title = "the Kubernetes Secret"
    refusal = ("The Kubernetes Secret has been made immutable.", "DeliveryRefused")

    def __init__(self, ground: Ground, key: SessionKey) -> None:
        super().__init__(ground, key)
        ground.cluster.apply(console.secret(key))

    @property
    def injection(self) -> Injection:
        """A variable of the container that refers to the Secret."""
        reference = {"name": console.KUBERNETES_SECRET, "key": FIELD}
        return Injection(env=({"name": FIELD, "valueFrom": {"secretKeyRef": reference}},))

    @property
    def parameters(self) -> dict[str, str]:
        """The template's own default: it is written directly."""
        return {"KubernetesSecret": console.KUBERNETES_SECRET}

    def take_over(self, secret_arn: str) -> None:
        """Nothing is to be done: Keyturn writes it."""

    def value(self) -> str:
        """What the Secret's field holds."""
        return base64.b64decode(self._secret()["data"][FIELD]).decode()

    def write(self, value: str) -> None:
        """Write the Secret's field, past everybody."""
        self._patch({"data": {FIELD: base64.b64encode(value.encode()).decode()}})

    def refuse(self) -> None:
        """Make the Secret immutable, as somebody might who means well."""
        self._patch({"immutable": True})

    def claims(self, record: Mapping[str, Any], first_key: str) -> list[Claim]:
        """That the Secret holds the new key, and no longer the old one."""
        held, new = secret_key.parse_key(self.value()).fingerprint, record["fingerprints"]["new"]
        says = f"{self.title} holds key {held}, no longer {first_key}"
        return [Claim(says, new == held != first_key)]

    def _secret(self) -> Json:
        admin = self._ground.cluster.admin
        return admin.get(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)

    def _patch(self, patch: Json) -> None:
        admin = self._ground.cluster.admin
        admin.patch(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET, patch)
