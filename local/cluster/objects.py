"""The store: every object of the cluster, its versions, and the history that watches read.

It does what etcd and the API server's registry do together: one counter is the `resourceVersion` of
every object, a precondition on it is checked under the lock, `generation` moves when the spec does,
and a write that changes nothing is no write. What goes in and what comes out are copies, but for
the controllers, who look at everything at every change, and only read.
"""

import copy
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from local.cluster import timestamps
from local.cluster.admission import admitted
from local.cluster.errors import (
    already_exists,
    bad_request,
    conflict,
    expired,
    forbidden,
    not_found,
)
from local.cluster.quotas import refusal
from local.cluster.resources import (
    NAMESPACES,
    PODS,
    RESOURCE_QUOTAS,
    RESOURCES,
    Json,
    Objects,
    Resource,
)

Key = tuple[str, str, str]

_FIXED_METADATA = (
    "uid",
    "creationTimestamp",
    "name",
    "namespace",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "managedFields",
)
CONTROLLERS = "kube-controller-manager"


@dataclass(frozen=True)
class Change:
    """One write: the object before (None: created) and after (None: deleted)."""

    version: int
    resource: Resource
    before: Json | None
    after: Json | None


Changes = list[Change]


class ObjectStore:
    """The objects by resource, namespace and name; safe for threads."""

    def __init__(self, history: int = 1000) -> None:
        self._objects: dict[Key, Json] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._changed = threading.Condition(threading.RLock())
        self.version = 1
        self.closed = False

    def create(
        self,
        resource: Resource,
        namespace: str,
        manifest: Json,
        *,
        dry_run: bool = False,
        manager: str = CONTROLLERS,
    ) -> Json:
        """Store a new object and return it.

        Raises `StatusError` 404 (no such namespace), 409 (exists), 403 (a quota), 400 or 422.
        """
        with self._changed:
            self._require_namespace(resource, namespace)
            wanted = self._with_identity(resource, namespace, manifest)
            name = wanted["metadata"]["name"]
            if (resource.plural, namespace, name) in self._objects:
                raise already_exists(resource, name)
            if resource is PODS:
                self._check_quotas(namespace, name)
            created = admitted(resource, wanted, None)
            if resource.group and "spec" in created:  # workloads count the changes of their spec
                created["metadata"]["generation"] = 1
            _note_manager(created, manager)
            return self._write(resource, None, created, dry_run=dry_run)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object. Raises `StatusError` 404."""
        with self._changed:
            return copy.deepcopy(self._find(resource, namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> tuple[Objects, int]:
        """Return a namespace's objects ('': all), oldest first, and the version of that view."""
        with self._changed:
            found = self.look_at(resource, namespace)
            return [copy.deepcopy(item) for item in found], self.version

    def look_at(self, resource: Resource, namespace: str = "") -> Objects:
        """Return what `list` does, but the stored objects themselves: for who only reads.

        A write replaces an object and never changes it, so what is looked at stays as it was.
        """
        with self._changed:
            return [
                item
                for (plural, place, _), item in self._objects.items()
                if plural == resource.plural and namespace in {"", place}
            ]

    def look_at_everything(self) -> Sequence[tuple[Resource, Json]]:
        """Return what `look_at` does for every resource, all of one moment.

        Listed one after the other, an object could appear without the namespace or the owner that
        was created before it.
        """
        with self._changed:
            return [(kind, item) for kind in RESOURCES.values() for item in self.look_at(kind)]

    def modify(  # noqa: PLR0913 - the three that name an object, and how it is changed
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        *,
        subresource: str = "",
        dry_run: bool = False,
        manager: str = CONTROLLERS,
    ) -> Json:
        """Replace an object by what `change` makes of it and return the new one.

        With `subresource='status'` only the status changes, with 'binding' only the spec; without
        it everything but the status.
        A `resourceVersion` or `uid` in what `change` returns is a precondition.
        Raises `StatusError` 404, 409, 400 or 422.
        """
        with self._changed:
            current = self._find(resource, namespace, name)
            wanted = change(copy.deepcopy(current))
            self._check_preconditions(resource, current, wanted)
            after = _combined(resource, current, wanted, subresource)
            if not subresource:
                after = admitted(resource, after, current)
            if after == current:
                return copy.deepcopy(current)
            if "generation" in current["metadata"] and after["spec"] != current["spec"]:
                after["metadata"]["generation"] += 1
            _note_manager(after, manager)
            return self._write(resource, current, after, dry_run=dry_run)

    def mark_deleted(self, resource: Resource, namespace: str, name: str, grace: int) -> Json:
        """Begin a graceful deletion: the object stays until it is removed."""
        with self._changed:
            current = self._find(resource, namespace, name)
            after = copy.deepcopy(current)
            metadata = after["metadata"]
            if metadata.get("deletionGracePeriodSeconds", grace + 1) <= grace:
                return after
            deadline = timestamps.now() + timedelta(seconds=grace)
            metadata["deletionTimestamp"] = timestamps.to_seconds(deadline)
            metadata["deletionGracePeriodSeconds"] = grace
            return self._write(resource, current, after, dry_run=False)

    def remove(self, resource: Resource, namespace: str, name: str) -> Json:
        """Delete the object at once and return its last state. Raises `StatusError` 404."""
        with self._changed:
            last = copy.deepcopy(self._find(resource, namespace, name))
            del self._objects[resource.plural, self._place(resource, namespace), name]
            self.version += 1
            last["metadata"]["resourceVersion"] = str(self.version)
            self._record(Change(self.version, resource, last, None))
            return copy.deepcopy(last)

    def changes_since(self, version: int, timeout: float) -> Changes:
        """Return the writes after a version; waits up to `timeout` seconds for the first one.

        Raises `StatusError` 410 when that much history is no longer kept.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.version > version or self.closed, timeout)
            oldest = self._history[0].version if self._history else self.version + 1
            if version < oldest - 1:
                raise expired(oldest, version)
            return [change for change in self._history if change.version > version]

    def close(self) -> None:
        """Wake everyone who waits for a change; there will be none."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    @staticmethod
    def _place(resource: Resource, namespace: str) -> str:
        return namespace if resource.namespaced else ""

    def _find(self, resource: Resource, namespace: str, name: str) -> Json:
        try:
            return self._objects[resource.plural, self._place(resource, namespace), name]
        except KeyError:
            raise not_found(resource, name) from None

    def _require_namespace(self, resource: Resource, namespace: str) -> None:
        if resource.namespaced:
            self._find(NAMESPACES, "", namespace)

    def _check_quotas(self, namespace: str, name: str) -> None:
        quotas, pods = self.look_at(RESOURCE_QUOTAS, namespace), self.look_at(PODS, namespace)
        if refused := quotas and refusal(quotas, pods):
            raise forbidden(PODS, name, refused)

    def _with_identity(self, resource: Resource, namespace: str, manifest: Json) -> Json:
        wanted = copy.deepcopy(manifest)
        metadata = wanted.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise bad_request("resource name may not be empty: set name or generateName")
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        if metadata.get("namespace", namespace) != namespace and resource.namespaced:
            raise bad_request(
                f"the namespace of the provided object ({metadata['namespace']}) does not match "
                f"the namespace sent on the request ({namespace})"
            )
        metadata.pop("managedFields", None)
        if metadata.pop("resourceVersion", None):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamps.to_seconds(timestamps.now())
        if "status" in resource.subresources:
            wanted["status"] = {"phase": "Pending"} if resource.plural == "pods" else {}
        return {**wanted, "kind": resource.kind, "apiVersion": resource.api_version}

    def _check_preconditions(self, resource: Resource, current: Json, wanted: Json) -> None:
        here, asked = current["metadata"], wanted.get("metadata") or {}
        name = here["name"]
        if asked.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({asked['name']}) does not match "
                f"the name on the URL ({name})"
            )
        if asked.get("uid", here["uid"]) != here["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {asked['uid']}, "
                f"UID in object meta: {here['uid']}"
            )
            raise conflict(resource, name, why)
        if asked.get("resourceVersion", here["resourceVersion"]) != here["resourceVersion"]:
            raise conflict(resource, name)

    def _write(
        self, resource: Resource, before: Json | None, after: Json, *, dry_run: bool
    ) -> Json:
        if not dry_run:
            metadata = after["metadata"]
            self.version += 1
            metadata["resourceVersion"] = str(self.version)
            place = self._place(resource, metadata.get("namespace", ""))
            self._objects[resource.plural, place, metadata["name"]] = after
            self._record(Change(self.version, resource, before, after))
        return copy.deepcopy(after)

    def _record(self, change: Change) -> None:
        self._history.append(change)
        self._changed.notify_all()


def _note_manager(item: Json, manager: str) -> None:
    """Note who has written, and when last. Which fields those were is not kept (`fieldsV1`)."""
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": item["apiVersion"],
        "time": timestamps.to_seconds(timestamps.now()),
    }
    before = item["metadata"].get("managedFields") or []
    others = [one for one in before if one["manager"] != manager]
    item["metadata"]["managedFields"] = [*others, entry]


def _combined(resource: Resource, current: Json, wanted: Json, subresource: str) -> Json:
    """Return the wanted object with what its writer cannot change taken from the current one."""
    if subresource == "status":
        return {**copy.deepcopy(current), "status": wanted.get("status") or {}}
    if subresource == "binding":
        return {**copy.deepcopy(current), "spec": wanted["spec"]}
    after = {**wanted, "kind": current["kind"], "apiVersion": current["apiVersion"]}
    kept = {key: current["metadata"][key] for key in _FIXED_METADATA if key in current["metadata"]}
    chosen = {
        key: value
        for key, value in (wanted.get("metadata") or {}).items()
        if key not in _FIXED_METADATA
    }
    after["metadata"] = {**chosen, **kept}
    if "status" in resource.subresources:
        after["status"] = copy.deepcopy(current["status"])
    return after
