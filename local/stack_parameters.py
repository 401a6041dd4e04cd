"""Keyturn's installation on the stack: what its template is told, and who may enter the cluster."""

import base64
import contextlib
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from local import console
from local.cloud import Cloud, access_key_of
from local.cluster import AccessEntry, RunningCluster
from local.deployment import Deployment
from local.functions import Functions
from local.key_sources import Place
from local.redis_server import RedisServer
from local.tls_relay import TlsRelay

REDIS_USER, REDIS_SECRET = "keyturn", "redis-login"


def permissions(rbac: Path, place: type[Place], parts: contextlib.ExitStack) -> Path:
    """Return the manifest of what Keyturn may do with a place; `parts` removes what was written.

    It is what the shipped manifest's comments say, or the manifest as it stands.
    """
    documents = [one for one in yaml.safe_load_all(rbac.read_text()) if one]
    wanted = place.permissions(documents)
    if wanted == documents:
        return rbac
    folder = parts.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-rbac-"))
    written = Path(folder, rbac.name)
    written.write_text(yaml.safe_dump_all(wanted))
    return written


def cluster_parameters(cluster: RunningCluster) -> dict[str, str]:
    """Return the template's parameters about the cluster and what is restarted in it."""
    return {
        "ClusterName": cluster.name,
        "ClusterEndpoint": cluster.url,
        "ClusterCertificateAuthority": base64.b64encode(cluster.ca_pem.encode()).decode(),
        "Namespace": cluster.namespace,
        "Services": ",".join(console.REPLICAS),
        "RolloutSeconds": "120",
        "PollSeconds": "1",
    }


def redis_parameters(host: str, port: int, database: int) -> dict[str, str]:
    """Return the template's parameters about the session store."""
    return {"RedisUrl": f"redis://{host}:{port}/{database}"}


def redis_login(
    redis: RedisServer,
    database: int,
    parts: contextlib.ExitStack,
    cloud: Cloud,
    rights: Sequence[str],
) -> dict[str, str]:
    """Let Keyturn log in to Redis as a user with these rights, its password kept in a secret.

    A password is sent in TLS alone: there is a relay for it, which `parts` closes.
    """
    relay = TlsRelay(redis.port)
    parts.callback(relay.close)
    password = secrets.token_hex(16)
    with redis.client() as client:
        words = ("ACL", "SETUSER", REDIS_USER, "on", f">{password}", *rights)
        client.execute_command(*words)
    kept = cloud.client("secretsmanager").create_secret(
        Name=REDIS_SECRET, SecretString=json.dumps({"username": REDIS_USER, "password": password})
    )
    return {
        "RedisUrl": f"rediss://{redis.host}:{relay.port}/{database}",
        "RedisPasswordSecret": kept["ARN"],
        "RedisCertificateAuthority": base64.b64encode(relay.ca_pem.encode()).decode(),
    }


def validation_parameters(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the template's parameters about what shall answer; `urls` are the console's parts."""
    return {
        "HealthUrls": ",".join(f"{urls[name]}/healthz" for name in console.REPLICAS),
        "LoginUrl": f"{urls['auth-service']}/login",
        "LoginRedirectHosts": urlsplit(urls["provider"]).netloc,
    }


def access_entry(
    access_key: str, deployment: Deployment, cloud: Cloud, functions: Functions
) -> AccessEntry | None:
    """Return the cluster's access entry of a key: only roles that the stack's output names.

    Each is in the one group that the output pairs it with.
    """
    groups = cluster_groups(deployment)
    for logical_id, name in deployment.functions.items():
        role = deployment.resources[logical_id].properties["Role"]
        if access_key == access_key_of(name) and role in groups:
            environment = cloud.environment_of(functions.settings(name))
            secret_key = environment["AWS_SECRET_ACCESS_KEY"]
            return AccessEntry(secret_key, user=role, groups=(groups[role],))
    return None


def cluster_groups(deployment: Deployment) -> dict[str, str]:
    """Return the group that each role has in the cluster, by the stack's output."""
    pairs = deployment.outputs["ClusterAccessRoles"].split(",")
    return dict(pair.rsplit("=", 1) for pair in pairs)
