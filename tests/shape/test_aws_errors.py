"""Every error code of every AWS operation that Keyturn calls has been put into a family."""

import ast
import functools
from collections.abc import Iterable, Iterator

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from keyturn.adapters.aws.errors import _CODES, FAMILY_OF, Family
from tests.project import PACKAGE, parsed

MODULES = sorted((PACKAGE / "adapters").rglob("*.py"))
LENT = {"stored_credentials": {"secretsmanager"}}  # reads with a client of its caller
# Answers of S3 that its model does not have: API reference, "Error responses"; HEAD has no body.
OF_S3 = {"AccessDenied", "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout",
         "PreconditionFailed", "ConditionalRequestConflict", "OperationAborted",
         "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "SignatureDoesNotMatch",
         "PermanentRedirect", "AuthorizationHeaderMalformed", "KMS.DisabledException",
         "KMS.NotFoundException", "KMS.KMSInvalidStateException", "301", "400", "403",
         "404"}  # fmt: skip
# API references, "Common Errors", and what services answer with beside those.
COMMON = {"AccessDeniedException", "ExpiredTokenException", "ExpiredToken", "IncompleteSignature",
          "InternalFailure", "InternalServerError", "InvalidClientTokenId", "InvalidParameterValue",
          "InvalidSignatureException", "MalformedHttpRequestException", "MissingAction",
          "NotAuthorized", "OptInRequired", "RequestAbortedException", "RequestExpired",
          "RequestEntityTooLargeException", "RequestTimeoutException", "ServiceUnavailable",
          "ServiceUnavailableException", "ThrottlingException", "UnknownOperationException",
          "UnrecognizedClientException", "ValidationError"}  # fmt: skip
# SDKs retry what their services mean by it; of Secrets Manager it is a quota of the secret.
QUOTA = "LimitExceededException"


def operations_of(service: str) -> Iterator[OperationModel]:
    model = botocore.session.get_session().get_service_model(service)
    return (model.operation_model(name) for name in model.operation_names)


def clients(tree: ast.AST) -> set[str]:
    """The services of which a module makes a client."""
    return {
        str(argument.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "client.client"
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant)
    }


@functools.cache
def called() -> list[OperationModel]:
    """Every operation that an adapter calls, by the name of the method."""
    found = []
    for path in MODULES:
        tree = parsed(path)
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for service in clients(tree) | LENT.get(path.stem, set()):
            found += [one for one in operations_of(service) if xform_name(one.name) in named]
    return found


def codes_of(operation: OperationModel) -> set[str]:
    """The codes on the wire, and the names of their shapes, which another protocol may send."""
    shapes = operation.error_shapes
    wired = {shape.metadata.get("error", {}).get("code") or shape.name for shape in shapes}
    return wired | {shape.name for shape in shapes}


def unplaced(operations: Iterable[OperationModel]) -> set[str]:
    return {
        f"{one.service_model.service_name}:{one.name}: {code}"
        for one in operations
        for code in codes_of(one) - FAMILY_OF.keys()
    }


def test_the_operations_are_those_of_the_services_that_keyturn_calls() -> None:
    names = {one.service_model.service_name for one in called()}
    assert names == {"secretsmanager", "stepfunctions", "s3", "sns", "events"}
    assert {"RotateSecret", "UpdateSecretVersionStage", "StartExecution", "HeadBucket", "Publish",
            "PutEvents"} <= {one.name for one in called()}  # fmt: skip


def test_every_code_of_every_operation_that_is_called_is_in_a_family() -> None:
    """EKS and STS are called by others with what is signed here: no code of theirs comes back."""
    assert unplaced(called()) == set()
    assert unplaced(operations_of("glacier"))  # a service that nobody has placed is named


def test_what_services_answer_beside_their_models_is_in_a_family() -> None:
    assert (OF_S3 | COMMON) - FAMILY_OF.keys() == set()


def test_what_botocore_retries_is_passing() -> None:
    retried = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
               *TransientRetryableChecker._TRANSIENT_ERROR_CODES}  # fmt: skip
    assert {code for code in retried if FAMILY_OF[code] is not Family.PASSING} == {QUOTA}


def test_no_code_is_placed_that_nothing_answers_with() -> None:
    retried = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
               *TransientRetryableChecker._TRANSIENT_ERROR_CODES}  # fmt: skip
    modelled = {code for one in called() for code in codes_of(one)}
    assert FAMILY_OF.keys() - modelled - OF_S3 - COMMON - retried == set()


@pytest.mark.parametrize("family", Family)
def test_a_code_has_one_family(family: Family) -> None:
    assert all(FAMILY_OF[code] is family for code in _CODES[family].split())
