"""Files of this machine to S3: one PUT, or the parts of an upload that is completed at the end."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from data.stores.connection import connect
from data.stores.retries import is_absent, retrying
from latentlake.errors import StoreError

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
    put = partial(connect().client.put_object, Bucket=bucket, Key=key, Body=content)
    retrying(f"s3://{bucket}/{key}", put)


def _upload_parts(bucket: str, key: str, path: Path, size: int) -> None:
    from botocore.exceptions import ClientError

    client, place = connect().client, f"s3://{bucket}/{key}"
    where = {"Bucket": bucket, "Key": key}
    begun = retrying(place, partial(client.create_multipart_upload, **where))
    mine = where | {"UploadId": begun["UploadId"]}
    try:
        parts: list[dict[str, Any]] = []
        with path.open("rb") as stream:
            while part := stream.read(PART_BYTES):
                number = len(parts) + 1
                put = partial(client.upload_part, **mine, PartNumber=number, Body=part)
                answer = retrying(place, put)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        try:
            done = {"Parts": parts}
            retrying(place, partial(client.complete_multipart_upload, **mine, MultipartUpload=done))
        except ClientError as error:
            # An upload that is gone was completed by a try whose answer was lost.
            held = retrying(place, partial(client.head_object, **where))
            if not is_absent(error) or held["ContentLength"] != size:
                raise
    except BaseException:
        with suppress(ClientError, StoreError):  # the first error is the one to tell
            retrying(place, partial(client.abort_multipart_upload, **mine))
        raise


def abort_uploads(bucket: str, prefix: str) -> int:
    """End the uploads under a prefix that were begun and not completed; return how many.

    Their parts are kept, and paid for, until somebody does.
    """
    from botocore.exceptions import ClientError

    client, place = connect().client, f"s3://{bucket}/{prefix}"
    found = retrying(place, partial(client.list_multipart_uploads, Bucket=bucket, Prefix=prefix))
    begun = found.get("Uploads", ())
    for one in begun:
        mine = {"Bucket": bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
        with suppress(ClientError):  # it has ended meanwhile
            retrying(place, partial(client.abort_multipart_upload, **mine))
    return len(begun)
