"""GuardDuty's part: findings about the local console, and what came of them."""

import copy
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from keyturn.secret.finding_history import started_rotations
from local import console
from local.aws import ACCOUNT, REGION
from local.stack import CLUSTER_NAME
from tests.e2e import outages
from tests.e2e.site import Site
from tests.project import event

FINDING_TOKEN = "emergency-gd-"
Event = dict[str, Any]


def finding(*, ago: timedelta = timedelta(), cluster: str = CLUSTER_NAME) -> Event:
    """A new finding: somebody read the secrets of our namespace, now or a while ago."""
    found = copy.deepcopy(event("respond_to_finding"))
    detail = found["detail"]
    detail.update(id=uuid.uuid4().hex, accountId=ACCOUNT, region=REGION)
    detail["resource"]["eksClusterDetails"].update(name=cluster, arn=f"arn:aws:eks:::{cluster}")
    detail["service"]["action"]["kubernetesApiCallAction"]["namespace"] = console.NAMESPACE
    detail["service"]["eventLastSeen"] = (datetime.now(UTC) - ago).isoformat()
    return found


def about_the_key_before(site: Site) -> Event:
    """A finding whose last activity was just before the current version was made."""
    client = site.stack.cloud.client("secretsmanager")
    versions = client.list_secret_version_ids(SecretId=site.stack.secret_arn)["Versions"]
    (made,) = (one["CreatedDate"] for one in versions if one["VersionId"] == site.current())
    found = finding()
    seen = made - timedelta(milliseconds=1)
    found["detail"]["service"]["eventLastSeen"] = seen.isoformat()
    return found


def put(site: Site, found: Event, *, sent: datetime | None = None) -> None:
    """Have GuardDuty put a finding on the bus of our account, now or a while ago."""
    entry: dict[str, Any] = {
        "Time": sent or datetime.now(UTC),
        "Source": found["source"],
        "DetailType": found["detail-type"],
        "Detail": json.dumps(found["detail"]),
    }
    site.stack.cloud.client("events").put_events(Entries=[entry])


def answers(site: Site, found: Event) -> list[dict[str, Any]]:
    """What the function has made of each delivery of a finding so far, from its log."""
    lines = [line.partition(" ")[2] for line in site.log if found["detail"]["id"] in line]
    told = [json.loads(line) for line in lines]
    return [one["facts"] for one in told if one.get("step") == "RespondToFinding"]


def answered(site: Site, found: Event, times: int = 1) -> list[dict[str, Any]]:
    """Wait until a finding was answered so many times."""
    what = f"a finding is answered {times} times"
    site.stack.wait(lambda: len(answers(site, found)) >= times, what)
    return answers(site, found)


def started(site: Site) -> set[str]:
    """The tokens that are recorded to be findings'."""
    return {one.token for one in started_rotations(site.tags())}


def rotations(site: Site) -> list[str]:
    """The versions that findings have made, those without labels included."""
    client = site.stack.cloud.client("secretsmanager")
    listed = client.list_secret_version_ids(
        SecretId=site.stack.secret_arn, IncludeDeprecated=True, MaxResults=100
    )
    found = {one["VersionId"] for one in listed["Versions"]} | site.stack.labels().keys()
    return sorted(one for one in found if one.startswith(FINDING_TOKEN))


def overtake(site: Site) -> tuple[str, dict[str, Any]]:
    """A rotation that cannot go on, and a finding; returns the rotation and the answer."""
    with outages.no_pod_behind_a_service(site):
        blocking = site.rotate()
        site.stack.wait(lambda: bool(site.report(blocking).retry_at), "a rotation is stuck")
        found = finding()
        put(site, found)
        (answer,) = answered(site, found)
    site.promoted(answer["rotationId"])
    assert site.end(answer["rotationId"]).status == "SUCCEEDED"
    return blocking, answer
