"""`samconfig.toml`: three environments that deploy what was built, each under a name of its own."""

import json

import pytest

from tests.project import template
from tests.samconfig import CONFIG, ENVIRONMENTS


def test_there_are_three_environments_and_no_two_share_a_stack() -> None:
    assert [name for name in CONFIG if name != "version"] == ENVIRONMENTS
    names = [CONFIG[name]["global"]["parameters"]["stack_name"] for name in ENVIRONMENTS]
    assert len({*names}) == 3


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_is_deployed_with_what_the_template_needs(name: str) -> None:
    told = CONFIG[name]["deploy"]["parameters"]
    assert told["capabilities"] == "CAPABILITY_IAM"
    assert told["resolve_s3"] is True
    assert told["fail_on_empty_changeset"] is False
    assert told["tags"] == ["application=keyturn", f"environment={name}"]


def test_only_staging_is_deployed_without_being_confirmed() -> None:
    confirmed = [CONFIG[one]["deploy"]["parameters"]["confirm_changeset"] for one in ENVIRONMENTS]
    assert confirmed == [True, False, True]


def test_no_role_has_a_name_of_its_own_which_would_need_another_capability() -> None:
    assert '"RoleName"' not in json.dumps(template()["Resources"])
