"""S3 behind DuckDB without its httpfs extension: file systems of fsspec that DuckDB calls."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from data.stores.connection import connect
from data.stores.ranges import open_object
from data.stores.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The lake's files never change, so DuckDB may keep what it has read of them."""


class PerThread:
    """A file for several threads that each seek and then read, as DuckDB's do on one handle.

    Every thread has a reader, and so a place in the file, of its own.
    """

    def __init__(self, opened: Callable[[], io.BufferedIOBase]) -> None:
        self._opened = opened
        self._readers: dict[int, io.BufferedIOBase] = {}

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move this thread's place."""
        return self._own().seek(offset, whence)

    def tell(self) -> int:
        """Return this thread's place."""
        return self._own().tell()

    def read(self, count: int = -1) -> bytes:
        """Read on from this thread's place."""
        return self._own().read(count)

    def close(self) -> None:
        """Forget what was read."""
        self._readers.clear()

    def _own(self) -> io.BufferedIOBase:
        # Not thread-local data: DuckDB's threads are new to Python at each call.
        number = threading.get_ident()
        if number not in self._readers:
            self._readers[number] = self._opened()
        return self._readers[number]


class ReadOnlyS3(AbstractFileSystem):  # type: ignore[misc]
    """The objects under one root, for reading; DuckDB sees nothing else."""

    protocol = "s3"
    cachable = False  # codespell:ignore cachable

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = f"{root}/"
        connect()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> PerThread:
        bucket, key = self._split(path)
        if mode != "rb":
            raise PermissionError(f"s3://{bucket}/{key}: read only")
        return PerThread(partial(open_object, bucket, key))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return an object's size."""
        bucket, key = self._split(path)
        size = S3Store(f"s3://{bucket}").size(key)
        if size is None:
            raise FileNotFoundError(path)
        return {"name": path, "size": size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Say that a file is there: only names that Delta lists are asked for."""
        return bool(path)

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return a name as it is: Delta lists files, nothing is searched for."""
        self._split(path)
        return [path]

    def modified(self, path: str) -> datetime:
        """Return the same time for all files."""
        self._split(path)
        return _EPOCH

    def _split(self, path: str) -> tuple[str, str]:
        address = path if path.startswith("s3://") else f"s3://{path}"
        if not address.startswith(self._root) or "/../" in address:
            raise PermissionError(f"{address}: outside the lake")
        bucket, _, key = address.removeprefix("s3://").partition("/")
        return bucket, key


class SchemasOnly(ReadOnlyS3):
    """Shows every file as an empty table of the schema of its folder.

    DuckDB looks into a file when it makes a view over it. What it wants is the columns, which are
    known, so a catalog for other clients is written without a request.
    """

    def __init__(self, root: str, schemas: dict[str, pa.Schema]) -> None:
        super().__init__(root)
        self._shown: dict[str, bytes] = {}
        for folder, schema in schemas.items():
            buffer = io.BytesIO()
            pq.write_table(schema.empty_table(), buffer)
            self._shown[f"{self._root}{folder}/"] = buffer.getvalue()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> PerThread:  # noqa: ARG002
        return PerThread(partial(io.BytesIO, self._bytes(path)))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the size of the empty table."""
        return {"name": path, "size": len(self._bytes(path)), "type": "file"}

    def _bytes(self, path: str) -> bytes:
        address = path if path.startswith("s3://") else f"s3://{path}"
        return next(shown for base, shown in self._shown.items() if address.startswith(base))
