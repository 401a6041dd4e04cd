"""A real control plane on this machine: etcd, kube-apiserver and kube-controller-manager.

Data, certificates and tokens are in a folder that goes with it. There is no scheduler: the node of
this package binds its pods itself.
"""

import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import urllib3

from local.cluster import control_plane_files as files
from local.cluster import control_plane_flags as flags
from local.cluster.audit import AuditEntry, read_audit_log
from local.cluster.certificates import CertificateAuthority, client_context
from local.cluster.control_plane_binaries import Binaries, ControlPlaneError
from local.cluster.rbac import MASTERS, User
from local.ports import hold_port
from local.processes import Child, Processes

READY_SECONDS = 60.0

_CONTROLLERS = User("system:kube-controller-manager", (MASTERS,))
_POLL_SECONDS = 0.05
_PROBE_SECONDS = 2.0
_END_SECONDS = 5.0


class ControlPlane:
    """A control plane from its creation, when it is ready, until `close`.

    `users` own fixed tokens; any other token is reviewed at `webhook_url`. RBAC decides what
    everyone may do. `children` are its processes. Raises ControlPlaneError.
    """

    def __init__(
        self,
        processes: Processes,
        binaries: Binaries,
        *,
        authority: CertificateAuthority,
        users: Mapping[str, User],
        webhook_url: str,
    ) -> None:
        self.children: list[Child] = []
        self._processes = processes
        self._last_line: deque[str] = deque(maxlen=1)
        self._dead: list[Child] = []
        with ExitStack() as parts:
            holder, port = hold_port()
            parts.callback(holder.close)
            self.url = f"https://127.0.0.1:{port}"
            self._folder = Path(tempfile.mkdtemp(prefix="keyturn-kubernetes-"))
            parts.callback(shutil.rmtree, self._folder, ignore_errors=True)
            parts.callback(self._end)
            self._write_files(authority, users, webhook_url)
            self._start(binaries.etcd, flags.etcd_flags())
            self._start(binaries.api_server, flags.api_server_flags(port))
            self._wait_until_ready(authority.pem)
            minor = binaries.minor_version()
            self._start(binaries.controller_manager, flags.controller_manager_flags(minor))
            self._parts = parts.pop_all()

    @property
    def audit(self) -> list[AuditEntry]:
        """The API server's audit log: (user, verb, resource, name), in the order of the answers."""
        return read_audit_log(self._folder / files.AUDIT_LOG)

    def close(self) -> None:
        """End the processes and remove what they left. Safe to call twice."""
        self._parts.close()

    def _write_files(
        self, authority: CertificateAuthority, users: Mapping[str, User], webhook_url: str
    ) -> None:
        token = secrets.token_urlsafe(32)
        files.write_certificates(self._folder, authority)
        files.write_tokens(self._folder, {**users, token: _CONTROLLERS})
        files.write_webhook(self._folder, webhook_url)
        files.write_controllers(self._folder, self.url, token)
        files.write_audit_policy(self._folder)

    def _start(self, program: str, arguments: list[str]) -> None:
        child = self._processes.start(
            Path(program).name,
            [program, *arguments],
            env={},
            cwd=self._folder,
            on_output=self._last_line.append,
            on_exit=self._dead.append,  # after its last line
        )
        self.children.append(child)

    def _wait_until_ready(self, ca_pem: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        with urllib3.PoolManager(ssl_context=client_context(ca_pem), retries=False) as pool:
            while not _is_ready(pool, self.url):
                if self._dead:
                    dead = self._dead[0]
                    raise ControlPlaneError(f"{dead.name} {dead.describe_end()}.{self._said()}")
                if time.monotonic() > deadline:
                    late = f"kube-apiserver is not ready after {READY_SECONDS:.0f} s."
                    raise ControlPlaneError(late + self._said())
                time.sleep(_POLL_SECONDS)

    def _said(self) -> str:
        return f" It said last: {self._last_line[0]}" if self._last_line else ""

    def _end(self) -> None:
        for child in reversed(self.children):  # nothing here needs an orderly end
            child.kill()
            child.process.wait(_END_SECONDS)


def _is_ready(pool: urllib3.PoolManager, url: str) -> bool:
    try:
        answer = pool.request("GET", f"{url}/readyz", timeout=_PROBE_SECONDS)
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == 200 and answer.data == b"ok"
