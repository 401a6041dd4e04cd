"""Has a cluster serve a custom resource: on a real control plane by a CustomResourceDefinition."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3

from local.cluster.certificates import client_context
from local.cluster.cluster import Cluster
from local.cluster.errors import StatusError
from local.cluster.resources import RESOURCES, Json, Resource
from local.cluster.running_cluster import RunningCluster

DEFINITIONS = Resource(
    "customresourcedefinitions",
    "CustomResourceDefinition",
    group="apiextensions.k8s.io",
    namespaced=False,
)
SERVED_SECONDS = 30.0
ANYTHING: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""The schema of a resource whose objects are kept as they are sent."""


class CustomResourcesLost(Exception):
    """The API server cannot have custom resources; the message says why and what to do."""

    def __init__(self) -> None:
        super().__init__(
            "this kube-apiserver ends at its first custom resource: it is older than Kubernetes"
            " 1.24 and built with Go 1.18 or later. Take Kubernetes 1.24 or later, a build with"
            " reflect2 1.0.2 that says so in its version (+reflect2.1.0.2), or the emulated"
            " cluster."
        )


@contextmanager
def installed(
    cluster: RunningCluster, resource: Resource, schema: Json = ANYTHING
) -> Iterator[None]:
    """Have the cluster serve a custom resource, in one version, for a while; see `install`."""
    remove = install(cluster, resource, schema)
    try:
        yield
    finally:
        remove()


def install(
    cluster: RunningCluster, resource: Resource, schema: Json = ANYTHING
) -> Callable[[], None]:
    """Have the cluster serve a custom resource; returns what ends that.

    `schema` is OpenAPI's, which a real API server prunes and checks by; the emulated one keeps
    objects as they are sent. Raises CustomResourcesLost, before anything is asked of an API
    server that would end.
    """
    if isinstance(cluster, Cluster):
        return _add_to_table(resource)
    if loses_custom_resources(version_of(cluster)):
        raise CustomResourcesLost
    cluster.admin.create(DEFINITIONS, "", _definition(resource, schema))
    _wait(cluster, resource, served=True)

    def remove() -> None:
        cluster.admin.delete(DEFINITIONS, "", resource.qualified_plural)
        _wait(cluster, resource, served=False)

    return remove


def version_of(cluster: RunningCluster) -> Json:
    """What a real API server says of itself at `/version`."""
    with urllib3.PoolManager(ssl_context=client_context(cluster.ca_pem)) as pool:
        found: Json = pool.request("GET", f"{cluster.url}/version", timeout=5).json()
    return found


def loses_custom_resources(version: Json) -> bool:
    """Whether an API server of that `/version` ends at its first custom resource. Pure.

    Before Kubernetes 1.24 its JSON library (reflect2 before 1.0.2) iterates maps by an inner
    function of Go that Go 1.18 changed. A build of an older Kubernetes with the newer library says
    so in its version.
    """
    if "+reflect2." in version["gitVersion"]:
        return False
    kubernetes = re.match(r"v1\.(\d+)\.", version["gitVersion"])
    go = re.match(r"go1\.(\d+)", version["goVersion"])
    return bool(kubernetes and go and int(kubernetes[1]) < 24 and int(go[1]) >= 18)


def _add_to_table(resource: Resource) -> Callable[[], None]:
    """Have it served by the emulated server's own table, as one more line."""
    key = (resource.group, resource.version, resource.plural)
    before = RESOURCES.get(key)
    RESOURCES[key] = resource

    def remove() -> None:
        del RESOURCES[key]
        if before:
            RESOURCES[key] = before

    return remove


def _definition(resource: Resource, schema: Json) -> Json:
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    kind = resource.kind
    names = {"plural": resource.plural, "singular": kind.lower(), "kind": kind}
    spec = {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": resource.qualified_plural}, "spec": spec}


def _wait(cluster: RunningCluster, resource: Resource, *, served: bool) -> None:
    deadline = time.monotonic() + SERVED_SECONDS
    while _is_served(cluster, resource) != served:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{resource.qualified_plural}: served is not {served}")
        time.sleep(0.05)


def _is_served(cluster: RunningCluster, resource: Resource) -> bool:
    try:
        cluster.admin.list(resource)
    except StatusError as error:
        if error.code != 404:
            raise
        return False
    return True
