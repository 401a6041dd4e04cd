"""What a Deployment needs next: one step of its rollout, decided from what is there. Pure.

A rolling update never has more than `replicas + maxSurge` pods that do not terminate, and never
fewer than `replicas - maxUnavailable` available ones. Source: Kubernetes, `pkg/controller/
deployment` (`rolling.go`, `sync.go`). One thing differs: a change of `replicas` in
the middle of a rollout is not spread over old and new pods in proportion, the rollout just goes on
towards the new number.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property

from local.cluster.replica_sets import controller_reference
from local.cluster.resources import Json, Objects, owner_uid

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


@dataclass(frozen=True)
class Bounds:
    """How far a rollout may depart from the wanted number of pods."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def at_most(self) -> int:
        """The most pods there may be."""
        return self.replicas + self.surge

    @property
    def at_least(self) -> int:
        """The fewest available pods there may be."""
        return self.replicas - self.unavailable


@dataclass(frozen=True)
class Step:
    """What to do now; whatever is empty is not to be done."""

    create: Json | None = None
    scale: dict[str, int] = field(default_factory=dict)
    revise: dict[str, str] = field(default_factory=dict)
    delete: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.create or self.scale or self.revise or self.delete)


@dataclass(frozen=True)
class Family:
    """A deployment with the replica sets that are its own, oldest first."""

    deployment: Json
    replica_sets: Objects

    @cached_property
    def new(self) -> Json | None:
        """The replica set of the template as it is now, None if there is none yet."""
        name = new_name(self.deployment)
        return next((one for one in self.replica_sets if one["metadata"]["name"] == name), None)

    @cached_property
    def old(self) -> Objects:
        """The replica sets of other templates."""
        return [one for one in self.replica_sets if one is not self.new]

    @property
    def revision(self) -> int:
        """The revision that the template as it is now has, or is to get."""
        highest = max((revision_of(one) for one in self.old), default=0)
        return max(highest + 1, revision_of(self.new) if self.new else 0)


def family_of(deployment: Json, replica_sets: Objects) -> Family:
    """Pick the deployment's own replica sets, oldest first."""
    uid = deployment["metadata"]["uid"]
    own = [one for one in replica_sets if owner_uid(one) == uid]
    return Family(deployment, sorted(own, key=revision_of))


def revision_of(item: Json) -> int:
    """Return the revision that an object is annotated with, 0 if none."""
    return int((item["metadata"].get("annotations") or {}).get(REVISION, 0))


def template_hash(deployment: Json) -> str:
    """Return the hash that tells this pod template from others."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def new_name(deployment: Json) -> str:
    """Return the name of the replica set of the template as it is now."""
    return f"{deployment['metadata']['name']}-{template_hash(deployment)}"


def bounds_of(deployment: Json) -> Bounds:
    """Return the deployment's bounds; percentages round up for surge, down for unavailable."""
    spec = deployment["spec"]
    replicas = int(spec["replicas"])
    rolling = spec["strategy"]["rollingUpdate"]
    surge = _count(rolling["maxSurge"], replicas, round_up=True)
    unavailable = _count(rolling["maxUnavailable"], replicas, round_up=False)
    if surge == 0 and unavailable == 0:  # rounding down must not stop every rollout
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def _count(value: int | str, replicas: int, *, round_up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * replicas / 100
    return math.ceil(share) if round_up else math.floor(share)


def plan_deployment(family: Family) -> Step:
    """Decide the next step from the deployment and its replica sets."""
    spec, bounds = family.deployment["spec"], bounds_of(family.deployment)
    if spec.get("paused"):
        return _scaled_while_paused(family, bounds)
    if family.new is None:
        return Step(create=_new_replica_set(family, bounds))
    return _rolled(family, family.new, bounds)


def _rolled(family: Family, new: Json, bounds: Bounds) -> Step:
    """First more new pods, then fewer old ones."""
    name = new["metadata"]["name"]
    if revision_of(new) != family.revision:
        return Step(revise={name: str(family.revision)})
    up = _new_replicas(family, new, bounds)
    if up != new["spec"]["replicas"]:
        return Step(scale={name: up})
    down = _old_replicas(family, new, bounds)
    return Step(scale=down) if down else Step(delete=_forgotten(family))


def _scaled_while_paused(family: Family, bounds: Bounds) -> Step:
    """Return a paused deployment starts no rollout, but follows its `replicas`."""
    active = [one for one in family.replica_sets if one["spec"]["replicas"]]
    alone = active[0] if len(active) == 1 else family.new if not active else None
    if alone is None or alone["spec"]["replicas"] == bounds.replicas:
        return Step()
    return Step(scale={alone["metadata"]["name"]: bounds.replicas})


def _total(replica_sets: Objects, part: str, field_name: str) -> int:
    return sum(int(one[part].get(field_name, 0)) for one in replica_sets)


def _new_replicas(family: Family, new: Json, bounds: Bounds) -> int:
    """How many pods the new replica set may have now."""
    current = int(new["spec"]["replicas"])
    if current > bounds.replicas:
        return bounds.replicas
    room = bounds.at_most - _total(family.replica_sets, "spec", "replicas")
    return current + max(0, min(room, bounds.replicas - current))


def _old_replicas(family: Family, new: Json, bounds: Bounds) -> dict[str, int]:
    """How many pods each old replica set is to keep, where that is fewer than now.

    Pods that are not available go first: they hold nothing up.
    """
    pods = _total(family.replica_sets, "spec", "replicas")
    not_yet = new["spec"]["replicas"] - int(new["status"].get("availableReplicas", 0))
    spare = pods - bounds.at_least - not_yet
    keep = {one["metadata"]["name"]: int(one["spec"]["replicas"]) for one in family.old}
    for one in family.old:
        name = one["metadata"]["name"]
        unhealthy = keep[name] - int(one["status"].get("availableReplicas", 0))
        gone = max(0, min(unhealthy, spare))
        keep[name], spare = keep[name] - gone, spare - gone
    spare = min(spare, _total(family.replica_sets, "status", "availableReplicas") - bounds.at_least)
    for one in family.old:
        name = one["metadata"]["name"]
        gone = max(0, min(keep[name], spare))
        keep[name], spare = keep[name] - gone, spare - gone
    now = {one["metadata"]["name"]: one["spec"]["replicas"] for one in family.old}
    return {name: count for name, count in keep.items() if count != now[name]}


def _forgotten(family: Family) -> tuple[str, ...]:
    """Return the old replica sets beyond the history that the deployment keeps."""
    idle = [
        one["metadata"]["name"]
        for one in family.old
        if not one["spec"]["replicas"] and not one["status"].get("replicas")
    ]
    return tuple(idle[: max(0, len(idle) - int(family.deployment["spec"]["revisionHistoryLimit"]))])


def _new_replica_set(family: Family, bounds: Bounds) -> Json:
    deployment, label = family.deployment, {HASH: template_hash(family.deployment)}
    spec = deployment["spec"]
    template, metadata = spec["template"], spec["template"]["metadata"]
    room = bounds.at_most - _total(family.old, "spec", "replicas")
    labels = {**metadata["labels"], **label}
    return {
        "metadata": {
            "name": new_name(deployment),
            "labels": labels,
            "annotations": {REVISION: str(family.revision)},
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": {
            "replicas": max(0, min(room, bounds.replicas)),
            "minReadySeconds": int(spec.get("minReadySeconds", 0)),
            "selector": {"matchLabels": {**spec["selector"]["matchLabels"], **label}},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
