"""A rotation where Redis wants a login: as a user with the documented rights and no others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from redis.exceptions import NoPermissionError

from local.stack import SESSION_DATABASE
from local.stack_parameters import REDIS_SECRET, REDIS_USER
from local.users import can_open_page, log_in
from tests.e2e.function_output import PLACES, collect_output
from tests.e2e.key_forms import found, pieces_of
from tests.e2e.site import Ended, Site, running_site
from tests.redis_rights import RIGHTS

# What a purge needs and the console does not: whoever does not log in may not purge.
FORBIDDEN = ("-scan", "-unlink", "-eval")


@dataclass(frozen=True)
class Story:
    """The stack after one rotation, and the sessions that were there before."""

    site: Site
    cookies: list[str]
    ended: Ended


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with running_site(redis_rights=["resetkeys", "~session:*", "resetchannels", *RIGHTS]) as site:
        with site.stack.redis.client(SESSION_DATABASE) as redis:
            redis.execute_command("ACL", "SETUSER", "default", *FORBIDDEN)
            with pytest.raises(NoPermissionError):
                redis.unlink("session:1")
        cookies = log_in(20, site.stack.urls["web-console"]).cookies
        yield Story(site, cookies, site.rotate_to_end())


def password_of(site: Site) -> str:
    client = site.stack.cloud.client("secretsmanager")
    stored = client.get_secret_value(SecretId=REDIS_SECRET)["SecretString"]
    password: str = json.loads(stored)["password"]
    return password


def test_the_rotation_succeeds_and_ends_the_sessions(story: Story) -> None:
    assert story.ended.status == "SUCCEEDED"
    sessions = story.ended.output["sessions"]
    assert (sessions["before"], sessions["deleted"], sessions["left"]) == (20, 20, 0)
    with story.site.stack.redis.client(SESSION_DATABASE) as redis:
        assert redis.dbsize() == 0
    console = story.site.stack.urls["web-console"]
    assert not any(can_open_page(console, cookie) for cookie in story.cookies)


def test_the_functions_that_look_at_sessions_logged_in(story: Story) -> None:
    with story.site.stack.redis.client() as redis:
        users = {found["user"] for found in redis.client_list()}
    assert REDIS_USER in users


@pytest.mark.parametrize("place", PLACES)
def test_the_password_is_not_in_the(place: str, story: Story) -> None:
    pieces = pieces_of(password_of(story.site))
    assert found(pieces, json.dumps({"password": password_of(story.site)}))
    said = collect_output(story.site)[place]
    assert len(said) > 100, "nothing was said there"
    assert found(pieces, said) == set()


def test_the_password_is_in_no_functions_environment(story: Story) -> None:
    pieces = pieces_of(password_of(story.site))
    stack = story.site.stack
    for name in stack.deployment.functions.values():
        environment = dict(stack.functions.settings(name).environment)
        assert found(pieces, repr(environment)) == set()
