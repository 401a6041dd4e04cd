"""One pod on this node: its thread brings the processes in line with what the API server says.

Each step reads the latest pod, does what is due, and reports; then it waits until a change, the end
of a process, or the time that the step named. A step that meets an error is simply taken again.
"""

import logging
import os
import threading
import time
from collections.abc import Collection

import urllib3

from local.cluster import timestamps
from local.cluster.client import MERGE, ClusterClient
from local.cluster.containers import PROJECT, Container, Machine
from local.cluster.errors import StatusError
from local.cluster.pod_environment import environment_of
from local.cluster.pod_status import status_of
from local.cluster.resources import PODS, SECRETS, Json
from local.ports import hold_port
from local.processes import Processes

log = logging.getLogger(__name__)

PORT_ANNOTATION = "keyturn.local/port"
_RETRY_SECONDS = 0.2


class PodWorker:
    """Runs one pod from its binding to its deletion."""

    def __init__(
        self,
        pod: Json,
        node: str,
        client: ClusterClient,
        processes: Processes,
        images: Collection[str],
    ) -> None:
        self._pod = pod
        self._node = node
        self._client = client
        self._place = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._bell = threading.Event()
        self._machine = Machine(processes, images, self._environment, self._bell.set)
        self._port_holder, self._port = hold_port()
        policy = pod["spec"].get("restartPolicy", "Always")
        self.containers = {
            spec["name"]: Container(spec, policy, self._port, self._machine)
            for spec in pod["spec"]["containers"]
        }
        self._reported: Json = {}
        self._terminating_since: float | None = None
        self._gone = False
        self._done = False
        name = f"pod {pod['metadata']['name']}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def update(self, pod: Json) -> None:
        """Take note of the pod's new state."""
        self._pod = pod
        self._bell.set()

    def forget(self) -> None:
        """Return the pod is gone from the API server: end its processes at once, report nothing."""
        self._gone = True
        self._bell.set()

    def join(self) -> None:
        """Wait until the pod's processes have ended, after `forget`."""
        self._thread.join()

    def _run(self) -> None:
        while not self._done:
            try:
                pause = self._step()
            except (StatusError, urllib3.exceptions.HTTPError, OSError) as error:
                log.debug("pod %s: trying again: %s", self._place[1], error)
                pause = _RETRY_SECONDS
            self._bell.wait(pause)
            self._bell.clear()
        self._port_holder.close()

    def _step(self) -> float | None:
        """Do what is due; return the seconds until more is, None to wait for the bell."""
        if self._gone:
            self._kill()
            self._done = True
            return 0.0
        if "deletionTimestamp" in self._pod["metadata"]:
            return self._end()
        if not self._pod["spec"].get("nodeName"):
            self._bind()
            return None
        self._announce_port()
        now = time.monotonic()
        pauses = [container.advance(now) for container in self.containers.values()]
        self._report()
        return min((pause for pause in pauses if pause is not None), default=None)

    def _bind(self) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self._node}
        binding = {"kind": "Binding", "metadata": {"name": self._place[1]}, "target": target}
        namespace, name = self._place
        try:
            self._client.create(PODS, namespace, binding, name=name, subresource="binding")
        except StatusError as error:
            if error.code not in {404, 409}:  # deleted, or bound already: the watch tells
                raise

    def _announce_port(self) -> None:
        annotations = self._pod["metadata"].get("annotations") or {}
        if annotations.get(PORT_ANNOTATION) != str(self._port):
            patch = {"metadata": {"annotations": {PORT_ANNOTATION: str(self._port)}}}
            self._pod = self._client.patch(PODS, *self._place, patch, content_type=MERGE)

    def _report(self) -> None:
        statuses = [container.status() for container in self.containers.values()]
        status = status_of(self._pod, statuses, self._reported, timestamps.now())
        if status != self._reported:
            patch = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
            self._client.patch(PODS, *self._place, patch, content_type=MERGE, subresource="status")
            self._reported = status

    def _end(self) -> float | None:
        """Ask the processes to end, wait as long as the pod allows, then end and confirm."""
        now = time.monotonic()
        if self._terminating_since is None:
            self._terminating_since = now
            for container in self.containers.values():
                container.terminate()
        grace = float(self._pod["metadata"].get("deletionGracePeriodSeconds", 0))
        left = self._terminating_since + grace - now
        if left > 0 and any(container.running for container in self.containers.values()):
            return left
        self._kill()
        self._confirm_end()
        self._done = True
        return 0.0

    def _confirm_end(self) -> None:
        try:
            self._report()
            uid = self._pod["metadata"]["uid"]
            self._client.delete(PODS, *self._place, grace_seconds=0, uid=uid)
        except StatusError as error:
            if error.code not in {404, 409}:  # gone already, or another pod has the name
                raise

    def _kill(self) -> None:
        for container in self.containers.values():
            container.kill()

    def _environment(self, spec: Json) -> dict[str, str]:
        namespace, name = self._place
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            "HOSTNAME": name,
            **environment_of(spec, self._pod, lambda secret: self._secret(namespace, secret)),
            "PORT": str(self._port),
        }

    def _secret(self, namespace: str, name: str) -> Json | None:
        try:
            return self._client.get(SECRETS, namespace, name)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
