"""The errors of AWS Secrets Manager, with its codes and its words.

Codes are those of botocore's service model. Messages are AWS's own where they are known from
public reports of real accounts, and say the documented cause where they are not. None of them
quotes a secret's value.
"""


class AwsError(Exception):
    """An operation was refused.

    `code` is the AWS error type, `message` AWS's text, `status` the HTTP status: 400 for every
    error of the AWS JSON 1.1 protocol that is the caller's, not found included.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def invalid_parameter(message: str) -> AwsError:
    """Make the error for a parameter whose value is wrong in itself."""
    return AwsError("InvalidParameterException", message)


def invalid_request(message: str) -> AwsError:
    """Make the error for a parameter that is wrong for the secret's present state."""
    return AwsError("InvalidRequestException", message)


def secret_not_found() -> AwsError:
    """Make the error for a secret id that names no secret."""
    return AwsError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def value_not_found(what: str, name: str) -> AwsError:
    """Make the error for a version without a value; `what` is 'VersionId' or 'staging label'."""
    return AwsError(
        "ResourceNotFoundException",
        f"Secrets Manager can't find the specified secret value for {what}: {name}",
    )


def token_in_use(token: str, arn: str) -> AwsError:
    """Make the error for a token that already names a version with other content."""
    return AwsError(
        "ResourceExistsException",
        f"You can't use ClientRequestToken {token} because that value is already in use for a "
        f"version of secret {arn}.",
    )


def marked_for_deletion() -> AwsError:
    """Make the error for work on a secret that waits for its deletion."""
    return invalid_request(
        "You can't perform this operation on the secret because it was marked for deletion."
    )


def previous_rotation_incomplete() -> AwsError:
    """Make the error for RotateSecret while AWSPENDING is on a version other than AWSCURRENT."""
    return invalid_request("A previous rotation isn't complete. That rotation will be reattempted.")
