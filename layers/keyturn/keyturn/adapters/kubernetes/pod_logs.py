"""The logs of a pod: which exist, which container gets the key, the report of Kubernetes. Pure.

Which container gets the key itself: if the pods read a Kubernetes Secret, each container of the pod
template that refers to it, init containers included. If nothing in the template refers to the key
(Vault, Secrets Manager), the template's only container; of several, the one that the annotation
`kubectl.kubernetes.io/default-container` names; without it all but the well-known sidecars. A
container that a webhook injects into the pods is in no template, and so never counts.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keyturn.adapters.kubernetes import objects
from keyturn.validation.pod_logs import Line

if TYPE_CHECKING:
    from keyturn.settings.loading import PodKeySettings

Object = Mapping[str, Any]
# A started container: its name, whether each of its logs is the previous one, what is reported.
Started = tuple[str, list[bool], str]

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
# Proxies and web servers, whose access logs hold visitors' input, agents, and shippers.
SIDECARS = frozenset(
    {
        "aws-otel-collector",
        "caddy",
        "cloud-sql-proxy",
        "cloudsql-proxy",
        "datadog-agent",
        "envoy",
        "filebeat",
        "fluent-bit",
        "fluentd",
        "haproxy",
        "httpd",
        "istio-proxy",
        "linkerd-proxy",
        "nginx",
        "oauth2-proxy",
        "opentelemetry-collector",
        "otel-collector",
        "promtail",
        "traefik",
        "vault-agent",
    }
)


def containers_with_key(workload: Object, delivery: "PodKeySettings | None") -> set[str]:
    """The names of the containers of a workload's pods that get the key themselves."""
    template = workload["spec"]["template"]
    spec = template["spec"]
    if delivery is not None and delivery.reads_kubernetes_secret:
        return objects.containers_that_refer(spec, delivery)
    names = {container["name"] for container in spec.get("containers", ())}
    if len(names) == 1:
        return names
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    chosen = annotations.get(DEFAULT_CONTAINER)
    return names & {chosen} if chosen else names - SIDECARS


def started_containers(pod: Object, since: datetime) -> Iterator[Started]:
    """Every started container of a pod: its name, its logs, the report of Kubernetes.

    The logs are whether each is the `previous` one. While a crashed container waits to start again,
    the kubelet's current log is that of the crash as well (`validateContainerLogStatus`). It is
    requested as the previous one, which it stays if the container starts meanwhile.
    """
    for status in objects.container_statuses(pod):
        current = [] if "waiting" in status.get("state", {}) else [False]
        previous = [True] if status.get("restartCount", 0) else []
        if logs := current + previous:
            yield status["name"], logs, _trouble(pod, status, since)


def log_line(text: str) -> Line:
    """A log line of the API with `timestamps=true`: RFC 3339 with nanoseconds, a space."""
    stamp, _, rest = text.partition(" ")
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp)
    if not match:
        return Line(None, text)
    fraction = (match[2] or ".0")[:7]
    try:
        at = datetime.fromisoformat(f"{match[1]}{fraction.ljust(7, '0')}{match[3]}")
    except ValueError:  # the form of a timestamp, but no time: the pod's own text
        return Line(None, text)
    return Line(at, rest)


def _trouble(pod: Object, status: Object, since: datetime) -> str:
    """The report of Kubernetes about a container since a moment, in whole seconds.

    A terminating pod is not ready either, which proves nothing about its key.
    """
    code = (status.get("state", {}).get("terminated") or {}).get("exitCode", 0)
    ended = objects.ended_at(status)
    in_time = ended is None or ended >= since.replace(microsecond=0)
    if in_time and (code or status.get("restartCount", 0)):
        return "the container crashed"
    ready = objects.condition(pod.get("status", {}), "Ready").get("status") == "True"
    if not ready and "deletionTimestamp" not in pod["metadata"]:
        return "its pod is not ready"
    return ""
