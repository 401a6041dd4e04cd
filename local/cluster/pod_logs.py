"""The `log` subresource: the API server asks the kubelet of the pod's node, as in Kubernetes."""

from urllib.parse import urlencode

import urllib3

from local.cluster.errors import StatusError, bad_request, not_found
from local.cluster.objects import ObjectStore
from local.cluster.requests import Request
from local.cluster.resources import NODES, PODS, Json

_OPTIONS = ("sinceTime", "limitBytes", "timestamps", "previous")
_TIMEOUT = urllib3.Timeout(connect=2, read=10)


def read_log(store: ObjectStore, kubelets: urllib3.PoolManager, request: Request) -> bytes:
    """Return the lines that the request asks for, as text.

    A pod that has no node yet has an empty log. Raises `StatusError` 400 (no or a wrong container,
    not started yet), 404, 422 (a limit of 0), 500 (no answer from the kubelet).
    """
    pod = store.get(PODS, request.namespace, request.name)
    container = _container(pod, request.query.get("container", ""))
    options = {key: request.query[key] for key in _OPTIONS if request.query.get(key)}
    _check(request)
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        return b""
    address = _kubelet(store.get(NODES, "", node_name))
    path = f"/containerLogs/{request.namespace}/{request.name}/{container}"
    try:
        answer = kubelets.request(
            "GET", f"{address}{path}?{urlencode(options)}", timeout=_TIMEOUT, retries=False
        )
    except urllib3.exceptions.HTTPError:
        raise StatusError(
            500, "InternalError", f"the kubelet of node {node_name} does not answer"
        ) from None
    if answer.status == 404:
        raise not_found(PODS, request.name)
    if answer.status != 200:
        raise bad_request(answer.data.decode(errors="replace").strip())
    return answer.data


def _container(pod: Json, asked: str) -> str:
    name = pod["metadata"]["name"]
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if asked:
        if asked not in containers:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(containers) > 1:
        raise bad_request(
            f"a container name must be specified for pod {name}, "
            f"choose one of: [{' '.join(containers)}]"
        )
    return str(containers[0])


def _check(request: Request) -> None:
    if request.flag("follow"):
        raise bad_request("follow is not served: ask again with sinceTime")
    if unserved := request.query.keys() & {"sinceSeconds", "tailLines"}:
        raise bad_request(f"{', '.join(sorted(unserved))}: not served: use sinceTime")
    if request.number("limitBytes") == 0:
        raise _invalid(request, "limitBytes: Invalid value: 0: must be greater than 0")


def _invalid(request: Request, why: str) -> StatusError:
    return StatusError(422, "Invalid", f'PodLogOptions "{request.name}" is invalid: {why}', {})


def _kubelet(node: Json) -> str:
    address = next(
        one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
    )
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    return f"https://{address}:{port}"
