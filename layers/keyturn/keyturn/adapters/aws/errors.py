"""The errors of AWS, each assigned to a family; an unlisted code is a stop.

The codes are those of the operations that the adapters call, as botocore's service models have them
(a test names those without a family), and the common errors of every service. A code of digits is
the HTTP status of a response without an error name: that of a HEAD, or a page of a proxy, as a 400
usually is.

Sources: botocore's service models; each service's API reference, "Common Errors"; Amazon S3 API
reference, "Error responses".
"""

from collections.abc import Mapping
from enum import Enum

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from keyturn import errors


class Family(Enum):
    """The meaning of an error for the caller."""

    PASSING = "the same call may succeed a little later"
    DENIED = "a permission is missing"
    MISSING = "what the call names does not exist"
    KMS_KEY = "the KMS key of what the call names cannot be used"
    REFUSED = "the request is invalid, or impossible in the present state"


_CODES: Mapping[Family, str] = {
    Family.PASSING: """
        ThrottlingException Throttling ThrottledException RequestThrottled RequestThrottledException
        TooManyRequestsException RequestLimitExceeded BandwidthLimitExceeded SlowDown
        ProvisionedThroughputExceededException TransactionInProgressException EC2ThrottledException
        PriorRequestNotComplete RequestTimeout RequestTimeoutException RequestAbortedException
        InternalFailure InternalError InternalServiceError InternalException InternalServerError
        InternalErrorException ServiceUnavailable ServiceUnavailableException
        ExpiredToken ExpiredTokenException RequestExpired
        KmsThrottlingException KMSThrottling KMSThrottlingException
        ConditionalRequestConflict OperationAborted
        ExecutionLimitExceeded ExecutionDoesNotExist InvalidNextTokenException
        400""",
    Family.DENIED: """
        AccessDeniedException AccessDenied AuthorizationError AuthorizationErrorException
        NotAuthorized OptInRequired UnrecognizedClientException InvalidClientTokenId
        InvalidAccessKeyId AllAccessDisabled AccountProblem InvalidSecurity
        InvalidSecurityException KmsAccessDeniedException KMSAccessDenied KMSAccessDeniedException
        403""",
    Family.MISSING: """
        ResourceNotFoundException ResourceNotFound NotFound NotFoundException NoSuchBucket
        StateMachineDoesNotExist 404""",
    Family.KMS_KEY: """
        DecryptionFailure EncryptionFailure KmsInvalidStateException KMSDisabled
        KMSDisabledException KMSInvalidState KMSInvalidStateException KMSNotFound
        KMSNotFoundException KMSOptInRequired KMS.DisabledException KMS.NotFoundException
        KMS.KMSInvalidStateException""",
    Family.REFUSED: """
        InvalidParameterException InvalidParameter InvalidParameterValue
        InvalidParameterValueException ParameterValueInvalid InvalidRequestException InvalidRequest
        ValidationException ValidationError LimitExceededException ResourceExistsException
        ExecutionAlreadyExists InvalidArn InvalidExecutionInput InvalidName InvalidToken
        StateMachineDeleting StateMachineTypeNotSupported
        InvalidWriteOffset TooManyParts EncryptionTypeMismatch PreconditionFailed
        EndpointDisabled EndpointDisabledException PlatformApplicationDisabled
        PlatformApplicationDisabledException
        IncompleteSignature SignatureDoesNotMatch InvalidSignatureException
        MalformedHttpRequestException MissingAction UnknownOperationException
        RequestEntityTooLargeException PermanentRedirect AuthorizationHeaderMalformed 301""",
}
FAMILY_OF: Mapping[str, Family] = {
    code: family for family, codes in _CODES.items() for code in codes.split()
}
# The response did not arrive, or cannot be parsed.
PASSING_FAULTS = (
    exceptions.ChecksumError,
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
)
NO_CREDENTIALS = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)


def code_of(error: ClientError) -> str:
    """The name of an error in AWS's response."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def family_of(error: ClientError) -> Family:
    """The family of an error: by its code, else by the class of its HTTP status."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    unlisted = Family.PASSING if status >= 500 or status == 429 else Family.REFUSED
    return FAMILY_OF.get(code_of(error), unlisted)


def translate(
    error: ClientError, doing: str, unavailable: type[errors.KeyturnError]
) -> errors.KeyturnError:
    """Keyturn's error for one of AWS's, without its text, which may quote the request. Pure."""
    family, code = family_of(error), code_of(error)
    if family is Family.PASSING:
        return unavailable(f"{doing} failed: {code}. It is safe to try again.")
    if family is Family.DENIED:
        return _denied(doing)
    stays = "Nothing was changed by this call, and a retry would fail too."
    if family is Family.MISSING:
        return errors.AwsResourceNotFound(
            f"{doing} failed: {code}. The resource does not exist. {stays} It was deleted, or the"
            " stack's parameter names another."
        )
    if family is Family.KMS_KEY:
        return errors.KmsKeyUnusable(
            f"{doing} failed: {code}. Its KMS key cannot be used: it is disabled, pending"
            f" deletion, or deleted. {stays} Find its state with aws kms describe-key; enable it,"
            " or cancel the deletion with aws kms cancel-key-deletion."
        )
    return errors.AwsRefused(
        f"{doing} was refused: {code}. {stays} See docs/operations.md, AwsRefused."
    )


def translate_fault(
    error: Exception, doing: str, unavailable: type[errors.KeyturnError]
) -> errors.KeyturnError:
    """Keyturn's error for a call without a response: lost on the way, or never sent. Pure."""
    if isinstance(error, NO_CREDENTIALS):
        return _denied(doing)
    name = type(error).__name__
    if isinstance(error, BotoCoreError) and not isinstance(error, PASSING_FAULTS):
        return errors.AwsRefused(
            f"{doing} was not sent: {name}. Nothing was changed by this call, and a retry would"
            " fail too. See docs/operations.md, AwsRefused."
        )
    return unavailable(f"{doing} got no valid response ({name}). It is safe to try again.")


def _denied(doing: str) -> errors.AccessDenied:
    return errors.AccessDenied(
        f"AWS denied {doing}. Nothing was changed by this call. Check the function's role,"
        " the resource policy and the KMS key's policy."
    )
