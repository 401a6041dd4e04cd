"""What runs on the stack: Deployments, their pods, the key that they read, and their sessions."""

import urllib3

from local import console
from local.cluster.resources import DEPLOYMENTS, PODS, SECRETS, Json
from local.running_console import keys_in_use
from local.stack import SESSION_DATABASE, LocalStack


class Workloads:
    """Looks at them and changes them, past the rotation."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack

    def deployment(self, name: str) -> Json:
        """A Deployment."""
        return self.stack.cluster.admin.get(DEPLOYMENTS, console.NAMESPACE, name)

    def patch(self, name: str, spec: Json) -> None:
        """Change a Deployment's spec, as a colleague might at any moment."""
        self.stack.cluster.admin.patch(DEPLOYMENTS, console.NAMESPACE, name, {"spec": spec})

    def patch_container(self, name: str, container: Json) -> None:
        """Change the container of a Deployment's pods."""
        spec = {"containers": [{"name": name, **container}]}
        self.patch(name, {"template": {"spec": spec}})

    def pods(self) -> dict[str, str]:
        """Every pod and its uid."""
        found = self.stack.cluster.admin.list(PODS, console.NAMESPACE)
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}

    def kubernetes_secret(self) -> Json:
        """The Secret that the pods read the key from."""
        return self.stack.cluster.admin.get(SECRETS, console.NAMESPACE, console.KUBERNETES_SECRET)

    def delivered(self) -> str:
        """The key that the pods read when they start."""
        return self.stack.place.value()

    def write_over_key(self, text: str) -> None:
        """Put another key where the pods read it, as another tool might at any moment."""
        self.stack.place.write(text)

    def keys_in_use(self) -> list[str]:
        """The key that each pod's process was started with, from its own environment."""
        return keys_in_use(self.stack.processes)

    def sessions(self) -> frozenset[bytes]:
        """The names of the sessions."""
        with self.stack.redis.client(SESSION_DATABASE) as client:
            return frozenset(client.scan_iter("session:*", count=10_000))

    def add_sessions(self, count: int) -> None:
        """Store sessions that nobody will open."""
        seed = "for n = 1, ARGV[1] do redis.call('SET', 'session:seed-' .. n, '-', 'EX', 600) end"
        with self.stack.redis.client(SESSION_DATABASE) as client:
            client.eval(seed, 0, count)

    def status(self, url: str) -> int:
        """What a URL answers at this moment."""
        reply = urllib3.request("GET", url, redirect=False, retries=False, timeout=5.0)
        return reply.status

    def rolled_out(self, name: str) -> bool:
        """Whether a Deployment has all the pods that it shall have, and no other."""
        found = self.deployment(name)
        status, desired = found.get("status", {}), console.REPLICAS[name]
        counts = [status.get(count) for count in ("updatedReplicas", "availableReplicas")]
        observed = status.get("observedGeneration") == found["metadata"]["generation"]
        return observed and counts == [desired, desired] and status.get("replicas") == desired
