"""ResourceQuotas: how many pods a namespace may have. Pure.

Source: Kubernetes, `plugin/pkg/admission/resourcequota` and `pkg/quota/v1/evaluator/core/pods.go`.
Only `pods` is enforced. A pod that ends counts until it is gone; one that has ended does not.
"""

from local.cluster.resources import Json, Objects


def used_pods(pods: Objects) -> int:
    """How many pods of a namespace count."""
    return sum(pod["status"].get("phase") not in {"Succeeded", "Failed"} for pod in pods)


def status_of_quota(quota: Json, pods: Objects) -> Json:
    """The status that the quota's controller records."""
    hard = quota["spec"].get("hard") or {}
    return {"hard": hard, "used": {"pods": str(used_pods(pods))} if "pods" in hard else {}}


def refusal(quotas: Objects, pods: Objects) -> str | None:
    """Why one pod more may not be created, if so; the wording is Kubernetes' own."""
    used = used_pods(pods)
    for quota in quotas:
        limit = (quota["spec"].get("hard") or {}).get("pods")
        if limit is not None and used >= int(limit):
            counts = f"requested: pods=1, used: pods={used}, limited: pods={limit}"
            return f"exceeded quota: {quota['metadata']['name']}, {counts}"
    return None
