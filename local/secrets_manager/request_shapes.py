"""Checks a request against AWS's own service model, as botocore carries it.

The model says which members exist and are required, and their types, lengths, ranges, patterns and
choices. What breaks it is a ValidationException in AWS's form, which here never quotes the value.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from local.secrets_manager.errors import AwsError, invalid_request

TOKENS_REQUIRED = frozenset({"PutSecretValue", "RotateSecret"})
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "blob": str,
    "long": int,
    "integer": int,
}


def check_request(operation: str, request: Mapping[str, Any]) -> None:
    """Raise ValidationException or InvalidRequestException for a request that AWS would refuse.

    The client request token is compulsory here as it is on the wire: the SDKs fill it in.
    """
    shape = _service_model().operation_model(operation).input_shape
    problems = list(_problems(shape, request, "")) if shape is not None else []
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        text = f"{len(problems)} validation {noun} detected: {'; '.join(problems)}"
        raise AwsError("ValidationException", text)
    has_value = not {"SecretString", "SecretBinary"}.isdisjoint(request)
    needs_token = operation in TOKENS_REQUIRED or (operation == "CreateSecret" and has_value)
    if needs_token and "ClientRequestToken" not in request:
        raise invalid_request(
            "You must provide a ClientRequestToken value. We recommend a UUID-type value."
        )


@cache
def _service_model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("secretsmanager")


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure_problems(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _list_problems(shape, value, path)
    elif not _has_type(shape.type_name, value):
        yield _problem(path, f"Member must be a {shape.type_name}")
    else:
        yield from _scalar_problems(shape, value, path)


def _structure_problems(shape: StructureShape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _problem(path, "Member must be a structure")
        return
    for name in shape.required_members:
        if value.get(name) is None:
            yield _problem(_join(path, name), "Member must not be null")
    for name, member in value.items():
        if name not in shape.members:
            yield _problem(_join(path, name), "Member is not known to this operation")
        elif member is not None:
            yield from _problems(shape.members[name], member, _join(path, name))


def _list_problems(shape: ListShape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield _problem(path, "Member must be a list")
        return
    yield from _size_problems(shape, len(value), path, "length")
    for index, member in enumerate(value, 1):
        yield from _problems(shape.member, member, f"{path}.{index}.member")


def _scalar_problems(shape: Shape, value: str | int, path: str) -> Iterator[str]:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield from _size_problems(shape, value, path, "value")
        return
    if shape.name == "SecretStringType" and not value:
        return  # AWS answers an empty value as it answers a missing one; see secret.Value
    yield from _size_problems(shape, len(value.encode()), path, "length")
    pattern, choices = shape.metadata.get("pattern"), shape.metadata.get("enum")
    if pattern and not re.fullmatch(pattern, value):
        yield _problem(path, f"Member must satisfy regular expression pattern: {pattern}")
    if choices and value not in choices:
        yield _problem(path, f"Member must satisfy enum value set: [{', '.join(choices)}]")


def _size_problems(shape: Shape, size: int, path: str, noun: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield _problem(path, f"Member must have {noun} greater than or equal to {low}")
    if high is not None and size > high:
        yield _problem(path, f"Member must have {noun} less than or equal to {high}")


def _has_type(type_name: str, value: object) -> bool:
    if type_name in ("long", "integer") and isinstance(value, bool):
        return False
    return isinstance(value, TYPES[type_name])


def _problem(path: str, constraint: str) -> str:
    return f"Value at '{path}' failed to satisfy constraint: {constraint}"


def _join(path: str, name: str) -> str:
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member
