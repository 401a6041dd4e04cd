"""An emergency is held up by nothing: no check, channel, service or function that does not answer.

Nothing is timed here: what must not be waited for stays silent until the thing has happened.
"""

import collections
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from werkzeug.wrappers import Response

from local import hostile_checks, lambda_api
from local.functions import Functions
from tests.choice import cases
from tests.e2e.interruptions import PREFLIGHT
from tests.e2e.site import Site, running_site

SESSIONS = 500
CALLS_REFUSED = 2
IDLE = {
    "Type": "Server",
    "Message": "The function is inactive and its VPC connection is no longer available.",
}


def entered(site: Site, rotation_id: str, state: str) -> bool:
    """Whether a run has come to a state."""
    return any(
        (event.get("stateEnteredEventDetails") or {}).get("name") == state
        for event in site.history(rotation_id)
    )


def test_promise_2_an_emergency_is_held_up_by_nothing() -> None:
    given = hostile_checks.options()["parameters"]
    with running_site(parameters=given) as site:
        site.add_sessions(SESSIONS)
        before = site.snapshot()
        hostile_checks.begin(site.stack)
        site.interruptions.refuse(PREFLIGHT, "get secrets", times=float("inf"))
        rotation_id = site.rotate(ClientRequestToken=f"emergency-{uuid.uuid4()}")
        site.promoted(rotation_id)
        site.stack.wait(
            lambda: entered(site, rotation_id, "ConfirmDelivery"), "every service is restarted"
        )
        # Health drips, the login hangs and every channel is silent to this moment.
        now = site.snapshot()
        assert now.current == rotation_id
        assert now.delivered != before.delivered
        assert not set(before.pods.values()) & set(now.pods.values())
        assert not before.sessions & now.sessions
        hostile_checks.end(site.stack)
        ended = site.end(rotation_id)
        assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "succeeded")
        record = site.record(rotation_id)
        assert record["timings"]["secondsToPromotion"] >= 0
        assert any("ClusterUnavailable: deliver_key" in said for said in record["failedChecks"])


@pytest.mark.parametrize("kind", cases(["emergency", "planned"], {"emergency"}))
def test_functions_that_have_been_idle_in_their_vpc_for_weeks_are_waited_for(
    site: Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first calls of each function are refused as Lambda refuses those of an inactive one."""
    calls: collections.Counter[str] = collections.Counter()
    invoke = lambda_api.invoke

    def inactive(
        functions: Functions, name: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        waits = headers.get("x-amz-invocation-type", "RequestResponse") == "RequestResponse"
        if waits and "rotation" in json.loads(body) and "attempt=1" in _attempt(headers):
            calls[name] += 1
            if calls[name] <= CALLS_REFUSED:
                return lambda_api._refusal(502, "ResourceNotReadyException", IDLE)
        return invoke(functions, name, headers, body)

    monkeypatch.setattr(lambda_api, "invoke", inactive)
    before = site.snapshot()
    ended = site.rotate_to_end(ClientRequestToken=f"{kind}-{uuid.uuid4()}")
    assert (ended.status, ended.output["outcome"]) == ("SUCCEEDED", "succeeded")
    assert not set(before.pods.values()) & set(site.snapshot().pods.values())
    assert len(calls) >= 6
    assert min(calls.values()) > CALLS_REFUSED


def _attempt(headers: Mapping[str, str]) -> str:
    """The interpreter's own SDK repeats a 502; what the state machine asks for is its first try."""
    return str(headers.get("amz-sdk-request", "attempt=1"))


def test_an_emergency_restarts_the_other_services_where_one_cannot_be(site: Site) -> None:
    image = {"image": "keyturn.local/web-console:missing"}
    old = set(site.pods().values())
    site.interruptions.before(
        "RestartService", "DescribeSecret", lambda: site.patch_container("web-console", image)
    )
    ended: Any = site.rotate_to_end(ClientRequestToken=f"emergency-{uuid.uuid4()}")
    record = site.record(site.rotations[-1])
    site.patch_container("web-console", {"image": "keyturn.local/web-console:1"})
    assert ended.status == "FAILED"
    assert (record["failure"]["step"], record["failure"]["error"]) == (
        "RestartServices",
        "RolloutFailed",
    )
    assert [service["name"] for service in record["services"]] == ["auth-service"]
    auth = {pod["metadata"]["uid"] for pod in site.stack.pods("auth-service")}
    assert auth
    assert not auth & old
    assert record["sessions"]["claim"]
