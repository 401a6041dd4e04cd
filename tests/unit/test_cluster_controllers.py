"""The controllers of the emulated cluster, on a store without an API server."""

import threading

from local.cluster.controllers import Controllers
from local.cluster.objects import ObjectStore
from local.cluster.resources import DEPLOYMENTS, NAMESPACES, REPLICA_SETS, Objects, Resource
from tests.contract.manifests import container, deployment
from tests.contract.waiting import until

BLOCKED_SECONDS = 0.2


class InterruptedStore(ObjectStore):
    """While its namespaces are listed, another thread creates one, with a Deployment in it."""

    def __init__(self) -> None:
        super().__init__()
        self.creating = threading.Thread(target=self._create)

    def look_at(self, resource: Resource, namespace: str = "") -> Objects:
        found = super().look_at(resource, namespace)
        if resource is NAMESPACES and self.creating.ident is None:
            self.creating.start()
            self.creating.join(BLOCKED_SECONDS)  # over at once, unless the lister holds the lock
        return found

    def _create(self) -> None:
        self.create(NAMESPACES, "", {"metadata": {"name": "new"}})
        self.create(DEPLOYMENTS, "new", deployment("web", container(), replicas=0))


def test_an_object_created_while_the_collector_lists_is_kept() -> None:
    store = InterruptedStore()
    controllers = Controllers(store)
    try:
        until(lambda: len(store.list(REPLICA_SETS, "new")[0]), lambda number: number == 1)
    finally:
        store.close()
        controllers.close()
