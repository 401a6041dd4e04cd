"""The web console that is rotated: its two services, their key, and their place in the cluster.

Written as the manifests that a team would apply. The services read `SESSION_ENCRYPTION_KEY` at
start-up and never again, which is why a rotation has to restart them. Where from,
`local.key_sources` knows.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyturn.secret.key import FIELD, SessionKey

NAMESPACE = "web"
KUBERNETES_SECRET = "session-key"  # noqa: S105  the name of an object, not a secret
REPLICAS = {"web-console": 3, "auth-service": 2}
IMAGES = {service: f"keyturn.local/{service}:1" for service in REPLICAS}
MODULES = {
    "web-console": "local.services.web_console",
    "auth-service": "local.services.auth_service",
}
PROVIDER_MODULE = "local.services.oauth2_provider"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Injection:
    """How a pod gets its key: variables of its container, and what starts its service."""

    env: Sequence[Manifest]
    command: Sequence[str] = ("python", "-m")
    annotations: Mapping[str, str] = field(default_factory=dict)


def secret(key: SessionKey) -> Manifest:
    """The Kubernetes Secret that the pods read the key from."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": KUBERNETES_SECRET, "namespace": NAMESPACE},
        "data": {FIELD: base64.b64encode(key.base64.encode()).decode()},
    }


def service(name: str) -> Manifest:
    """The Service that gives a Deployment's pods one address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }


def deployment(name: str, environment: Mapping[str, str], injection: Injection) -> Manifest:
    """The Deployment of one service; `environment` are its plain variables."""
    container = {
        "name": name,
        "image": IMAGES[name],
        "command": [*injection.command, MODULES[name]],
        "env": [
            *injection.env,
            *({"name": variable, "value": value} for variable, value in environment.items()),
        ],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": REPLICAS[name],
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {**injection.annotations}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 60},
            },
        },
    }


def environments(
    redis_host: str, redis_port: int, urls: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Each service's plain variables; `urls` are those of the services and of the provider."""
    shared = {
        "REDIS_HOST": redis_host,
        "REDIS_PORT": str(redis_port),
        "REDIS_DB": "1",
        "AUTH_SERVICE_URL": urls["auth-service"],
    }
    auth = {"OAUTH2_ISSUER_URL": urls["provider"], "WEB_CONSOLE_URL": urls["web-console"]}
    return {"web-console": shared, "auth-service": {**shared, **auth}}
