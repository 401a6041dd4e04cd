"""The console at work: its two services as Deployments of the cluster, and its OAuth2 provider."""

import sys
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from keyturn.secret.key import FIELD
from local import console
from local.cluster import RunningCluster
from local.cluster.resources import DEPLOYMENTS
from local.ports import hold_port
from local.processes import Processes

_ROOT = Path(__file__).parent.parent
_PROBE_SECONDS = 2.0

Wait = Callable[[Callable[[], bool], str], None]


class RunningConsole:
    """Starts the console; `wait_until_available` returns when all of it serves.

    `redis` is the host and port of its session store, `injection` how its pods get their
    key. `urls` are the lasting addresses of the two services and of the provider, which is a
    process of its own.
    """

    def __init__(
        self,
        processes: Processes,
        cluster: RunningCluster,
        redis: tuple[str, int],
        injection: console.Injection,
    ) -> None:
        self._cluster = cluster
        self._port_holder, port = hold_port()
        self.urls = {"provider": f"http://127.0.0.1:{port}"}
        for name in console.REPLICAS:
            cluster.apply(console.service(name))
            self.urls[name] = cluster.ingress_url(name)
        self.provider = processes.start(
            "oauth2-provider",
            [sys.executable, "-m", console.PROVIDER_MODULE],
            env={"PORT": str(port), "AUTH_SERVICE_URL": self.urls["auth-service"]},
            cwd=_ROOT,
        )
        variables = console.environments(*redis, self.urls)
        for name in console.REPLICAS:
            cluster.apply(console.deployment(name, variables[name], injection))

    def wait_until_available(self, wait: Wait) -> None:
        """Have each part of the console waited for."""
        for name in console.REPLICAS:
            wait(partial(self._available, name), f"{name} is available")
        wait(self._provider_answers, "the provider answers")

    def close(self) -> None:
        """Give the provider's port back; its process and the pods are the stack's to end."""
        self._port_holder.close()

    def _available(self, name: str) -> bool:
        found = self._cluster.admin.get(DEPLOYMENTS, console.NAMESPACE, name)
        available: int = found.get("status", {}).get("availableReplicas", 0)
        return available == console.REPLICAS[name]

    def _provider_answers(self) -> bool:
        url = f"{self.urls['provider']}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=_PROBE_SECONDS) as answer:  # noqa: S310  our own loopback URL
                return bool(answer.status == 200)
        except OSError:
            return False


def keys_in_use(processes: Processes) -> list[str]:
    """The key that each pod's process was started with, from its own environment."""
    found = []
    for process in processes.running():
        if not process.name.startswith("container "):
            continue
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().decode().split("\0")
        named = dict(variable.partition("=")[::2] for variable in variables)
        found.append(named.get(FIELD, ""))
    return found
