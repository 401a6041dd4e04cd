"""The controller manager: Deployments, ReplicaSets, quotas, garbage; on one thread.

Each pass reads everything, lets the pure plans decide, and carries them out. A pass that changed
anything wakes the next one; otherwise the thread waits for a change, or for the moment at which
time alone changes a plan (minReadySeconds, progressDeadlineSeconds).
"""

import logging
import threading
from datetime import datetime

from local.cluster import timestamps
from local.cluster.deletion import delete
from local.cluster.deployment_status import deadline_of, status_of
from local.cluster.deployments import REVISION, Family, Step, family_of, plan_deployment
from local.cluster.errors import StatusError
from local.cluster.objects import ObjectStore
from local.cluster.patches import merge_patch
from local.cluster.quotas import status_of_quota
from local.cluster.replica_sets import new_pod, plan_replica_set, with_replica_failure
from local.cluster.resources import (
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    RESOURCE_QUOTAS,
    Json,
    Objects,
    Resource,
    owner_uid,
)

log = logging.getLogger(__name__)

_IDLE_SECONDS = 60.0


class Controllers:
    """Runs the controllers on a store until `close`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._thread = threading.Thread(target=self._run, name="kube-controllers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the store must be closed already, which is what ends the wait."""
        self._thread.join()

    def _run(self) -> None:
        while not self._store.closed:
            version, now = self._store.version, timestamps.now()
            moments = self._pass(now)
            wait = (
                min((moment - now).total_seconds() for moment in moments)
                if moments
                else _IDLE_SECONDS
            )
            try:
                self._store.changes_since(version, max(0.0, min(wait, _IDLE_SECONDS)))
            except StatusError:
                continue  # more happened than the history keeps: the next pass sees it all

    def _pass(self, now: datetime) -> list[datetime]:
        try:
            self._collect_garbage()
            for quota in self._all(RESOURCE_QUOTAS):
                pods = self._all(PODS, _place(quota)[0])
                self._record_status(RESOURCE_QUOTAS, quota, status_of_quota(quota, pods))
            moments = [
                *[self._reconcile_replica_set(one, now) for one in self._all(REPLICA_SETS)],
                *[self._reconcile_deployment(one, now) for one in self._all(DEPLOYMENTS)],
            ]
        except StatusError as error:  # somebody was faster: their change wakes the next pass
            if error.code not in {404, 409}:
                raise
            return [now]
        return [moment for moment in moments if moment]

    def _all(self, resource: Resource, namespace: str = "") -> Objects:
        return self._store.look_at(resource, namespace)

    def _reconcile_replica_set(self, replica_set: Json, now: datetime) -> datetime | None:
        namespace, _ = _place(replica_set)
        plan = plan_replica_set(replica_set, self._all(PODS, namespace), now)
        refused = self._create_pods(replica_set, plan.create)
        status = with_replica_failure(plan.status, replica_set, refused, now)
        self._record_status(REPLICA_SETS, replica_set, status)
        for pod in plan.delete:
            delete(self._store, PODS, namespace, pod)
        for pod in plan.release:
            self._patch(PODS, namespace, pod, {"metadata": {"ownerReferences": None}})
        return plan.look_again

    def _create_pods(self, replica_set: Json, count: int) -> str | None:
        """Create pods until one is refused; returns why, None if none was."""
        namespace, _ = _place(replica_set)
        for _ in range(count):
            try:
                self._store.create(PODS, namespace, new_pod(replica_set))
            except StatusError as refused:
                if refused.code != 403:
                    raise
                return refused.message
        return None

    def _reconcile_deployment(self, deployment: Json, now: datetime) -> datetime | None:
        namespace, _ = _place(deployment)
        family = family_of(deployment, self._all(REPLICA_SETS, namespace))
        step = plan_deployment(family)
        self._carry_out(step, namespace)
        if not step.empty:  # status is judged on what is there: the next pass has it
            return now
        self._record_revision(family)
        self._record_status(DEPLOYMENTS, deployment, status_of(family, now))
        return deadline_of(self._store.get(DEPLOYMENTS, *_place(deployment)))

    def _carry_out(self, step: Step, namespace: str) -> None:
        if step.create:
            self._store.create(REPLICA_SETS, namespace, step.create)
        for name, replicas in step.scale.items():
            self._patch(REPLICA_SETS, namespace, name, {"spec": {"replicas": replicas}})
        for name, revision in step.revise.items():
            self._annotate_revision(REPLICA_SETS, namespace, name, revision)
        for name in step.delete:
            delete(self._store, REPLICA_SETS, namespace, name)

    def _record_revision(self, family: Family) -> None:
        if family.new is not None:
            place = _place(family.deployment)
            self._annotate_revision(DEPLOYMENTS, *place, str(family.revision))

    def _annotate_revision(
        self, resource: Resource, namespace: str, name: str, revision: str
    ) -> None:
        patch = {"metadata": {"annotations": {REVISION: revision}}}
        self._patch(resource, namespace, name, patch)

    def _patch(self, resource: Resource, namespace: str, name: str, patch: Json) -> None:
        self._store.modify(resource, namespace, name, lambda item: dict(merge_patch(item, patch)))

    def _record_status(self, resource: Resource, item: Json, status: Json) -> None:
        def with_status(current: Json) -> Json:
            return {**current, "status": status}

        if item["status"] != status:
            self._store.modify(resource, *_place(item), with_status, subresource="status")

    def _collect_garbage(self) -> None:
        everything = self._store.look_at_everything()
        namespaces = {item["metadata"]["name"] for kind, item in everything if kind is NAMESPACES}
        uids = {"", *(item["metadata"]["uid"] for _, item in everything)}
        for resource, item in everything:
            namespace, name = _place(item)
            if resource.namespaced and namespace not in namespaces:
                self._store.remove(resource, namespace, name)
            elif owner_uid(item) not in uids and "deletionTimestamp" not in item["metadata"]:
                delete(self._store, resource, namespace, name)


def _place(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
