"""Which AWS operation a request asks for, and who asks: what CloudTrail would record.

AWS's services speak four dialects: a target header (JSON), an `Action` field (query), an
`/operation/` path (CBOR), and plain REST (Lambda and S3).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

INVOCATIONS = re.compile(r"^/2015-03-31/functions/(?P<function>.+)/invocations$")
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/aws4_request")
_S3_OPERATIONS = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject",
                  "HEAD": "HeadObject"}  # fmt: skip
_BUCKET_OPERATIONS = {"GET": "ListObjects", "PUT": "CreateBucket", "HEAD": "HeadBucket"}
_RESOURCE_FIELDS = (
    "SecretId", "executionArn", "stateMachineArn", "TopicArn", "QueueUrl", "KeyId", "logGroupName",
    "RoleName", "Rule", "name", "Name",
)  # fmt: skip


@dataclass(frozen=True)
class ApiCall:
    """One call of an AWS API.

    `resource` is the name, ARN or URL in the request, where it is cheap; `label` the staging label
    that Secrets Manager is asked about, `tags` the keys of the tags that are written or removed.
    """

    service: str
    operation: str
    access_key_id: str
    resource: str | None
    label: str | None = None
    tags: tuple[str, ...] = ()


def describe(environ: Mapping[str, Any], body: bytes) -> ApiCall:
    """Read the call out of a WSGI request."""
    path = unquote(environ.get("PATH_INFO", "/"))
    credential = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    access_key_id, service = credential.groups() if credential else ("", "unsigned")
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        fields = json.loads(body or b"{}")
        operation, label = target.rpartition(".")[2], fields.get("VersionStage")
        tags = _tag_keys(fields) if operation in {"TagResource", "UntagResource"} else ()
        return ApiCall(service, operation, access_key_id, _resource(fields), label, tags)
    operation, resource = _operation(environ, path, body, service)
    return ApiCall(service, operation, access_key_id, resource)


def _operation(
    environ: Mapping[str, Any], path: str, body: bytes, service: str
) -> tuple[str, str | None]:
    method = environ["REQUEST_METHOD"]
    if invocation := INVOCATIONS.match(path):
        return "Invoke", invocation["function"]
    if "/operation/" in path:
        return path.rpartition("/")[2], None
    if service == "s3":
        has_key = path.strip("/").count("/") > 0
        operations = _S3_OPERATIONS if has_key else _BUCKET_OPERATIONS
        return operations[method], path.strip("/")
    form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
    return form.get("Action", f"{method} {path}"), _resource(form)


def _tag_keys(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the tags that Secrets Manager is to write or to remove."""
    written = [
        tag["Key"] for tag in fields.get("Tags", ()) if isinstance(tag, dict) and "Key" in tag
    ]
    return (*written, *fields.get("TagKeys", ()))


def _resource(fields: Mapping[str, Any]) -> str | None:
    if entries := fields.get("Entries"):  # PutEvents
        return str(entries[0].get("EventBusName", "default"))
    found = (fields[name] for name in _RESOURCE_FIELDS if isinstance(fields.get(name), str))
    return next(found, None)
