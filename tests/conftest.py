"""What all kinds of tests share."""

import os
from datetime import UTC, datetime

import botocore.auth
import hypothesis
import pytest

from keyturn.rollout.pod_annotations import Stamp
from keyturn.run.run import Origin, Run
from keyturn.secret import key

# How long an example takes says how busy the machine is, and nothing about the product.
hypothesis.settings.register_profile(
    "full", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "few", hypothesis.settings.get_profile("full"), max_examples=20
)

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:session-key-AbCdEf"
AUTHORITIES = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:authorities-AbCdEf"
NEW = "11111111-1111-4111-8111-111111111111"
OLD = "00000000-0000-4000-8000-000000000000"
ASKED = "2026-11-24T11:59:00.000Z"
STAMP = Stamp(NEW, delivery="2")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

os.environ["POWERTOOLS_SERVICE_NAME"] = "keyturn"  # which is read when a test imports telemetry
# Without credentials botocore asks 169.254.169.254, which is not on this machine.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples where the exhaustive cases are left out."""
    left_out = config.option.markexpr == "not exhaustive"
    hypothesis.settings.load_profile("few" if left_out else "full")


@pytest.fixture
def run() -> Run:
    return Run(NEW, ARN, "scheduled", OLD, Origin(at=ASKED))


@pytest.fixture
def document() -> str:
    """A secret document with a key made for this test alone."""
    return key.new_document(key.generate_key()).text


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore sign at noon."""

    def noon(remove_tzinfo: bool = True) -> datetime:
        return NOON.replace(tzinfo=None) if remove_tzinfo else NOON

    monkeypatch.setattr(botocore.auth, "get_current_datetime", noon)
