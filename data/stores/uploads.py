"""Files of this machine to S3: one PUT, or the parts of an upload that is completed at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data.stores.connection import connect
from data.stores.retries import is_absent, retrying

if TYPE_CHECKING:
    from pathlib import Path

PART_BYTES = 64 * 2**20
"""Up to 10,000 parts are allowed, so an object may have 625 GiB."""


def upload(bucket: str, key: str, path: Path) -> None:
    """Store a file's bytes under a key; the key never stands for a part of them.

    Raises:
        StoreError, StoreUnavailableError: S3 refused or did not answer; nothing was changed.
    """
    size = path.stat().st_size
    if size > PART_BYTES:
        _upload_parts(bucket, key, path, size)
        return
    content = path.read_bytes()
    client = connect().client
    retrying(
        f"s3://{bucket}/{key}", lambda _: client.put_object(Bucket=bucket, Key=key, Body=content)
    )


def _upload_parts(bucket: str, key: str, path: Path, size: int) -> None:
    from botocore.exceptions import ClientError

    client, place = connect().client, f"s3://{bucket}/{key}"
    where = {"Bucket": bucket, "Key": key}
    begun = retrying(place, lambda _: client.create_multipart_upload(**where))
    mine = where | {"UploadId": begun["UploadId"]}
    try:
        parts: list[dict[str, Any]] = []
        with path.open("rb") as stream:
            while part := stream.read(PART_BYTES):
                number = len(parts) + 1
                answer = retrying(
                    place,
                    lambda _, n=number, body=part: client.upload_part(
                        **mine, PartNumber=n, Body=body
                    ),
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        try:
            done = {"Parts": parts}
            retrying(
                place, lambda _: client.complete_multipart_upload(**mine, MultipartUpload=done)
            )
        except ClientError as error:
            # An upload that is gone was completed by a try whose answer was lost.
            held = retrying(place, lambda _: client.head_object(**where))
            if not is_absent(error) or held["ContentLength"] != size:
                raise
    except BaseException:
        client.abort_multipart_upload(**mine)
        raise
