"""Authorization codes: each works once, for a minute, and for the verifier of its challenge."""

import pytest

from local.services.oauth2_provider import (
    CODE_SECONDS,
    Grants,
    InvalidGrantError,
    challenge_of,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def grants(clock: Clock) -> Grants:
    return Grants(clock)


def test_a_challenge_is_that_of_the_example_in_rfc_7636_appendix_b() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # pragma: allowlist secret
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # pragma: allowlist secret
    assert challenge_of(verifier) == challenge


def test_a_code_stands_for_its_user(grants: Grants) -> None:
    code = grants.issue("alice", challenge_of("verifier"))
    assert grants.redeem(code, "verifier") == "alice"


def test_a_code_works_once(grants: Grants) -> None:
    code = grants.issue("alice", challenge_of("verifier"))
    grants.redeem(code, "verifier")
    with pytest.raises(InvalidGrantError):
        grants.redeem(code, "verifier")


def test_a_code_is_used_up_by_a_wrong_verifier(grants: Grants) -> None:
    code = grants.issue("alice", challenge_of("verifier"))
    with pytest.raises(InvalidGrantError):
        grants.redeem(code, "another verifier")
    with pytest.raises(InvalidGrantError):
        grants.redeem(code, "verifier")


def test_an_unknown_code_is_refused(grants: Grants) -> None:
    with pytest.raises(InvalidGrantError):
        grants.redeem("forged", "verifier")


def test_a_code_expires(grants: Grants, clock: Clock) -> None:
    code = grants.issue("alice", challenge_of("verifier"))
    clock.now += CODE_SECONDS
    with pytest.raises(InvalidGrantError):
        grants.redeem(code, "verifier")


def test_expired_codes_are_forgotten_and_live_ones_are_kept(grants: Grants, clock: Clock) -> None:
    grants.issue("alice", challenge_of("verifier"))
    clock.now += CODE_SECONDS - 1
    live = grants.issue("bob", challenge_of("verifier"))
    clock.now += 1
    grants.issue("carol", challenge_of("verifier"))
    assert grants.redeem(live, "verifier") == "bob"
    assert len(grants._grants) == 1
