"""Delivery to Vault, from which the Vault Secrets Operator syncs the key to a Kubernetes Secret.

The operator reconciles a VaultStaticSecret whenever one of its annotations changes, and then reads
Vault. Its status differs between releases (no conditions at all, conditions that change on every
reconcile, or that never change), so the status is not used: the delivery is done when both Vault
and the Kubernetes Secret hold the promoted key. A sync that does not happen is requested again.

Source: vault-secrets-operator, `vaultstaticsecret_controller.go`, `predicates.go`,
`rollout_restart.go`.
"""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from keyturn import errors
from keyturn.delivery.external_secrets import ANSWER_LIMIT, SYNC_LIMIT
from keyturn.delivery.kubernetes_secret import TargetSecret, location_of
from keyturn.delivery.strategy import KeyLocation, PromotedKey
from keyturn.delivery.vault import VaultDelivery
from keyturn.run.ledger import DeliverKeyEntry, DestroyExposedVersionsEntry
from keyturn.run.times import format_timestamp, parse_timestamp


@dataclass(frozen=True)
class StaticSecret:
    """The relevant fields of a VaultStaticSecret (secrets.hashicorp.com).

    `restarts` are the workloads that the operator restarts when the Secret changes, as kubectl
    names them: deployment/web-console. An empty `namespace` is that of its login.
    """

    writes: str
    engine: str
    mount: str
    path: str
    namespace: str = ""
    pinned: bool = False
    restarts: tuple[str, ...] = ()


class Operator(Protocol):
    """The operations on a VaultStaticSecret that a delivery needs."""

    name: str

    def read(self) -> StaticSecret:
        """Read the VaultStaticSecret. Raises ServiceNotFound."""

    def force_sync(self, token: str, *, dry_run: bool) -> None:
        """Annotate it with a token, which makes the operator read Vault at once."""


@dataclass(frozen=True)
class Source:
    """The secret in Vault that the operator must read, and the Secret that it must fill."""

    mount: str
    path: str
    namespace: str
    kubernetes_secret: str


@dataclass(frozen=True)
class VaultOperatorDelivery:
    """Delivery to Vault, and from there by a VaultStaticSecret to the Kubernetes Secret."""

    write: VaultDelivery
    target: TargetSecret
    operator: Operator
    source: Source

    def check_ready(self) -> str | None:
        """Verify that the key could be written and synced; change nothing.

        Returns the workloads that the operator will restart. Raises SyncImpossible,
        DeliveryRefused, ServiceNotFound, AccessDenied, the errors of Vault.
        """
        self.write.check_ready()
        static = self.operator.read()
        if problem := sync_blocker(static, self.source):
            raise errors.SyncImpossible(f"{self.operator.name} {problem} Nothing was changed.")
        if self.target.read().immutable:
            raise errors.DeliveryRefused(
                f"{self.target.name} is immutable, so the operator cannot write the new key."
            )
        self.operator.force_sync("dry-run", dry_run=True)
        if not static.restarts:
            return None
        return (
            f"{self.operator.name} restarts {', '.join(static.restarts)} by itself when the Secret"
            " changes (rolloutRestartTargets): a service of the stack among them rolls out twice."
        )

    def deliver(
        self, promoted: PromotedKey, last: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Write to Vault and request a sync, or check its progress. Raises SyncOverdue."""
        progress = last or self.write.deliver(promoted, {}, at)
        held = self.target.read()
        if held.contains(promoted.key) and self.write.contains(promoted):
            done = self._progress("done", progress, summary="the operator has delivered the key")
            restarts = list(self.operator.read().restarts)
            return {**done, "delivery": held.resource_version, "restartedByOperator": restarts}
        if not last:
            return self._ask(promoted, progress, at)
        if at - parse_timestamp(last["startedAt"]) > SYNC_LIMIT:
            raise errors.SyncOverdue(
                f"{self.operator.name}, asked to sync (times: {last['asked']}), has not delivered"
                f" the promoted key within {SYNC_LIMIT.total_seconds():.0f} s. No pod was"
                " restarted. See its events: kubectl describe vaultstaticsecret"
            )
        if at - parse_timestamp(last["askedAt"]) > ANSWER_LIMIT:
            return self._ask(promoted, progress, at)
        return self._progress("waiting", progress, summary="waiting for the operator's sync")

    def contains(self, promoted: PromotedKey) -> bool:
        """Whether both hold the key: the operator would sync another key from Vault."""
        return self.write.contains(promoted) and self.target.read().contains(promoted.key)

    def locations(self) -> list[KeyLocation]:
        """Vault, and the Kubernetes Secret that the operator fills from it."""
        return [*self.write.locations(), location_of(self.target)]

    def destroy(self, promoted: PromotedKey, exposed: Set[str]) -> DestroyExposedVersionsEntry:
        """Destroy the versions in Vault that hold the exposed key."""
        return self.write.destroy(promoted, exposed)

    def _ask(
        self, promoted: PromotedKey, progress: DeliverKeyEntry, at: datetime
    ) -> DeliverKeyEntry:
        """Annotate with a token of the version and the attempt, so that a retry is the same."""
        asked = progress.get("asked", 0) + 1
        self.operator.force_sync(f"{promoted.version}-{asked}", dry_run=False)
        now: DeliverKeyEntry = {**progress, "asked": asked, "askedAt": format_timestamp(at)}
        return self._progress("waiting", now, summary=f"sync requested ({asked})")

    def _progress(
        self, state: Literal["waiting", "done"], progress: DeliverKeyEntry, *, summary: str
    ) -> DeliverKeyEntry:
        """What was written in Vault and asked of the operator is kept from call to call."""
        name = f"{self.target.name} by {self.operator.name} of {self.write.secret.name}"
        kept: DeliverKeyEntry = {
            "state": state,
            "target": name,
            "says": summary,
            "written": progress["written"],
            "vaultVersion": progress["vaultVersion"],
            "vaultVersionBefore": progress["vaultVersionBefore"],
            "destroysExposed": progress["destroysExposed"],
        }
        if "asked" in progress:
            kept |= {"asked": progress["asked"], "askedAt": progress["askedAt"]}
        return kept


def sync_blocker(static: StaticSecret, source: Source) -> str | None:
    """Why the VaultStaticSecret would never deliver the new key, if so. Pure."""
    if static.writes != source.kubernetes_secret:
        return f"writes the Secret {static.writes}, but the pods read {source.kubernetes_secret}."
    if static.engine != "kv-v2":
        return f"reads an engine of type {static.engine}. Make it kv-v2."
    if (static.mount, static.path) != (source.mount, source.path):
        return (
            f"reads {static.mount}/{static.path}, and the key goes to {source.mount}/{source.path}."
        )
    if static.namespace and static.namespace.strip("/") != source.namespace.strip("/"):
        return f"reads the namespace {static.namespace}, and the key goes to another."
    if static.pinned:
        return "is pinned to one version of the secret. Remove spec.version."
    return None
