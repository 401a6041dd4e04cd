"""No key leaves the two places that may hold it, whatever a rotation comes to.

Every form in which a key might be written down is searched for, in whatever left the functions
since the stack was started: by a run that was undone, an emergency that failed and was run again,
and refused rotations.
"""

import base64
import contextlib
import json
import secrets

import pytest

from keyturn.secret import key
from tests.e2e import outages
from tests.e2e.failures import emergency_token
from tests.e2e.function_output import PLACES, collect_output
from tests.e2e.key_forms import PIECE, found, pieces_of
from tests.e2e.site import Site

MALFORMED = (
    outages.current_value(lambda: base64.b64encode(secrets.token_bytes(32)).decode()),
    outages.with_key(lambda: base64.b64encode(secrets.token_bytes(48)).decode()),
    outages.with_key(lambda: secrets.token_hex(32)),
)


@pytest.fixture(scope="module")
def spoken(module_site: Site) -> dict[str, str]:
    """All that was said during such rotations, by where it was said."""
    site = module_site
    login_broken = ("ValidateRotation", "DescribeSecret", outages.login_broken)
    with outages.during(site, *login_broken, until_the_turn=True):
        failed = site.rotate_to_end()
    assert failed.error == "LoginBroken"
    assert site.record(site.rotations[-1])["outcome"] == "rolled-back"
    with outages.during(site, *login_broken):
        failed = site.rotate_to_end(**emergency_token())
    assert failed.error == "LoginBroken"
    again = site.run_again(site.rotations[-1])
    assert again.output["outcome"] == "succeeded"
    for outage in (outages.no_pod_behind_a_service, *MALFORMED):
        with outage(site):
            site.refuse_once()
    return collect_output(site)


@pytest.fixture(scope="module")
def pieces(module_site: Site, spoken: dict[str, str]) -> set[str]:
    """Every piece of every form of every key that there ever was on the stack."""
    return {piece for text in _keys(module_site) for piece in pieces_of(text)}


def test_there_are_keys_to_look_for_and_the_search_finds_them(
    module_site: Site, pieces: set[str]
) -> None:
    assert len(_keys(module_site)) >= 3
    assert found(pieces, json.dumps(module_site.kubernetes_secret()))
    assert found(pieces, json.dumps(module_site.document()))
    assert found(pieces, repr(key.parse_key(module_site.delivered()).raw))


@pytest.mark.parametrize("place", PLACES)
def test_no_key_is_in_the(place: str, spoken: dict[str, str], pieces: set[str]) -> None:
    assert len(spoken[place]) > 500, "nothing was said there"
    assert found(pieces, spoken[place]) == set()


def test_a_key_shows_its_fingerprint_and_nothing_else() -> None:
    made = key.generate_key()
    said = f"{made!r} {made} {key.new_document(made)!r}"
    assert found(pieces_of(made.base64), said) == set()
    assert made.fingerprint in said


def _keys(site: Site) -> set[str]:
    """The text of every key, sound or not, in every version of the secret."""
    client = site.stack.cloud.client("secretsmanager")
    listed = client.list_secret_version_ids(SecretId=site.stack.secret_arn, IncludeDeprecated=True)
    keys = {site.stack.first_key.base64}
    for version in listed["Versions"]:
        text = client.get_secret_value(
            SecretId=site.stack.secret_arn, VersionId=version["VersionId"]
        )["SecretString"]
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)[key.FIELD]
        keys.add(text)
    return {text for text in keys if len(text) >= PIECE}
