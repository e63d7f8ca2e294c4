"""Objects as Python's binary files: read in ranges of a bounded size, all of one version."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

from data.stores.connection import connect
from data.stores.retries import is_absent, is_condition, retrying, status_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 4 * 2**20
"""What one request fetches: large enough for the way to S3, small beside any budget."""


def open_object(bucket: str, key: str, etag: str | None = None) -> io.BufferedReader:
    """Open an object for reading and seeking; nothing is fetched before it is read.

    Reading raises FileNotFoundError where there is no such object, OSError where it was replaced
    after it was first read (or since `etag` was seen), and StoreError where S3 refuses.
    """
    return io.BufferedReader(_RangeReader(bucket, key, etag), CHUNK_BYTES)


class _RangeReader(io.RawIOBase):
    def __init__(self, bucket: str, key: str, etag: str | None) -> None:
        self._bucket, self._key, self._etag = bucket, key, etag
        self._at = 0
        self._size: int | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        match whence:
            case os.SEEK_SET:
                self._at = offset
            case os.SEEK_CUR:
                self._at += offset
            case _:
                self._at = self._length() + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if not target or (self._size is not None and self._at >= self._size):
            return 0
        content = self._fetch(self._at, min(len(target), CHUNK_BYTES))
        target[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _length(self) -> int:
        if self._size is None:
            answer = self._asked("head_object")
            self._size = int(answer[1])
            self._etag = answer[0]
        return self._size

    def _fetch(self, start: int, count: int) -> bytes:
        """Get one range, whole; botocore refuses a body that is shorter than was announced."""
        etag, size, content = self._asked("get_object", Range=f"bytes={start}-{start + count - 1}")
        self._etag, self._size = etag, size
        return content

    def _asked(self, operation: str, **arguments: str) -> tuple[str, int, bytes]:
        from botocore.exceptions import ClientError

        if self._etag is not None:
            arguments["IfMatch"] = f'"{self._etag}"'
        method = getattr(connect().client, operation)
        place = f"s3://{self._bucket}/{self._key}"

        def ask() -> tuple[str, int, bytes]:
            answer = method(Bucket=self._bucket, Key=self._key, **arguments)
            content = answer["Body"].read() if "Body" in answer else b""
            told = answer.get("ContentRange", "").rpartition("/")[2]
            return answer["ETag"].strip('"'), int(told or answer["ContentLength"]), content

        try:
            return retrying(place, ask)
        except ClientError as error:
            if status_of(error) == 416:  # noqa: PLR2004  an empty object has no ranges
                return self._etag or "", self._at, b""
            if is_absent(error):
                raise FileNotFoundError(errno.ENOENT, "no such object", place) from None
            if is_condition(error):
                raise OSError(errno.ESTALE, "the object changed while it was read") from None
            raise
