"""Every Region of every partition that botocore knows can be deployed to and is understood.

botocore's endpoint data says which Regions there are; no list or pattern of Keyturn's decides it.
"""

import re

import botocore.session
import pytest

from keyturn import errors
from keyturn.adapters.aws.presign import sts_endpoint
from keyturn.findings import event as finding_event
from keyturn.settings.loading import RespondToFindingSettings, load
from local.cluster import eks_tokens
from local.deployment.parameters import parameter_values
from tests.conftest import ARN
from tests.project import ROOT, environment, event, template
from tests.template_parameters import FORMS, ROLE

SESSION = botocore.session.get_session()
REGIONS = {
    region: partition
    for partition in SESSION.get_available_partitions()
    for service in ("eks", "guardduty", "secretsmanager", "sts")
    for region in SESSION.get_available_regions(service, partition_name=partition)
}
ONE_OF_EACH_PARTITION = {partition: region for region, partition in REGIONS.items()}.values()
NEWER = ["eu-new-9", "xx-new-1"]  # which botocore's data does not have yet


@pytest.fixture(autouse=True)
def no_other_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def moved(arn: str, region: str) -> str:
    """The ARN as it would be in another Region, and so perhaps in another partition."""
    return arn.replace("arn:aws:", f"arn:{REGIONS[region]}:").replace("eu-central-1", region)


def test_botocore_knows_regions_of_several_partitions() -> None:
    assert len(REGIONS) >= 46
    assert {"aws", "aws-cn", "aws-us-gov", "aws-eusc"} <= {*REGIONS.values()}


@pytest.mark.parametrize(
    "regions",
    [
        [*ONE_OF_EACH_PARTITION, *NEWER],
        pytest.param([*REGIONS, *NEWER], marks=pytest.mark.exhaustive),
    ],
    ids=["one of each partition", "all"],
)
def test_tokens_are_signed_for_the_host_that_the_sdk_calls_and_eks_takes_them(
    regions: list[str],
) -> None:
    called = {
        region: SESSION.create_client(
            "sts", region_name=region, aws_access_key_id="a", aws_secret_access_key="b"
        ).meta.endpoint_url
        for region in regions
    }
    assert {region: sts_endpoint(region) for region in called} == called
    hosts = {called[one].removeprefix("https://") for one in regions if one in REGIONS}
    assert hosts <= eks_tokens.sts_hosts()


def test_another_endpoint_of_the_sdk_is_not_what_tokens_are_signed_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    sts_endpoint.cache_clear()
    assert sts_endpoint("eusc-de-east-1") == "https://sts.eusc-de-east-1.amazonaws.eu"


def test_a_finding_of_any_region_is_read() -> None:
    found = event("respond_to_finding")
    refused = []
    for region in [*REGIONS, *NEWER]:
        try:
            read = finding_event.parse_finding(
                {**found, "detail": {**found["detail"], "region": region}}
            )
        except errors.RequestRefused:
            refused.append(region)
        else:
            assert read.region == region
    assert refused == []


def test_the_settings_of_a_stack_in_any_region_are_taken() -> None:
    given = environment("respond_to_finding")
    for region in REGIONS:
        own = {"SECRET_ARN": moved(ARN, region), "FINDING_SCOPE_ROLES": moved(ROLE, region)}
        read = load(RespondToFindingSettings, {**given, **own})
        assert read.secret_arn.place.endswith(region)
        assert read.finding_scope_roles == (moved(ROLE, region),)


def test_every_parameter_that_takes_an_arn_takes_one_of_any_region() -> None:
    declared = template()["Parameters"]
    named = {name: good for name, good, _ in FORMS if "arn:aws:" in good}
    assert {name for name, one in declared.items() if "arn:" in one.get("AllowedPattern", "")} == {
        *named
    }
    for name, good in named.items():
        for region in REGIONS:
            assert parameter_values({name: declared[name]}, {name: moved(good, region)})


@pytest.mark.parametrize(
    "name", ["template.yaml", "monitoring.yaml", "rotate_session_key.asl.json"]
)
def test_no_arn_and_no_form_names_a_partition(name: str) -> None:
    (path,) = [*ROOT.glob(name), *ROOT.glob(f"statemachine/{name}")]
    text = path.read_text(encoding="utf-8")
    assert re.findall(r".*arn:aws[^\[].*", text) == []
