"""Keep the first key in Secrets Manager, and name its secret in a file of parameters.

    python -m deployment.first_key --secret keyturn/session-key \
        --from web/session-key --parameters deployment/default.yaml

`--from` reads the key in use today from a Kubernetes Secret, through kubectl; `--generate` makes
one, for a console that nobody uses yet. The key goes from one to the other in this process's
memory: it is never shown, on a command line or in a file. A second run changes nothing.
"""

import argparse
import base64
import binascii
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from keyturn import errors
from keyturn.secret import key

LINE = re.compile(r"(?m)^ExistingSecretArn:.*$")


class Refused(Exception):
    """Why nothing was kept, without a word of the key."""


def main() -> int:
    """Keep the key, and print the ARN of its secret."""
    wanted = _arguments().parse_args()
    try:
        check_file(wanted.parameters)
        client = boto3.client("secretsmanager")
        arn = keep(client, wanted.secret, wanted.kms_key, wanted.source, wanted.field)
        name_in_file(wanted.parameters, arn)
    except (Refused, errors.KeyturnError) as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    except (BotoCoreError, ClientError, OSError, subprocess.TimeoutExpired) as failed:
        sys.stderr.write(f"{type(failed).__name__}: {failed}\n")
        return 1
    sys.stdout.write(f"{arn}\nis ExistingSecretArn of {wanted.parameters}.\n")
    return 0


def keep(client: Any, name: str, kms_key: str | None, source: str | None, field: str) -> str:
    """Return the ARN of the secret of that name, which holds the key afterwards.

    Without a `source` a key is generated. A secret that exists is left as it is: Refused where it
    holds another key than the source, or none.
    """
    wanted = read_kubernetes(source, field) if source else None
    made = wanted or key.generate_key()
    encrypted = {"KmsKeyId": kms_key} if kms_key else {}
    try:
        answer = client.create_secret(
            Name=name,
            Description="The key that encrypts user sessions. Rotated by Keyturn.",
            SecretString=json.dumps({key.FIELD: made.base64}),
            **encrypted,
        )
    except client.exceptions.ResourceExistsException:
        return _existing(client, name, wanted)
    return str(answer["ARN"])


def read_kubernetes(source: str, field: str) -> key.SessionKey:
    """Return the key in a Kubernetes Secret, `<namespace>/<name>`.

    Raises Refused, KeyNotBase64 and KeyNot32Bytes; none of them quotes what the field holds.
    """
    namespace, slash, name = source.partition("/")
    if not (namespace and slash and name):
        raise Refused(f"{source} is not <namespace>/<name of a Kubernetes Secret>.")
    command = ["kubectl", "--namespace", namespace, "get", "secret", name, "--output", "json"]
    answer = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip()
        raise Refused(f"kubectl cannot read the Secret {source}: {said}")
    fields = json.loads(answer.stdout).get("data") or {}
    if field not in fields:
        raise Refused(f"The Secret {source} has no field {field}, but {', '.join(fields)}.")
    try:
        text = base64.b64decode(fields[field], validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(f"The field {field} of the Secret {source} is no text.") from None
    return key.parse_key(text)


def check_file(path: Path) -> None:
    """Raise Refused, before anything is made, where the file has no line for the ARN."""
    if len(LINE.findall(path.read_text(encoding="utf-8"))) != 1:
        raise Refused(f"{path} has no line (or several) that begins with ExistingSecretArn:")


def name_in_file(path: Path, arn: str) -> None:
    """Write the ARN into its line; every other line stays."""
    text = path.read_text(encoding="utf-8")
    path.write_text(LINE.sub(f"ExistingSecretArn: {arn}", text), encoding="utf-8")


def _existing(client: Any, name: str, wanted: key.SessionKey | None) -> str:
    found = client.get_secret_value(SecretId=name)
    held = key.parse_document(found.get("SecretString", "")).key
    if wanted and held.base64 != wanted.base64:
        raise Refused(
            f"The secret {name} exists and holds another key than the pods. Nothing was changed."
            " Give another name, or find out which of the two is in use."
        )
    return str(found["ARN"])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="first_key", description=__doc__.splitlines()[0])
    parser.add_argument("--secret", required=True, help="name of the secret to make")
    parser.add_argument("--kms-key", help="ARN of a KMS key of yours (then in KmsKeyArns, too)")
    parser.add_argument("--parameters", required=True, type=Path, help="file of parameters")
    parser.add_argument("--field", default=key.FIELD, help="field of the Kubernetes Secret")
    whence = parser.add_mutually_exclusive_group(required=True)
    whence.add_argument("--from", dest="source", help="<namespace>/<Kubernetes Secret>")
    whence.add_argument("--generate", action="store_true", help="make a key")
    return parser


if __name__ == "__main__":
    sys.exit(main())
