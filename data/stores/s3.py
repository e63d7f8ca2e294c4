"""A store under a prefix of an S3 bucket."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.stores import copies
from data.stores.base import StoredFile
from data.stores.connection import connect
from data.stores.retries import is_absent, is_condition, retrying
from data.stores.uploads import upload
from latentlake.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow.fs import FileSystem

_DELETED_AT_ONCE = 1000


class S3Store:
    """Objects below `s3://bucket/prefix`. An object appears whole: with its one PUT, or not at all.

    Attributes:
        bucket: the bucket.
        prefix: what all keys begin with, with a slash at its end; empty for a whole bucket.
    """

    def __init__(self, root: str) -> None:
        self.bucket, self.prefix = split(root)
        connect()  # a missing package or credentials are told now, not in the middle of a run

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """The root as an `s3://` URL."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def filesystem(self) -> FileSystem:
        """Arrow's client."""
        return connect().filesystem()

    @property
    def delta_options(self) -> dict[str, str]:
        """Delta's storage options; the bucket has proved that racing commits are safe on it."""
        self._require_conditions()
        return connect().delta_options()

    def address(self, name: str = "") -> str:
        """Return the `s3://` URL of a name."""
        return f"{self.uri}/{name}".rstrip("/")

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, or None where there is no such object."""
        found = self.head(name)
        return None if found is None else found.size_bytes

    def head(self, name: str) -> StoredFile | None:
        """Return what S3 says of an object, or None where there is no such object."""
        try:
            answer = self._call("head_object", name)
        except self._errors as error:
            if is_absent(error):
                return None
            raise
        return _stored(name, answer["ContentLength"], answer)

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""

        def get() -> bytes:
            answer = connect().client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            content: bytes = answer["Body"].read()
            return content

        try:
            return retrying(self.address(name), get)
        except self._errors as error:
            if is_absent(error):
                raise FileNotFoundError(self.address(name)) from None
            raise StoreError(self.address(name), str(error)) from None

    def write(self, name: str, content: bytes) -> None:
        """Write an object in one PUT."""
        self._call("put_object", name, Body=content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a new object; return False, and change nothing, if the key is taken.

        The request is a PUT with If-None-Match. Where an answer was lost the object may be our own:
        it carries a mark that tells.
        """
        self._require_conditions()
        return self._created(name, content)

    def _created(self, name: str, content: bytes) -> bool:
        mark = secrets.token_hex(16)
        tries = 0

        def put() -> None:
            nonlocal tries
            tries += 1
            connect().client.put_object(
                Bucket=self.bucket,
                Key=self.prefix + name,
                Body=content,
                IfNoneMatch="*",
                Metadata={"writer": mark},
            )

        try:
            retrying(self.address(name), put)
        except self._errors as error:
            if not is_condition(error):
                raise StoreError(self.address(name), str(error)) from None
            return tries > 1 and self._mark_of(name) == mark
        return True

    def _mark_of(self, name: str) -> str | None:
        try:
            answer = self._call("head_object", name)
        except self._errors as error:
            if is_absent(error):
                return None
            raise
        mark: str | None = answer["Metadata"].get("writer")
        return mark

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all objects under a folder in the order of their keys, a page at a time."""
        for page in self._pages(Prefix=self._folder(folder)):
            for found in page.get("Contents", ()):
                name = found["Key"].removeprefix(self.prefix)
                yield _stored(name, found["Size"], found)

    def names(self, folder: str) -> list[str]:
        """Return the last names of the objects directly in a folder, sorted."""
        prefix = self._folder(folder)
        pages = self._pages(Prefix=prefix, Delimiter="/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return [key.removeprefix(prefix) for key in keys]

    def folders(self, folder: str) -> list[str]:
        """Return the last names of the folders directly in a folder, sorted."""
        pages = self._pages(Prefix=self._folder(folder), Delimiter="/")
        keys = [found["Prefix"] for page in pages for found in page.get("CommonPrefixes", ())]
        return sorted(key.rstrip("/").rpartition("/")[2] for key in keys)

    def delete_folder(self, folder: str) -> None:
        """Delete all objects under a folder."""
        keys = [{"Key": self.prefix + found.name} for found in self.files(folder)]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            call = partial(connect().client.delete_objects, Bucket=self.bucket, Delete=some)
            retrying(self.address(folder), call)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Yield this machine's copy of an object, fetched if its etag is new."""
        found = self.head(name)
        if found is None:
            raise FileNotFoundError(self.address(name))
        yield copies.local_copy(self.bucket, self.prefix + name, found)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary file, which is uploaded at the block's end."""
        with tempfile.TemporaryDirectory(prefix="latentlake-") as folder:
            path = Path(folder, name.rpartition("/")[2])
            yield path
            upload(self.bucket, self.prefix + name, path)

    def local_folder(self, folder: str) -> Path:
        """Return a folder of this machine with copies of all objects under a folder."""
        found = list(self.files(folder))
        if not found:
            raise FileNotFoundError(self.address(folder))
        return copies.local_folder(self.bucket, self.prefix + folder, self.prefix, found)

    def publish(self, local: Path, folder: str) -> None:
        """Upload a finished folder; files that are there, whole, are passed over.

        An upload that was cut off is completed by the next run, which makes the same files.
        """
        held = {found.name: found.size_bytes for found in self.files(folder)}
        for path in sorted(path for path in local.rglob("*") if path.is_file()):
            name = f"{folder}/{path.relative_to(local).as_posix()}"
            if held.get(name) != path.stat().st_size:
                upload(self.bucket, self.prefix + name, path)

    @contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:  # noqa: ARG002  a local store needs the name
        """Yield a temporary folder of this machine."""
        work = Path(tempfile.mkdtemp(prefix="latentlake-"))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _folder(self, folder: str) -> str:
        return f"{self.prefix}{folder}/" if folder else self.prefix

    def _pages(self, **arguments: str) -> Iterator[Any]:
        client = connect().client
        after: dict[str, str] = {}
        while True:
            rest = arguments | after
            call = partial(client.list_objects_v2, Bucket=self.bucket, **rest)
            page = retrying(self.uri, call)
            yield page
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, operation: str, name: str, **arguments: Any) -> Any:
        method = getattr(connect().client, operation)
        call = partial(method, Bucket=self.bucket, Key=self.prefix + name, **arguments)
        return retrying(self.address(name), call)

    @property
    def _errors(self) -> type[Exception]:
        from botocore.exceptions import ClientError

        refused: type[Exception] = ClientError
        return refused

    def _require_conditions(self) -> None:
        _prove_conditions(connect().endpoint, self.bucket, self.prefix)


@lru_cache(maxsize=16)
def _prove_conditions(endpoint: str | None, bucket: str, prefix: str) -> None:  # noqa: ARG001
    """Make the endpoint show, once a process, that it refuses to create an object twice.

    Raises:
        ConfigError: it does not; two runs could overwrite each other's commits.
    """
    store = S3Store(f"s3://{bucket}/{prefix}")
    name = f"work/probe-{secrets.token_hex(8)}"
    try:
        if not all(store._created(name, content) for content in (b"1", b"2")):  # noqa: SLF001
            return
    finally:
        store._call("delete_object", name)  # noqa: SLF001
    raise ConfigError(
        f"s3://{bucket}: this endpoint ignores If-None-Match, so two runs could overwrite each "
        "other's commits. Use one that has conditional writes (Amazon S3, MinIO, Ceph, R2)."
    )


def split(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of an `s3://` URL; the prefix ends with a slash or is empty.

    Raises:
        ConfigError: there is no bucket in it, or an empty or relative part.
    """
    bucket, _, rest = uri.removeprefix("s3://").partition("/")
    prefix = rest.rstrip("/")
    if not bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ConfigError(f"'{uri}': s3://bucket/prefix is the form of a place on S3.")
    return bucket, f"{prefix}/" if prefix else ""


def _stored(name: str, size_bytes: int, answer: Any) -> StoredFile:
    modified_ns = int(answer["LastModified"].timestamp()) * 10**9
    return StoredFile(name, size_bytes, modified_ns, str(answer["ETag"]).strip('"'))
