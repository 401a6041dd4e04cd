"""The guides say what AWS documents of the services that they speak of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator

from keyturn.rollout import pod_annotations
from tests.policies import listed
from tests.project import (
    DOCUMENTS,
    PACKAGE,
    ROOT,
    document,
    functions,
    of_type,
    resources,
    stack,
    template,
    variables_of,
)

DEPLOY = document(ROOT / "docs" / "deploy.md")
OPERATIONS = document(ROOT / "docs" / "operations.md")
HISTORY = {ROOT / "CHANGELOG.md", *ROOT.glob("docs/decisions/*.md")}
GUIDES = [path for path in DOCUMENTS if path not in HISTORY]
# ElastiCache User Guide, "Supported and restricted commands".
REFUSED = re.compile(r"\b(ACL (?:SETUSER|DELUSER|SAVE|LOAD)|CLUSTER SETSLOT|CONFIG [A-Z]+)\b")
RIGHTS = re.compile(r"-@all(?: \+[a-z|]+)+")
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
# What a file of the guide is given to: service, operation, and the member that it is, if one.
FILES = {
    "features.json": ("guardduty", "CreateDetector", "Features"),
    "user.json": ("elasticache", "CreateUser", ""),
    "selectors.json": ("cloudtrail", "PutEventSelectors", "AdvancedEventSelectors"),
}


def sections(text: str) -> list[str]:
    """What stands under each heading."""
    return re.split(r"(?m)^#+ ", text)


def passages() -> Iterator[tuple[Path, str]]:
    """The sections of every guide that have a command which ElastiCache refuses."""
    for path in GUIDES:
        for section in sections(document(path)):
            if REFUSED.search(section):
                yield path, section


def code_blocks(text: str) -> list[str]:
    """The indented blocks, without their indentation."""
    found = re.findall(r"(?m)(?:^    .*\n(?:^\s*\n(?=    ))?)+", text)
    return [re.sub(r"(?m)^    ", "", block) for block in found]


def file_in_guide(name: str) -> Any:
    """The JSON that the guide shows of a file."""
    after = re.split(rf"(?m)^.*`{re.escape(name)}`.*:$", DEPLOY)[1]
    return json.loads(code_blocks(after)[0])


def test_every_variable_of_the_guide_is_used() -> None:
    code = "\n".join(code_blocks(DEPLOY))
    named = re.findall(r"(?m)^([A-Z][A-Z_]+)=", code)
    assert named
    unused = [name for name in named if not re.search(rf"\$\{{?{name}\b", code)]
    assert unused == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_guide_is_one_that_the_api_takes(name: str) -> None:
    service, operation, member = FILES[name]
    assert f"file://{name}" in DEPLOY
    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    assert shape
    taken = shape.members[member] if member else shape
    assert not ParamValidator().validate(file_in_guide(name), taken).has_errors()


def test_runtime_monitoring_comes_with_its_agent() -> None:
    """GuardDuty User Guide: without the agent Runtime Monitoring has nothing to look at."""
    features = {one["Name"]: one for one in file_in_guide("features.json")}
    model = botocore.session.get_session().get_service_model("guardduty")
    shape: Any = model.operation_model("CreateDetector").input_shape
    assert features.keys() <= {*shape.members["Features"].member.members["Name"].enum}
    assert features["RUNTIME_MONITORING"]["AdditionalConfiguration"] == [
        {"Name": "EKS_ADDON_MANAGEMENT", "Status": "ENABLED"}
    ]
    assert "list-coverage" in DEPLOY


def test_a_command_that_elasticache_refuses_has_its_form_for_elasticache() -> None:
    found = [*passages()]
    assert found
    for path, section in found:
        assert "ElastiCache" in section, (path, section.splitlines()[0])
        assert "aws elasticache " in section, (path, section.splitlines()[0])


def test_no_message_names_a_command_that_elasticache_refuses() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not REFUSED.search(path.read_text(encoding="utf-8")), path


def test_a_user_that_is_made_by_a_command_is_saved() -> None:
    changes = [(path, text) for path, text in passages() if re.search("ACL (SET|DEL)USER", text)]
    assert changes
    for path, section in changes:
        assert "ACL SAVE" in section, path


def test_the_user_has_the_same_rights_in_every_form() -> None:
    found = RIGHTS.findall(DEPLOY.replace("\\\n", " ").replace("      -@all", "-@all"))
    found += RIGHTS.findall(OPERATIONS)
    assert len(found) == 5
    assert set(found) == {"-@all +info +ping +select +scan +unlink +exists +eval"}


def test_whoever_may_rotate_may_invoke_the_rotation_function() -> None:
    """Secrets Manager API reference, RotateSecret."""
    policies = [json.loads(one) for one in code_blocks(DEPLOY) if '"Version": "2012' in one]
    rotating = [one for one in policies if "secretsmanager:RotateSecret" in str(one)]
    assert rotating
    for policy in rotating:
        assert {"Effect": "Allow", "Action": "lambda:InvokeFunction",
                "Resource": "<RotationLambdaARN>"} in policy["Statement"]  # fmt: skip


def test_what_cloudtrail_knows_of_an_invocation_is_a_data_event() -> None:
    for path in GUIDES:
        for section in sections(document(path)):
            if "CloudTrail" in section and "`Invoke`" in section:
                assert "data event" in section, (path, section.splitlines()[0])
    data = [
        {field["Field"]: field for field in one["FieldSelectors"]}
        for one in file_in_guide("selectors.json")
    ]
    assert [one["eventCategory"]["Equals"] for one in data] == [["Management"], ["Data"]]
    assert data[1]["resources.type"]["Equals"] == ["AWS::Lambda::Function"]


def test_a_schedule_and_a_policy_that_exist_already_go_first() -> None:
    """CloudFormation reference, AWS::SecretsManager::ResourcePolicy."""
    (section,) = [one for one in sections(DEPLOY) if one.startswith("A secret that exists already")]
    for command in ("cancel-rotate-secret", "delete-resource-policy"):
        assert f"aws secretsmanager {command} --secret-id <ExistingSecretArn>" in section


def test_the_way_out_of_a_denied_roll_back_names_the_protected_secret() -> None:
    secret = "SessionKeySecret"
    assert secret in resources("AWS::SecretsManager::Secret")
    assert f'continue-update-rollback --stack-name "$STACK" --resources-to-skip {secret}' in DEPLOY
    policy = file_in_guide("stack-policy.json")
    allowed, denied = policy["Statement"]
    assert (allowed["Effect"], allowed["Action"], allowed["Resource"]) == ("Allow", "Update:*", "*")
    assert (denied["Effect"], denied["Resource"]) == ("Deny", f"LogicalResourceId/{secret}")


def gitops() -> list[Any]:
    """The YAML that the guide shows for tools that apply manifests from Git."""
    (section,) = [one for one in sections(DEPLOY) if one.startswith("GitOps")]
    return [
        yaml.safe_load(block)["spec"] for block in code_blocks(section) if block.startswith("spec:")
    ]


def test_git_is_kept_from_putting_back_what_a_rotation_writes() -> None:
    argo, helm = gitops()
    escaped = [
        one.replace("/", "~1")
        for one in (pod_annotations.KEY_VERSION, pod_annotations.KEY_DELIVERY, RESTARTED_AT)
    ]
    annotations = [f"/spec/template/metadata/annotations/{one}" for one in escaped]
    field = template()["Parameters"]["KeyField"]["Default"]
    secret, workload = argo["ignoreDifferences"]
    assert (secret["kind"], secret["jsonPointers"]) == ("Secret", [f"/data/{field}"])
    assert (workload["group"], workload["jsonPointers"]) == ("apps", annotations)
    assert "RespectIgnoreDifferences=true" in argo["syncPolicy"]["syncOptions"]
    rules = helm["driftDetection"]["ignore"]
    assert [rule["paths"] for rule in rules] == [[f"/data/{field}"], annotations]
    assert "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent" in DEPLOY


def test_a_part_of_the_local_stack_is_told_once() -> None:
    rows = re.findall(r"(?m)^\| ([^|]+) \|", document(ROOT / "local" / "README.md"))
    assert len(rows) == len(set(rows))


NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def holders(operator: str, action: str) -> set[str]:
    """The functions' roles that a denial of the secret's policy leaves out."""
    (policy,) = of_type("AWS::SecretsManager::ResourcePolicy", stack()).values()
    (named,) = (
        one["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
        for one in policy["ResourcePolicy"]["Statement"]
        if action in listed(one["Action"]) and operator in one["Condition"]
    )
    return {name.removesuffix(".Arn") for name in named}


def test_the_decision_on_the_secrets_policy_counts_its_roles_right() -> None:
    text = document(ROOT / "docs" / "decisions" / "0013-who-may-use-the-secret.md")
    counted = [
        NUMBERS[len(holders("ArnNotLike", f"secretsmanager:{action}"))]
        for action in (
            "PutSecretValue",
            "UpdateSecretVersionStage",
            "TagResource",
            "GetSecretValue",
        )
    ]
    writes, moves, keeps, reads = counted
    sentence = (
        f"{writes} role writes, {moves} move labels, {keeps} keep the tags `keyturn:…`, {reads} and"
    )
    assert sentence in " ".join(text.split())


def test_the_decision_on_the_watch_counts_the_functions_right() -> None:
    text = document(ROOT / "docs" / "decisions" / "0010-watch-key.md")
    reading = holders("ArnNotLike", "secretsmanager:GetSecretValue")
    entering = [one for one in functions().values() if "CLUSTER_ENDPOINT" in variables_of(one)]
    sentence = (
        f"{NUMBERS[len(reading)].capitalize()} functions read the key, and"
        f" {NUMBERS[len(entering)]} enter the cluster."
    )
    assert sentence in " ".join(text.split())


def test_vault_lets_in_the_functions_that_talk_to_it_and_no_other() -> None:
    talking = {name for name, own in functions().items() if "VAULT_ADDRESS" in variables_of(own)}
    vault = document(ROOT / "docs" / "vault.md")
    bound = re.findall(r"<role of (\w+)>", vault)
    looked_up = re.findall(r"LogicalResourceId=='(\w+)Role'", vault)
    assert set(bound) == set(looked_up) == talking
    (in_short,) = re.findall(
        r"bound_iam_principal_arn=<role of (\w+)>", document(ROOT / "README.md")
    )
    assert {in_short} == talking
