"""A store under a prefix of an S3 bucket."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from data.storage import scratch_folder
from data.stores import copies
from data.stores.checks import check_bucket
from data.stores.conditions import prove_conditions, put_if
from data.stores.connection import connect, split
from data.stores.leases import held_lease, leased
from data.stores.listings import pages, stored
from data.stores.retries import is_absent, refused, retrying
from data.stores.uploads import abort_uploads, upload
from latentlake.commit_points import reach
from latentlake.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from data.stores.base import StoredFile

Result = TypeVar("Result")
_DELETED_AT_ONCE = 1000


class S3Store:
    """Objects below `s3://bucket/prefix`. An object appears whole: with its one PUT, or not at all.

    Attributes:
        bucket: the bucket.
        prefix: what all keys begin with, with a slash at its end; empty for a whole bucket.
    """

    def __init__(self, root: str) -> None:
        self.bucket, self.prefix = split(root)
        check_bucket(self.bucket, self.prefix)  # told now, not in the middle of a run

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """The root as an `s3://` URL."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def delta_options(self) -> dict[str, str]:
        """Delta's storage options; the bucket has proved that racing commits are safe on it."""
        prove_conditions(connect().endpoint, self.bucket, self.prefix)
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
        return stored(name, answer["ContentLength"], answer)

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""

        def get() -> bytes:
            answer = connect().client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            content: bytes = answer["Body"].read()
            return content

        return self._found(name, get)

    def read_tagged(self, name: str) -> tuple[bytes, str, float] | None:
        """Return an object's bytes, its etag and its age; None where there is no such object.

        The age is in seconds, by the clock of the server, to the second.
        """

        def get() -> tuple[bytes, str, float]:
            answer = connect().client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            told = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
            age = parsedate_to_datetime(told) - answer["LastModified"]
            return answer["Body"].read(), answer["ETag"], age.total_seconds()

        try:
            return self._found(name, get)
        except FileNotFoundError:
            return None

    def _found(self, name: str, get: Callable[[], Result]) -> Result:
        try:
            return retrying(self.address(name), get)
        except self._errors as error:
            if is_absent(error):
                raise FileNotFoundError(self.address(name)) from None
            raise refused(self.address(name), error) from None

    def write(self, name: str, content: bytes, what: str = "file") -> None:
        """Write an object in one PUT."""
        reach(f"{what} written")
        self._call("put_object", name, Body=content)
        reach(f"{what} named")

    def create(self, name: str, content: bytes, what: str = "file") -> bool:
        """Write a new object; return False, and change nothing, if the key is taken."""
        reach(f"{what} written")
        if self.replace(name, content, None) is None:
            return False
        reach(f"{what} named")
        return True

    def replace(self, name: str, content: bytes, etag: str | None) -> str | None:
        """Write an object on a condition, in one PUT with If-Match or If-None-Match.

        Where an answer was lost the object may be our own: it carries a mark that tells.

        Args:
            name: the object's name.
            content: its bytes.
            etag: that of the object to be replaced; None where there must be none.

        Returns:
            The new etag; None, with nothing changed, where the condition does not hold.
        """
        prove_conditions(connect().endpoint, self.bucket, self.prefix)
        return put_if(self.bucket, self.prefix + name, content, etag)

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all objects under a folder in the order of their keys, a page at a time."""
        for page in pages(self.bucket, Prefix=self._folder(folder)):
            for found in page.get("Contents", ()):
                name = found["Key"].removeprefix(self.prefix)
                yield stored(name, found["Size"], found)

    def names(self, folder: str) -> list[str]:
        """Return the last names of the objects directly in a folder, sorted."""
        prefix = self._folder(folder)
        listed = pages(self.bucket, Prefix=prefix, Delimiter="/")
        keys = [found["Key"] for page in listed for found in page.get("Contents", ())]
        return [key.removeprefix(prefix) for key in keys]

    def folders(self, folder: str) -> list[str]:
        """Return the last names of the folders directly in a folder, sorted."""
        listed = pages(self.bucket, Prefix=self._folder(folder), Delimiter="/")
        keys = [found["Prefix"] for page in listed for found in page.get("CommonPrefixes", ())]
        return sorted(key.rstrip("/").rpartition("/")[2] for key in keys)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, many at a time; each time it is asked whether the lease still stands."""
        for start in range(0, len(names), _DELETED_AT_ONCE):
            self.require_writer()
            keys = [{"Key": self.prefix + n} for n in names[start : start + _DELETED_AT_ONCE]]
            some = {"Objects": keys, "Quiet": True}
            call = partial(connect().client.delete_objects, Bucket=self.bucket, Delete=some)
            answer = retrying(self.uri, call)
            for failed in answer.get("Errors", ()):
                raise StoreError(
                    self.address(failed["Key"].removeprefix(self.prefix)), failed["Code"]
                )

    def delete_folder(self, folder: str) -> None:
        """Delete all objects under a folder."""
        self.delete([found.name for found in self.files(folder)])

    def put_aside(self, name: str) -> None:
        """Copy an object to a temporary name and delete it; nothing there is fine."""
        folder, _, last = name.rpartition("/")
        source = {"Bucket": self.bucket, "Key": self.prefix + name}
        try:
            self._call("copy_object", f"{folder}/_tmp-damaged-{last}", CopySource=source)
        except self._errors as error:
            if is_absent(error):
                return
            raise refused(self.address(name), error) from None
        self.delete([name])

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Yield this machine's copy of an object, fetched if its etag is new."""
        found = self.head(name)
        if found is None:
            raise FileNotFoundError(self.address(name))
        yield copies.local_copy(self.bucket, self.prefix + name, found)

    @contextmanager
    def writing(self, name: str, what: str = "file") -> Iterator[Path]:
        """Yield a temporary file, which is uploaded at the block's end."""
        with scratch_folder() as folder:
            path = folder / name.rpartition("/")[2]
            yield path
            reach(f"{what} written")
            upload(self.bucket, self.prefix + name, path)
        reach(f"{what} named")

    def local_folder(self, folder: str) -> Path:
        """Return a folder of this machine with copies of all objects under a folder."""
        found = list(self.files(folder))
        if not found:
            raise FileNotFoundError(self.address(folder))
        return copies.local_folder(self.bucket, self.prefix + folder, self.prefix, found)

    def publish(self, local: Path, folder: str, what: str = "folder") -> None:
        """Upload a finished folder; files that are there, whole, are passed over.

        An upload that was cut off is completed by the next run, which makes the same files.
        """
        reach(f"{what} written")
        held = {found.name: found.size_bytes for found in self.files(folder)}
        for path in sorted(path for path in local.rglob("*") if path.is_file()):
            name = f"{folder}/{path.relative_to(local).as_posix()}"
            if held.get(name) != path.stat().st_size:
                upload(self.bucket, self.prefix + name, path)
        reach(f"{what} named")

    @contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:  # noqa: ARG002  a local store needs the name
        """Yield a temporary folder of this machine."""
        with scratch_folder() as work:
            yield work

    def sole_writer(self, command: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold the lease on `writer.lock`; see `data.stores.leases`."""
        return leased(self, command, wait=wait)

    def require_writer(self) -> None:
        """Ask S3 whether this process still holds the lease that it took."""
        if (lease := held_lease(self.uri)) is not None:
            lease.require()

    @property
    def epoch(self) -> int:
        """The lease's epoch whose undo note counts; 0 without a lease."""
        lease = held_lease(self.uri)
        return lease.epoch if lease is not None else 0

    def confirm_writer(self) -> None:
        """Note in the lease that what the last owner left has been undone."""
        if (lease := held_lease(self.uri)) is not None:
            lease.confirm()

    def remove_leftovers(self) -> int:
        """Delete plans, and end uploads that were never completed.

        Nothing here has a temporary name: an object is put whole or not at all.
        """
        plans = [found.name for found in self.files("work")]
        self.delete(plans)
        ended = abort_uploads(self.bucket, self.prefix)
        reach("leftovers removed")
        return len(plans) + ended

    def _folder(self, folder: str) -> str:
        return f"{self.prefix}{folder}/" if folder else self.prefix

    def _call(self, operation: str, name: str, **arguments: Any) -> Any:
        method = getattr(connect().client, operation)
        call = partial(method, Bucket=self.bucket, Key=self.prefix + name, **arguments)
        return retrying(self.address(name), call)

    @property
    def _errors(self) -> type[Exception]:
        from botocore.exceptions import ClientError

        refused: type[Exception] = ClientError
        return refused
