"""Argo Rollouts' Rollout (argoproj.io/v1alpha1): its restart, and the meaning of its status. Pure.

A patch of a Rollout's pod template starts a canary or blue-green update. So it is restarted by
`spec.restartAt`: its controller evicts every pod that was created before that moment, also during
an update. The template stays as it is, so its pods have no annotations. The annotations are on the
Rollout's own metadata, with the requested moment, and count for a pod that was created at that
moment or later. The controller compares the same two times.

Source: argo-rollouts, `rollout/restart.go`, `utils/rollout/rolloututil.go`, and its guide
(`docs/features/restart.md`).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keyturn.adapters.kubernetes import objects
from keyturn.rollout.pod_annotations import KEY_DELIVERY, KEY_VERSION
from keyturn.rollout.restart import RESTARTED_AT
from keyturn.rollout.status import Pod, Workload
from keyturn.run.times import parse_timestamp

if TYPE_CHECKING:
    from keyturn.settings.loading import PodKeySettings

API = "argoproj.io/v1alpha1"
KIND = "Rollout"
RESTART_AT = "keyturn/session-key-restart-at"
WHOLE_SECONDS = "%Y-%m-%dT%H:%M:%SZ"  # as the controller writes it back: it compares for equality


def restart_patch(annotations: Mapping[str, str], resource_version: str) -> dict[str, Any]:
    """The JSON merge patch of a restart: a custom resource takes no strategic one."""
    at = parse_timestamp(annotations[RESTARTED_AT]).astimezone(UTC).strftime(WHOLE_SECONDS)
    stamp = {name: text for name, text in annotations.items() if name != RESTARTED_AT}
    return {
        "metadata": {"resourceVersion": resource_version, "annotations": {**stamp, RESTART_AT: at}},
        "spec": {"restartAt": at},
    }


def has_template(rollout: objects.Object) -> bool:
    """Whether the pods' template and selector are in the Rollout itself (no `workloadRef`)."""
    spec = rollout["spec"]
    return bool(spec.get("template") and spec.get("selector") and not spec.get("workloadRef"))


def workload(
    rollout: objects.Object,
    delivery: "PodKeySettings | None",
    *,
    restarts_itself: bool | None = False,
) -> Workload:
    """A Rollout that contains its pod template. A pause stops an update, but not a restart.

    `updated` is every pod: a restart leaves the template. The counters and conditions of a restart
    are those of its status; a condition from before the restart does not apply to it.
    """
    metadata, spec, status = rollout["metadata"], rollout["spec"], rollout.get("status", {})
    asked, restarted = _asked_at(rollout), _moment(status.get("restartedAt"))
    restart_at = _moment(spec.get("restartAt"))
    stands = asked is not None and restart_at is not None and restart_at >= asked
    notes = metadata.get("annotations") or {}
    desired = spec.get("replicas", 1)
    return Workload(
        name=metadata["name"],
        kind="Rollout",
        generation=metadata.get("generation", 0),
        observed_generation=_observed_generation(rollout),
        paused=False,
        desired=desired,
        total=status.get("replicas", 0),
        updated=min(status.get("replicas", 0), desired),
        available=status.get("availableReplicas", 0),
        key_version=notes.get(KEY_VERSION) if stands else None,
        progress_reason=_progress_reason(status, asked),
        refers_to_key=_takes_key(spec["template"]["spec"], delivery),
        keeps_old=_keeps_old(status),
        settled=asked is not None and restarted is not None and restarted >= asked,
        restarts_itself=restarts_itself,
        key_delivery=notes.get(KEY_DELIVERY) if stands else None,
        resource_version=metadata.get("resourceVersion", ""),
    )


def pod(rollout: objects.Object, item: objects.Object) -> Pod:
    """A Pod of a Rollout, with the annotations of the restart that it was created after."""
    seen, asked = objects.pod(item, rollout), _asked_at(rollout)
    notes = rollout["metadata"].get("annotations") or {}
    if asked is None or seen.created is None or seen.created < asked:
        notes = {}
    return replace(seen, key_version=notes.get(KEY_VERSION), key_delivery=notes.get(KEY_DELIVERY))


def _asked_at(rollout: objects.Object) -> datetime | None:
    """The moment of the last restart that `restart_patch` requested."""
    text = (rollout["metadata"].get("annotations") or {}).get(RESTART_AT, "")
    try:
        return datetime.strptime(text, WHOLE_SECONDS).replace(tzinfo=UTC)
    except ValueError:
        return None


def _observed_generation(rollout: objects.Object) -> int:
    """`observedGeneration` is text: a number, or before v0.10 a hash, which proves nothing."""
    text = rollout.get("status", {}).get("observedGeneration") or "0"
    return int(text) if text.isdecimal() else int(rollout["metadata"].get("generation", 0))


def _takes_key(pod_spec: objects.Object, delivery: "PodKeySettings | None") -> bool:
    if delivery is None or not delivery.reads_kubernetes_secret:
        return True
    return objects.refers_to_key(pod_spec, delivery)


def _progress_reason(status: objects.Object, asked: datetime | None) -> str | None:
    progressing = objects.condition(status, "Progressing")
    updated = _moment(progressing.get("lastUpdateTime"))
    if asked is None or updated is None or updated < asked:
        return None
    return progressing.get("reason")


def _keeps_old(status: objects.Object) -> str | None:
    """Why its controller would restart no pod: it ignores a specification that it refuses."""
    invalid = objects.condition(status, "InvalidSpec").get("status", "False") != "False"
    return "an invalid specification (condition InvalidSpec)" if invalid else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
