"""The node: registers itself, takes every pod that has no node, runs pods, serves their logs.

It speaks only the Kubernetes API, so it serves this package's API server and a real control plane
alike, and does the scheduler's work too. A pod's process gets PORT, a free port that is also in
the pod's annotation `keyturn.local/port`. Not here: init containers, volumes, liveness probes.
"""

import re
import threading
from collections.abc import Collection
from urllib.parse import parse_qsl, urlsplit

from local.cluster import timestamps
from local.cluster.certificates import CertificateAuthority, server_context
from local.cluster.client import ClusterClient
from local.cluster.container_logs import LogOptions, render
from local.cluster.errors import StatusError
from local.cluster.https import HttpsHandler, HttpsServer
from local.cluster.pods import PodWorker
from local.cluster.reflector import Reflector
from local.cluster.resources import NODES, PODS, Json
from local.processes import Processes

NODE_NAME = "laptop"

_LOG_PATH = re.compile(r"^/containerLogs/([^/]+)/([^/]+)/([^/]+)$")


class Kubelet:
    """Runs the pods of a cluster as processes until `close`.

    `images` are those that can be pulled. `authority` gives it the certificate that it shows to the
    API server, which must show one of the same authority in turn.
    """

    def __init__(
        self,
        client: ClusterClient,
        processes: Processes,
        *,
        images: Collection[str],
        authority: CertificateAuthority,
    ) -> None:
        self._client = client
        self._processes = processes
        self._images = images
        self._lock = threading.Lock()
        self._pods: dict[str, PodWorker] = {}
        self._names: dict[tuple[str, str], str] = {}
        handler = type("Handler", (_Handler,), {"kubelet": self})
        self._server = HttpsServer(
            handler, server_context(authority.issue("kubelet"), authority.pem), "kubelet"
        )
        self._register()
        self._reflector = Reflector(client, PODS, "", self._on_pod)

    def close(self) -> None:
        """End every pod's processes and stop; the API server is told nothing."""
        self._reflector.close()
        with self._lock:
            workers = list(self._pods.values())
        for worker in workers:
            worker.forget()
        for worker in workers:
            worker.join()
        self._server.close()

    def log_of(self, namespace: str, pod: str, container: str, options: LogOptions) -> bytes:
        """Return a log. Raises `KeyError` (no such container), `ValueError` (no log yet)."""
        with self._lock:
            worker = self._pods[self._names[namespace, pod]]
        found = worker.containers[container]
        run = found.terminated_run if options.previous else found.run
        if run is None and options.previous:
            raise ValueError(
                f'previous terminated container "{container}" in pod "{pod}" not found'
            )
        if run is None:
            reason = found.status()["state"]["waiting"]["reason"]
            raise ValueError(
                f'container "{container}" in pod "{pod}" is waiting to start: {reason}'
            )
        return render(run.log.lines(), options)

    def _register(self) -> None:
        try:
            self._client.create(NODES, "", {"metadata": {"name": NODE_NAME}})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        self._client.patch(NODES, "", NODE_NAME, self._node_status(), subresource="status")

    def _node_status(self) -> Json:
        now = timestamps.to_seconds(timestamps.now())
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        return {
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "127.0.0.1"},
                    {"type": "Hostname", "address": NODE_NAME},
                ],
                "conditions": [ready],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.port}},
            }
        }

    def _on_pod(self, kind: str, pod: Json) -> None:
        metadata = pod["metadata"]
        uid, place = metadata["uid"], (metadata["namespace"], metadata["name"])
        with self._lock:
            worker = self._pods.get(uid)
            if kind == "DELETED":
                self._pods.pop(uid, None)
                if self._names.get(place) == uid:
                    del self._names[place]
            elif worker is None and self._is_ours(pod):
                self._names[place] = uid
                self._pods[uid] = PodWorker(
                    pod, NODE_NAME, self._client, self._processes, self._images
                )
        if worker:
            worker.forget() if kind == "DELETED" else worker.update(pod)

    @staticmethod
    def _is_ours(pod: Json) -> bool:
        ended = pod["status"].get("phase") in {"Succeeded", "Failed"}
        return pod["spec"].get("nodeName", NODE_NAME) == NODE_NAME and not ended


class _Handler(HttpsHandler):
    kubelet: Kubelet

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        """Serve a container's log."""
        url = urlsplit(self.path)
        match = _LOG_PATH.match(url.path)
        if not match:
            self.answer(404, b"404 page not found", "text/plain")
            return
        try:
            options = LogOptions.of(dict(parse_qsl(url.query)))
            text = self.kubelet.log_of(match[1], match[2], match[3], options)
        except KeyError:
            self.answer(404, b"the pod does not run here", "text/plain")
        except ValueError as error:
            self.answer(400, str(error).encode(), "text/plain")
        else:
            self.answer(200, text, "text/plain")
