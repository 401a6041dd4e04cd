"""The files that a real control plane is started with, all in one folder that is its own.

Every process runs in that folder, so the names here are relative to it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from local.cluster.audit import audit_policy
from local.cluster.certificates import CertificateAuthority
from local.cluster.rbac import User
from local.cluster.resources import Json

AUTHORITY = "authority.pem"
SERVER = "kube-apiserver"
SERVICE_ACCOUNTS = "service-accounts"
TOKENS = "tokens.csv"
WEBHOOK = "token-webhook.kubeconfig"
CONTROLLERS = "kube-controller-manager.kubeconfig"
AUDIT_POLICY = "audit-policy.json"
AUDIT_LOG = "audit.log"
SYSTEM_USERS = ("system:apiserver", "system:kube-controller-manager")


def write_certificates(folder: Path, authority: CertificateAuthority) -> None:
    """Write the authority and the pairs NAME.pem and NAME.key that it signs."""
    (folder / AUTHORITY).write_text(authority.pem)
    for name in (SERVER, SERVICE_ACCOUNTS):
        certificate = authority.issue(name)
        (folder / f"{name}.pem").write_text(certificate.pem)
        (folder / f"{name}.key").write_text(certificate.key_pem)


def write_tokens(folder: Path, users: Mapping[str, User]) -> None:
    """Write who owns which fixed token: lines of token, name, id, groups."""
    lines = [
        f'{token},{user.name},{user.name},"{",".join(user.groups)}"\n'
        for token, user in users.items()
    ]
    (folder / TOKENS).write_text("".join(lines))


def write_webhook(folder: Path, url: str) -> None:
    """Write where the server has unknown tokens reviewed; it shows its own certificate there."""
    user = {"client-certificate": f"{SERVER}.pem", "client-key": f"{SERVER}.key"}
    _write_json(folder / WEBHOOK, _kubeconfig(url, user))


def write_controllers(folder: Path, url: str, token: str) -> None:
    """Write where the controllers find the server, and their token."""
    _write_json(folder / CONTROLLERS, _kubeconfig(url, {"token": token}))


def write_audit_policy(folder: Path) -> None:
    """Write what the server logs: everybody's requests but those of the control plane itself."""
    _write_json(folder / AUDIT_POLICY, audit_policy(without=SYSTEM_USERS))


def _kubeconfig(url: str, user: Json) -> Json:
    cluster = {"server": url, "certificate-authority": AUTHORITY}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "us", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "us"}}],
        "current-context": "it",
    }


def _write_json(path: Path, document: Json) -> None:
    path.write_text(json.dumps(document))
