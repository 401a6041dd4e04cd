"""The same Kubernetes Secret, filled from Secrets Manager by the External Secrets Operator."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from keyturn.rollout.pod_annotations import KEY_VERSION
from keyturn.secret.key import FIELD, SessionKey
from local import console
from local.aws import ACCOUNT
from local.checks import Claim
from local.cluster import Cluster
from local.cluster.custom_resources import CustomResourcesLost, install
from local.cluster.resources import PODS, Json, Objects
from local.external_secrets import EXTERNAL_SECRETS, SecretsManagerProvider, SecretsOperator
from local.key_sources.kubernetes_secret import KubernetesSecretPlace
from local.key_sources.place import Ground, PlaceProblem, controller_of, is_about_secrets

NAME = "web-session"
OPERATOR_ROLE = f"arn:aws:iam::{ACCOUNT}:role/external-secrets"
SYNC_SECONDS = 3.0


class ExternalSecretPlace(KubernetesSecretPlace):
    """A Secret with an ExternalSecret that fills it.

    The Secret is there first, as it was before a team turned to the operator; `take_over` applies
    the ExternalSecret, and returns when it has become the Secret's controller.
    """

    def __init__(self, ground: Ground, key: SessionKey) -> None:
        super().__init__(ground, key)
        try:
            remove = install(ground.cluster, EXTERNAL_SECRETS)
        except CustomResourcesLost as lost:
            raise PlaceProblem(f"DELIVERY=external-secrets: {lost}") from lost
        if isinstance(ground.cluster, Cluster):  # a real server goes, and its resources with it
            ground.parts.callback(remove)

    @classmethod
    def permissions(cls, rbac: Objects) -> Objects:
        """The ExternalSecret is annotated, and the Secret only read: as the manifest's comment."""
        annotated = {
            "apiGroups": [EXTERNAL_SECRETS.group],
            "resources": [EXTERNAL_SECRETS.plural],
            "resourceNames": [NAME],
            "verbs": ["get", "patch"],
        }
        return [
            {**document, "rules": [*map(_only_read, document["rules"]), annotated]}
            if is_about_secrets(document)
            else document
            for document in rbac
        ]

    @property
    def parameters(self) -> dict[str, str]:
        """The delivery mode, the ExternalSecret to ask, and who reads the secret for it."""
        mode = {"DeliveryMode": "external-secrets", "SyncResource": NAME}
        return {**super().parameters, **mode, "ConsumerRoles": OPERATOR_ROLE}

    def take_over(self, secret_arn: str) -> None:
        """Start the operator, and have the Secret filled from Secrets Manager from now on."""
        ground = self._ground
        self.operator = SecretsOperator(
            ground.cluster.admin,
            console.NAMESPACE,
            SecretsManagerProvider(lambda: ground.cloud.client("secretsmanager")),
            tell=lambda text: ground.tell(f"External Secrets Operator: {text}"),
        )
        ground.parts.callback(self.operator.close)
        ground.cluster.admin.create(
            EXTERNAL_SECRETS, console.NAMESPACE, external_secret(secret_arn)
        )
        ground.wait(lambda: bool(self.operator.syncs), f"ExternalSecret {NAME} is synced")
        self.operator.seconds = SYNC_SECONDS

    def external_secret(self) -> Json:
        """The ExternalSecret as it is now."""
        return self._ground.cluster.admin.get(EXTERNAL_SECRETS, console.NAMESPACE, NAME)

    def claims(self, record: Mapping[str, Any], first_key: str) -> list[Claim]:
        """That the operator has brought the key, and that no new pod was started before."""
        status, owner = self.external_secret()["status"], controller_of(self._secret()["metadata"])
        ready = {one["type"]: one["status"] for one in status["conditions"]}["Ready"] == "True"
        last = self.operator.syncs[-1]
        began, ended = (at.replace(microsecond=0) for at in (last.began, last.ended))
        synced = ready and datetime.fromisoformat(status["refreshTime"]) == began
        starts = self._starts_of(record)
        return [
            Claim(
                f"ExternalSecret {NAME} is synced: from {began:%H:%M:%S} to {ended:%H:%M:%S} UTC",
                synced and owner.get("name") == NAME,
            ),
            *super().claims(record, first_key),
            Claim(
                f"the first new pod was made after that, at {min(starts):%H:%M:%S}",
                min(starts) >= ended,
            ),
        ]

    def _starts_of(self, record: Mapping[str, Any]) -> list[datetime]:
        """When each pod of the record's version was made."""
        pods = self._ground.cluster.admin.list(PODS, console.NAMESPACE)
        return [
            datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).astimezone(UTC)
            for pod in pods
            if pod["metadata"].get("annotations", {}).get(KEY_VERSION) == record["rotationId"]
        ]


def _only_read(rule: Json) -> Json:
    return {**rule, "verbs": ["get"]} if "secrets" in rule["resources"] else rule


def external_secret(secret_arn: str) -> Json:
    """The manifest: the Secret's field comes from a field of Keyturn's secret."""
    return {
        "metadata": {"name": NAME, "namespace": console.NAMESPACE},
        "spec": {
            "refreshInterval": "1h0m0s",
            "secretStoreRef": {"name": "secrets-manager", "kind": "SecretStore"},
            "target": {"name": console.KUBERNETES_SECRET, "creationPolicy": "Owner"},
            "data": [
                {"secretKey": FIELD, "remoteRef": {"key": secret_arn, "property": FIELD}},
            ],
        },
    }
