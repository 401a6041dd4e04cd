"""The restart of one service, and the looks at it, as the state machine has them made."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from keyturn.rollout import restart as rollout_restart
from keyturn.run.ledger import RestartServiceEntry
from keyturn.run.times import format_timestamp, now
from tests.conftest import STAMP
from tests.contract.cluster_under_test import ClusterUnderTest
from tests.contract.rotation_adapters import Adapters, adapters_of, still_on_top
from tests.contract.waiting import insist, until

LIMIT = timedelta(minutes=5)


class Restarting:
    """What a rotation knows of a service that it restarts; its kind is a subclass's."""

    service: ClassVar[str]

    def __init__(self, cluster: ClusterUnderTest, namespace: str) -> None:
        self.adapters: Adapters = adapters_of(cluster, namespace)
        self.stamp = STAMP
        self.ledger: Any = {}
        self.pods_before: dict[str, str] = {}
        self.pods_after: dict[str, str] = {}
        self._cluster, self._namespace = cluster, namespace

    def restart(self) -> RestartServiceEntry:
        """Restart it, whatever its controller writes in between."""
        return insist(lambda: self.restart_once(still_on_top))

    def restart_once(self, confirm: Callable[[], None]) -> RestartServiceEntry:
        begun, cluster = now(), self.adapters.cluster
        restarted = rollout_restart.restart_workload(
            cluster, self.stamp, self.service, begun, confirm
        )
        self.ledger["start"] = {
            "startedAt": format_timestamp(begun),
            "services": [self.service],
            "pollSeconds": 1,
        }
        self.ledger["restart_service"] = {**restarted.entry, "startedAt": format_timestamp(begun)}
        self.pods_before = restarted.pods
        assert restarted.entry["podsBefore"] == len(restarted.pods)
        return restarted.entry

    def look(self, *, after: timedelta = timedelta()) -> dict[str, Any]:
        cluster, at = self.adapters.cluster, now() + after
        look = rollout_restart.check_rollout(cluster, self.stamp, self.ledger, LIMIT, at)
        self.ledger["check_rollout"], self.pods_after = look.entry, look.pods
        return dict(look.entry)

    def look_until_done(self) -> dict[str, Any]:
        return until(self.look, lambda seen: seen["state"] == "done")
