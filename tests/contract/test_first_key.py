"""`deployment.first_key`, run as a person runs it, on the local Secrets Manager."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.secret import key
from tests.contract.secrets_manager_account import Account
from tests.project import ROOT

FILE = "# whose\nExistingSecretArn:   # the secret\nClusterName: production\n"


class Person:
    """Somebody with a cluster that `kubectl` reaches, and a file of parameters."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "prod.yaml"
        self.file.write_text(FILE)
        self._secret, self._asked = folder / "secret.json", folder / "asked"
        program = folder / "kubectl"
        program.write_text(f'#!/bin/sh\necho "$@" >{self._asked}\ncat {self._secret}\n')
        program.chmod(0o755)
        self._path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deployment.first_key", *arguments],
            cwd=ROOT,
            env={**os.environ, "PATH": self._path, "PYTHONPATH": "layers/keyturn:."},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def keep(self, *more: str, whence: str = "web/session-key") -> str:
        """Keep the key of the Secret; what was shown."""
        given = ["--secret", "keyturn/session-key", "--parameters", str(self.file)]
        done = self.run(*given, *(["--from", whence] if whence else []), *more)
        assert "Traceback" not in done.stderr
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def put(self, text: str, field: str = key.FIELD) -> None:
        """The pods read this text."""
        self._secret.write_text(
            json.dumps({"data": {field: base64.b64encode(text.encode()).decode()}})
        )

    @property
    def asked(self) -> str:
        return self._asked.read_text()


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def kept(account: Account) -> str:
    found = account.call("GetSecretValue", SecretId="keyturn/session-key")
    return str(json.loads(found["SecretString"])[key.FIELD])


def test_the_key_of_the_pods_is_kept_and_the_file_names_its_secret(
    account: Account, person: Person
) -> None:
    used = key.generate_key().base64
    person.put(used)
    shown = person.keep()
    assert shown.startswith("0 arn:aws:secretsmanager:")
    assert kept(account) == used
    arn = account.call("DescribeSecret", SecretId="keyturn/session-key")["ARN"]
    assert (
        person.file.read_text() == f"# whose\nExistingSecretArn: {arn}\nClusterName: production\n"
    )
    assert person.asked == "--namespace web get secret session-key --output json\n"
    assert used not in shown + person.asked


def test_a_second_run_changes_nothing(account: Account, person: Person) -> None:
    person.put(key.generate_key().base64)
    first = person.keep()
    versions = account.call("DescribeSecret", SecretId="keyturn/session-key")["VersionIdsToStages"]
    file = person.file.read_text()
    assert person.keep() == first
    after = account.call("DescribeSecret", SecretId="keyturn/session-key")["VersionIdsToStages"]
    assert (after, person.file.read_text()) == (versions, file)


def test_another_key_than_the_one_that_is_kept_is_refused(account: Account, person: Person) -> None:
    used, other = key.generate_key().base64, key.generate_key().base64
    person.put(used)
    person.keep()
    person.put(other)
    shown = person.keep()
    assert shown.startswith("1 The secret keyturn/session-key exists and holds another key")
    assert kept(account) == used
    assert not any(one in shown for one in (used, other))


def test_a_key_is_generated_where_nobody_uses_one_yet(account: Account, person: Person) -> None:
    shown = person.keep("--generate", whence="")
    made = kept(account)
    key.parse_key(made)
    assert made not in shown
    assert person.keep("--generate", whence="") == shown
    assert kept(account) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [("c2hvcnQ=", "must decode to 32 bytes"), ("hunter2 is no key\n", "not standard base64")],
)
def test_what_is_no_key_is_refused_and_not_shown(
    text: str, said: str, account: Account, person: Person
) -> None:
    person.put(text)
    shown = person.keep()
    assert shown.startswith("1 ")
    assert said in shown
    assert text.strip() not in shown
    assert account.refusal("DescribeSecret", SecretId="keyturn/session-key")
    assert person.file.read_text() == FILE


def test_a_field_or_a_secret_that_is_not_there_is_named(account: Account, person: Person) -> None:
    assert "cannot read the Secret web/session-key: cat:" in person.keep()
    person.put(key.generate_key().base64, field="OTHER")
    assert "has no field SESSION_ENCRYPTION_KEY, but OTHER" in person.keep()
    assert person.keep("--field", "OTHER").startswith("0 ")
    assert "is not <namespace>/<name" in person.keep(whence="session-key")


def test_a_file_without_a_line_for_it_is_refused_before_anything_is_made(
    account: Account, person: Person
) -> None:
    person.put(key.generate_key().base64)
    person.file.write_text("ClusterName: production\n")
    assert "has no line" in person.keep()
    assert account.refusal("DescribeSecret", SecretId="keyturn/session-key")


def test_whether_to_read_or_to_make_a_key_has_to_be_said(person: Person) -> None:
    assert person.keep(whence="").startswith("2 ")
