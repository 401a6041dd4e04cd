"""Deployments, StatefulSets and Rollouts, their pods and their logs."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keyturn import errors
from keyturn.adapters.kubernetes import argo_rollouts, objects, pod_logs, reloader
from keyturn.adapters.kubernetes.api import MERGE, STRATEGIC, KubernetesApi
from keyturn.rollout.pod_annotations import Stamp
from keyturn.rollout.status import Pod, Workload
from keyturn.validation.log_rules import MAX_LINE
from keyturn.validation.pod_logs import ContainerLog, Line, ServiceLogs

if TYPE_CHECKING:
    from keyturn.settings.loading import PodKeySettings

LOG_BYTES = 1024 * 1024
PAGE_PODS = 500
RESOURCES = {
    "deployment": ("apps/v1", "deployments"),
    "statefulset": ("apps/v1", "statefulsets"),
    "rollout": (argo_rollouts.API, "rollouts"),
}


class KubernetesCluster:
    """The workloads of one namespace; `delivery` names the key that their pods should refer to."""

    def __init__(self, api: KubernetesApi, delivery: "PodKeySettings | None" = None) -> None:
        self._api = api
        self._delivery = delivery
        self._core = f"/api/v1/namespaces/{api.namespace}"

    def workload(self, service: str) -> Workload:
        """Read a Deployment, or a `statefulset/name` or `rollout/name`.

        Raises ServiceNotFound, ServiceUnsupported.
        """
        return self._workload(self._read(service))

    def pods(self, service: str) -> list[Pod]:
        """Read the pods that a workload's selector matches and that may hold a key."""
        workload = self._read(service)
        return [_pod(workload, item) for item in self._pods(workload)]

    def restart(
        self, service: str, annotations: dict[str, str], resource_version: str, *, dry_run: bool
    ) -> Workload:
        """Patch the annotations of the pod template if the workload is unchanged since then.

        A Rollout is asked to restart its pods, and the annotations are its own.
        """
        if service.startswith("rollout/"):
            body, kind = argo_rollouts.restart_patch(annotations, resource_version), MERGE
        else:
            body, kind = _template_patch(annotations, resource_version), STRATEGIC
        return self._workload(self._api.patch(self._path(service), body, kind, dry_run=dry_run))

    def of_restart(
        self, service: str, stamp: Stamp, since: datetime, *, crashed_only: bool = False
    ) -> ServiceLogs:
        """Every container of every annotated pod, its last crash's log included."""
        workload = self._read(service)
        pods: list[str] = []
        stamped: dict[str, list[pod_logs.Started]] = {}
        for item in self._pods(workload):
            if objects.is_of(workload, item):
                seen = _pod(workload, item)
                pods.append(seen.name)
                if stamp.is_on(seen):
                    stamped[seen.name] = list(pod_logs.started_containers(item, since))
        with_key = pod_logs.containers_with_key(workload, self._delivery)
        logs = self._logs(stamped, with_key, since, crashed_only=crashed_only)
        return ServiceLogs(service, pods, list(stamped), logs)

    def secret_matches_reloader(self) -> bool | None:
        """Whether the Secret's annotations let a Reloader that searches restart its workloads.

        Only the Secret's metadata is read. None if the role may not do that.
        """
        if self._delivery is None or not self._delivery.reads_kubernetes_secret:
            return False
        path = f"{self._core}/secrets/{self._delivery.kubernetes_secret}"
        try:
            return reloader.matches(self._api.metadata(path))
        except errors.AccessDenied:
            return None

    def _workload(self, item: objects.Object) -> Workload:
        delivery = self._delivery
        reads = delivery is not None and delivery.reads_kubernetes_secret
        reloaded = (
            reloader.restarts(item, delivery.kubernetes_secret) if delivery and reads else False
        )
        if _is_rollout(item):
            return argo_rollouts.workload(item, delivery, restarts_itself=reloaded)
        pause = reloader.pause(item) if reads else reloader.NO_PAUSE
        return objects.workload(item, delivery, restarts_itself=reloaded, pause=pause)

    def _read(self, service: str) -> objects.Object:
        item: objects.Object = self._api.get(self._path(service))
        if _is_rollout(item) and not argo_rollouts.has_template(item):
            raise errors.ServiceUnsupported(
                f"Rollout {item['metadata']['name']} has its pod template in another object"
                " (workloadRef), so its pods cannot be judged. Nothing was changed."
                " Move the template and the selector into the Rollout."
            )
        return item

    def _path(self, service: str) -> str:
        kind, _, name = service.rpartition("/")
        group, plural = RESOURCES[kind or "deployment"]
        return f"/apis/{group}/namespaces/{self._api.namespace}/{plural}/{name}"

    def _pods(self, workload: objects.Object) -> Iterator[objects.Object]:
        """The pods that a workload's selector matches and that may hold a key.

        They are read page by page, so that thousands of them fit the limit of a response; a caller
        that keeps none of them needs the memory of one page.
        """
        selector = objects.selector_text(workload["spec"]["selector"])
        query, following = [("labelSelector", selector), ("limit", str(PAGE_PODS))], ""
        while True:
            onward = [("continue", following)] if following else []
            page = self._api.get(f"{self._core}/pods", [*query, *onward])
            yield from (pod for pod in page["items"] if not objects.ended(pod))
            following = page.get("metadata", {}).get("continue", "")
            if not following:
                return

    def _logs(
        self,
        pods: Mapping[str, list[pod_logs.Started]],
        with_key: set[str],
        since: datetime,
        *,
        crashed_only: bool,
    ) -> Iterator[ContainerLog]:
        for name, containers in pods.items():
            for container, logs, trouble in containers:
                if crashed_only and True not in logs:
                    continue
                for previous in logs:
                    lines = self._log(name, container, since, previous=previous)
                    yield ContainerLog(name, container, lines, container in with_key, trouble)

    def _log(self, pod: str, container: str, since: datetime, *, previous: bool) -> Iterator[Line]:
        """The lines of one log from `since` on, by their own timestamps, each cut at its limit.

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
            line = pod_logs.log_line(raw[:MAX_LINE].decode("utf-8", "replace"))
            if line.at is None or line.at >= since:
                yield line


def _is_rollout(workload: objects.Object) -> bool:
    return bool(workload["kind"] == argo_rollouts.KIND)


def _pod(workload: objects.Object, item: objects.Object) -> Pod:
    return (
        argo_rollouts.pod(workload, item) if _is_rollout(workload) else objects.pod(item, workload)
    )


def _template_patch(annotations: dict[str, str], resource_version: str) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": resource_version},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    }
