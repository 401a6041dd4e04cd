"""Deployments and StatefulSets, their pods and their logs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keyturn import errors
from keyturn.adapters import kubernetes_facts as facts
from keyturn.adapters import kubernetes_logs, reloader
from keyturn.adapters.kubernetes import STRATEGIC, KubernetesApi
from keyturn.log_lines import MAX_LINE
from keyturn.logs import ContainerLog, Line, ServiceLogs
from keyturn.stamp import Stamp
from keyturn.workload import Pod, Workload

if TYPE_CHECKING:
    from keyturn.settings import PodKeySettings

LOG_BYTES = 1024 * 1024
PAGE_PODS = 500
PLURALS = {"deployment": "deployments", "statefulset": "statefulsets"}


class KubernetesCluster:
    """The workloads of one namespace; `delivery` says which key their pods should refer to."""

    def __init__(self, api: KubernetesApi, delivery: "PodKeySettings | None" = None) -> None:
        self._api = api
        self._delivery = delivery
        self._apps = f"/apis/apps/v1/namespaces/{api.namespace}"
        self._core = f"/api/v1/namespaces/{api.namespace}"

    def workload(self, service: str) -> Workload:
        """Read a Deployment, or a StatefulSet for `statefulset/name`. Raises ServiceNotFound."""
        return self._workload(self._api.get(self._path(service)))

    def pods(self, service: str) -> list[Pod]:
        """Read the pods that a workload's selector matches and that may hold a key."""
        return [facts.pod(found) for found in self._pods(self._api.get(self._path(service)))]

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
    ) -> ServiceLogs:
        """Every container of every pod that carries the stamp, its last crash's log included."""
        workload = self._api.get(self._path(service))
        pods = [pod for pod in self._pods(workload) if facts.is_of(workload, pod)]
        stamped = [pod for pod in pods if stamp.is_on(facts.pod(pod))]
        with_key = kubernetes_logs.containers_with_key(workload, self._delivery)
        return ServiceLogs(
            service,
            [pod["metadata"]["name"] for pod in pods],
            [pod["metadata"]["name"] for pod in stamped],
            self._logs(stamped, with_key, since, crashed_only=crashed_only),
        )

    def secret_matches_reloader(self) -> bool | None:
        """Whether the Secret's annotations let a Reloader that searches restart its workloads.

        Of the Secret, only its metadata is read. None where the role may not even do that.
        """
        if self._delivery is None or not self._delivery.reads_kubernetes_secret:
            return False
        path = f"{self._core}/secrets/{self._delivery.kubernetes_secret}"
        try:
            return reloader.matches(self._api.metadata(path))
        except errors.AccessDenied:
            return None

    def _workload(self, found: facts.Object) -> Workload:
        delivery = self._delivery
        reads = delivery is not None and delivery.reads_kubernetes_secret
        reloaded = (
            reloader.restarts(found, delivery.kubernetes_secret) if delivery and reads else False
        )
        return facts.workload(found, delivery, restarts_itself=reloaded)

    def _path(self, service: str) -> str:
        kind, _, name = service.rpartition("/")
        return f"{self._apps}/{PLURALS[kind or 'deployment']}/{name}"

    def _pods(self, workload: facts.Object) -> list[facts.Object]:
        """The pods that a workload's selector matches and that may hold a key.

        They are read page by page, so that thousands of them fit an answer's bound.
        """
        selector = facts.selector_text(workload["spec"]["selector"])
        query = [("labelSelector", selector), ("limit", str(PAGE_PODS))]
        page = self._api.get(f"{self._core}/pods", query)
        pods = [pod for pod in page["items"] if not facts.ended(pod)]
        while following := page.get("metadata", {}).get("continue"):
            page = self._api.get(f"{self._core}/pods", [*query, ("continue", following)])
            pods += [pod for pod in page["items"] if not facts.ended(pod)]
        return pods

    def _logs(
        self,
        pods: Sequence[facts.Object],
        with_key: set[str],
        since: datetime,
        *,
        crashed_only: bool,
    ) -> Iterator[ContainerLog]:
        for found in pods:
            name = found["metadata"]["name"]
            for container, logs, trouble in kubernetes_logs.started_containers(found, since):
                if crashed_only and True not in logs:
                    continue
                for previous in logs:
                    lines = self._log(name, container, since, previous=previous)
                    yield ContainerLog(name, container, lines, container in with_key, trouble)

    def _log(self, pod: str, container: str, since: datetime, *, previous: bool) -> Iterator[Line]:
        """The lines of one log from `since` on, by their own stamps, each cut at its bound.

        The kubelet's `sinceTime` has whole seconds.
        """
        query = [
            ("container", container),
            ("limitBytes", str(LOG_BYTES)),
            ("sinceTime", since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("timestamps", "true"),
            *([("previous", "true")] if previous else []),
        ]
        content = self._api.request("GET", f"{self._core}/pods/{pod}/log", query)
        for raw in filter(None, content[:LOG_BYTES].split(b"\n")):
            line = kubernetes_logs.log_line(raw[:MAX_LINE].decode("utf-8", "replace"))
            if line.at is None or line.at >= since:
                yield line
