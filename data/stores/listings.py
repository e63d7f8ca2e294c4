"""What S3 says of its objects: pages of a listing, and single entries."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from data.stores.base import StoredFile
from data.stores.connection import connect
from data.stores.retries import retrying

if TYPE_CHECKING:
    from collections.abc import Iterator


def pages(bucket: str, **arguments: str) -> Iterator[Any]:
    """Yield the pages of a listing, each of at most 1,000 keys.

    Raises:
        StoreError, StoreUnavailableError: S3 refused or did not answer.
    """
    client, after = connect().client, dict[str, str]()
    while True:
        call = partial(client.list_objects_v2, Bucket=bucket, **arguments, **after)
        page = retrying(f"s3://{bucket}/{arguments.get('Prefix', '')}", call)
        yield page
        if not page.get("IsTruncated"):
            return
        after = {"ContinuationToken": page["NextContinuationToken"]}


def stored(name: str, size_bytes: int, answer: Any) -> StoredFile:
    """Read an entry of a listing, or the answer to a HEAD."""
    modified_ns = int(answer["LastModified"].timestamp()) * 10**9
    return StoredFile(name, size_bytes, modified_ns, str(answer["ETag"]).strip('"'))
