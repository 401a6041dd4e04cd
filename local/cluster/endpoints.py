"""Which pods serve a service right now: the ready ones that do not terminate, in turn."""

import threading

from local.cluster.client import ClusterClient
from local.cluster.pods import PORT_ANNOTATION
from local.cluster.reflector import Reflector
from local.cluster.replica_sets import ready_since
from local.cluster.resources import PODS, SERVICES, Json

Endpoint = tuple[str, int]


class Endpoints:
    """Follows the services and pods of a namespace."""

    def __init__(self, client: ClusterClient, namespace: str) -> None:
        self._lock = threading.Lock()
        self._services: dict[str, Json] = {}
        self._pods: dict[str, Json] = {}
        self._turn = 0
        self._reflectors = [
            Reflector(client, SERVICES, namespace, self._on_service),
            Reflector(client, PODS, namespace, self._on_pod),
        ]

    def of(self, service: str) -> list[Endpoint]:
        """Return (pod name, port) of the service's pods, in the order in which to try them.

        Each call begins with the next pod. Empty without such a service or a ready pod.
        """
        with self._lock:
            found = self._services.get(service)
            pods = [] if found is None else list(self._pods.values())
            self._turn += 1
            turn = self._turn
        ready = sorted(endpoint for pod in pods if found and (endpoint := _endpoint(found, pod)))
        if not ready:
            return []
        first = turn % len(ready)
        return ready[first:] + ready[:first]

    def close(self) -> None:
        """Stop following."""
        for reflector in self._reflectors:
            reflector.close()

    def _on_service(self, kind: str, service: Json) -> None:
        self._take(self._services, service["metadata"]["name"], kind, service)

    def _on_pod(self, kind: str, pod: Json) -> None:
        self._take(self._pods, pod["metadata"]["uid"], kind, pod)

    def _take(self, known: dict[str, Json], key: str, kind: str, item: Json) -> None:
        with self._lock:
            if kind == "DELETED":
                known.pop(key, None)
            else:
                known[key] = item


def _endpoint(service: Json, pod: Json) -> Endpoint | None:
    """Return the pod as an endpoint of the service, None if it is not (or no longer) one."""
    selector = service.get("spec", {}).get("selector") or {}
    metadata = pod["metadata"]
    port = (metadata.get("annotations") or {}).get(PORT_ANNOTATION)
    selected = bool(selector) and selector.items() <= (metadata.get("labels") or {}).items()
    if not selected or not port or "deletionTimestamp" in metadata or ready_since(pod) is None:
        return None
    return metadata["name"], int(port)
