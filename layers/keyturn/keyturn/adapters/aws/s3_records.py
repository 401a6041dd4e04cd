"""Keeps the records of runs in a bucket: an object for each execution, written once.

A conditional write never replaces an object. If the name is taken, by an earlier attempt whose
response was lost or by another writer, the document gets a second name, and both stay.
Source: Amazon S3 User Guide, "How to prevent object overwrites with conditional writes".
"""

from botocore.exceptions import ClientError

from keyturn import errors
from keyturn.adapters.aws import client
from keyturn.adapters.aws import errors as aws_errors

NAMES_TRIED = 10


class S3Records:
    """Records under `rotations/<name>.json`; an empty bucket name keeps none."""

    def __init__(self, bucket: str, account: str) -> None:
        """`account` owns the bucket: a bucket of that name in any other is refused."""
        self._bucket = bucket
        self._owned = {"Bucket": bucket, "ExpectedBucketOwner": account}

    def keep(self, name: str, document: str) -> str | None:
        """Store a record, and return where it is. Raises RecordNotStored; see `aws.translated`."""
        if not self._bucket:
            return None
        for number in range(1, NAMES_TRIED + 1):
            key = f"rotations/{name}{f'.{number}' if number > 1 else ''}.json"
            if self._put(key, document):
                return f"s3://{self._bucket}/{key}"
        raise errors.RecordNotStored(
            f"The bucket {self._bucket} already has {NAMES_TRIED} records named {name}. None was"
            " replaced and this one was not stored; it is in the execution's output. Find out who"
            " writes to the bucket."
        )

    def check_ready(self) -> None:
        """Verify that the bucket exists, belongs to the account, and can be reached."""
        if not self._bucket:
            return
        with client.translate_errors(f"s3:ListBucket on {self._bucket}", errors.RecordNotStored):
            client.client("s3").head_bucket(**self._owned)

    def _put(self, key: str, document: str) -> bool:
        """Write an object; False where there is one of that name."""
        with client.translate_errors(
            f"s3:PutObject on {self._bucket}/{key}", errors.RecordNotStored
        ):
            try:
                client.client("s3").put_object(
                    **self._owned,
                    Key=key,
                    Body=document.encode(),
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if aws_errors.code_of(error) != "PreconditionFailed":
                    raise
                return False
        return True
