"""An exposed key never comes back: each way to restore it is refused, and people hear of it."""

import json
import uuid
from collections.abc import Iterator

import pytest

from keyturn.secret import exposure, key
from tests.e2e.site import Site


@pytest.fixture
def exposed(site: Site) -> Iterator[str]:
    """A version that an emergency has replaced; the one that replaced it is current afterwards."""
    version = site.current()
    ended = site.rotate_to_end(ClientRequestToken=f"emergency-{uuid.uuid4()}")
    assert ended.output["outcome"] == "succeeded"
    yield version
    good = ended.output["rotationId"]
    if site.current() != good:
        move(site, good)
    assert site.carry(good).output["outcome"] == "succeeded"


def move(site: Site, version: str) -> None:
    """Make a version current by hand, as a person in BreakGlassPrincipals may."""
    site.stack.cloud.client("secretsmanager").update_secret_version_stage(
        SecretId=site.stack.secret_arn,
        VersionStage="AWSCURRENT",
        MoveToVersionId=version,
        RemoveFromVersionId=site.current(),
    )


def test_promise_3_an_exposed_key_never_comes_back(site: Site, exposed: str) -> None:
    good, held = site.current(), site.delivered()
    old = site.document(exposed)
    marks = {mark.version: mark for mark in exposure.exposed_versions(site.tags())}
    assert marks[exposed].fingerprint == key.parse_document(json.dumps(old)).key.fingerprint
    assert "AWSPREVIOUS" not in site.stack.labels().get(exposed, [])
    with site.unwatched():
        # By its label, and a run that is started for it.
        move(site, exposed)
        carried = site.carry(exposed)
        assert (carried.status, carried.error) == ("FAILED", "KeyExposed")
        assert site.delivered() == held
        move(site, good)
        # By its value, under an id that nobody has marked.
        copy = site.put_value(json.dumps(old))
        carried = site.carry(copy)
        assert (carried.status, carried.error) == ("FAILED", "KeyExposed")
        assert site.delivered() == held
    assert set(site.keys_in_use()) == {held}


def test_people_hear_of_an_exposed_version_that_is_made_current(site: Site, exposed: str) -> None:
    move(site, exposed)

    def told() -> bool:
        return any(exposed in mail["Message"] and "CRITICAL" in mail["Subject"]
                   for mail in site.mailboxes.messages())  # fmt: skip

    site.stack.wait(told, "people are told")
    assert site.delivered() != site.document(exposed)[key.FIELD]
