"""Keeps the records of runs in a bucket: one object a run."""

from keyturn import errors
from keyturn.adapters import aws


class S3Records:
    """Records under `rotations/<rotation id>.json`; an empty bucket name keeps none."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def keep(self, rotation_id: str, document: str) -> str | None:
        """Store the record, the same place for the same run. Raises RecordNotStored."""
        if not self._bucket:
            return None
        key = f"rotations/{rotation_id}.json"
        with aws.translated(f"s3:PutObject on {self._bucket}/{key}", errors.RecordNotStored):
            aws.client("s3").put_object(
                Bucket=self._bucket,
                Key=key,
                Body=document.encode(),
                ContentType="application/json",
            )
        return f"s3://{self._bucket}/{key}"
