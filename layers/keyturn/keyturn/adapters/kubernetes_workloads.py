"""Deployments and StatefulSets, their pods and their logs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keyturn import errors
from keyturn.adapters import kubernetes_facts as facts
from keyturn.adapters import reloader
from keyturn.adapters.kubernetes import STRATEGIC, KubernetesApi
from keyturn.logs import ContainerLog, Line
from keyturn.stamp import Stamp
from keyturn.workload import Pod, Workload

if TYPE_CHECKING:
    from keyturn.settings import DeliverySettings

LOG_BYTES = 1024 * 1024
PAGE_PODS = 500
PLURALS = {"deployment": "deployments", "statefulset": "statefulsets"}


class KubernetesCluster:
    """The workloads of one namespace; `delivery` says which key their pods should refer to."""

    def __init__(self, api: KubernetesApi, delivery: "DeliverySettings | None" = None) -> None:
        self._api = api
        self._delivery = delivery
        self._apps = f"/apis/apps/v1/namespaces/{api.namespace}"
        self._core = f"/api/v1/namespaces/{api.namespace}"

    def workload(self, service: str) -> Workload:
        """Read a Deployment, or a StatefulSet for `statefulset/name`. Raises ServiceNotFound."""
        return self._workload(self._api.get(self._path(service)))

    def pods(self, service: str) -> list[Pod]:
        """Read the pods that a workload's selector matches and that may hold a key."""
        return [facts.pod(found) for found in self._pods(service) if not facts.ended(found)]

    def restart(
        self, service: str, annotations: dict[str, str], resource_version: str, *, dry_run: bool
    ) -> Workload:
        """Patch the annotations of the pod template if the workload is unchanged since then."""
        body = {
            "metadata": {"resourceVersion": resource_version},
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        }
        return self._workload(
            self._api.patch(self._path(service), body, STRATEGIC, dry_run=dry_run)
        )

    def of_restart(
        self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
    ) -> Iterator[ContainerLog]:
        """Every container of every pod that carries the stamp, its last crash's log included."""
        for found in self._pods(service):
            if not stamp.is_on(facts.pod(found)):
                continue
            for container, logs in facts.containers(found):
                if crashed_only and True not in logs:
                    continue
                pod = found["metadata"]["name"]
                for previous in logs:
                    lines = self._log(pod, container, since, previous=previous)
                    yield ContainerLog(pod, container, lines)

    def _workload(self, found: facts.Object) -> Workload:
        reloaded = self._delivery is not None and self._reloaded(found, self._delivery)
        return facts.workload(found, self._delivery, restarts_itself=reloaded)

    def _reloaded(self, found: facts.Object, delivery: "DeliverySettings") -> bool:
        """Whether Reloader restarts it too; of the Secret, only its annotations are looked at."""
        if not delivery.reads_kubernetes_secret:  # none changes, and the role may read none
            return False
        path = f"{self._core}/secrets/{delivery.kubernetes_secret}"
        return reloader.restarts(
            found,
            delivery.kubernetes_secret,
            lambda: self._api.get(path)["metadata"].get("annotations") or {},
        )

    def _path(self, service: str) -> str:
        kind, _, name = service.rpartition("/")
        return f"{self._apps}/{PLURALS[kind or 'deployment']}/{name}"

    def _pods(self, service: str) -> Iterator[dict[str, Any]]:
        """The pods of a service page by page, so that thousands of them fit an answer's bound."""
        selector = facts.selector_text(self._api.get(self._path(service))["spec"]["selector"])
        query = [("labelSelector", selector), ("limit", str(PAGE_PODS))]
        page = self._api.get(f"{self._core}/pods", query)
        yield from page["items"]
        while following := page.get("metadata", {}).get("continue"):
            page = self._api.get(f"{self._core}/pods", [*query, ("continue", following)])
            yield from page["items"]

    def _log(self, pod: str, container: str, since: datetime, *, previous: bool) -> Iterator[Line]:
        """The lines of one log from `since` on, by their own stamps.

        The kubelet's `sinceTime` has whole seconds. A pod that is gone by now, or a container that
        has not written yet, has no log.
        """
        query = [
            ("container", container),
            ("limitBytes", str(LOG_BYTES)),
            ("sinceTime", since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("timestamps", "true"),
            *([("previous", "true")] if previous else []),
        ]
        try:
            content = self._api.request("GET", f"{self._core}/pods/{pod}/log", query)
        except (errors.ServiceNotFound, errors.ClusterRefused):
            return
        for text in filter(None, content.decode("utf-8", "replace").split("\n")):
            line = facts.log_line(text)
            if line.at is None or line.at >= since:
                yield line
