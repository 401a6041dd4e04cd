"""How many pods carry which stamp."""

import pytest

from keyturn import errors
from keyturn.rollout import inspection
from keyturn.rollout.status import Pod
from tests.conftest import NEW, OLD
from tests.fakes import FakeCluster, FakeSecretStore


def test_the_pods_of_each_service_are_counted_by_their_stamps() -> None:
    cluster = FakeCluster()
    cluster.pods_of = {
        "web": [Pod("a", NEW), Pod("b", NEW), Pod("c", OLD), Pod("d", None)],
        "auth": [Pod("e", NEW, key_delivery="another")],
        "idle": [Pod("debug", None, other_owner="no controller")],
    }
    store = FakeSecretStore({OLD: [], NEW: ["AWSCURRENT"]})
    assert inspection.inspect_pods(store, cluster, ["web", "auth", "idle"]) == {
        "function": "check_rollout",
        "current": NEW,
        "pods": {
            "web": {"current": 2, "others": 1, "unstamped": 1},
            "auth": {"current": 1, "others": 0, "unstamped": 0},
            "idle": {"current": 0, "others": 0, "unstamped": 0},
        },
    }


def test_without_a_current_version_no_stamp_is_current() -> None:
    cluster = FakeCluster()
    cluster.pods_of = {"web": [Pod("a", NEW), Pod("b", None)]}
    found = inspection.count_stamps(cluster, ["web"], None)
    assert found == {"web": {"current": 0, "others": 1, "unstamped": 1}}


def test_a_service_that_is_gone_is_an_error_and_no_answer() -> None:
    store = FakeSecretStore({NEW: ["AWSCURRENT"]})
    with pytest.raises(errors.ServiceNotFound):
        inspection.inspect_pods(store, FakeCluster(), ["web"])
