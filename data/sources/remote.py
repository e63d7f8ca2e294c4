"""Sources on S3: objects under a prefix, listed page by page and read in ranges.

A source on S3 holds the items that the same files hold in a folder, under the same names. An
object's etag tells whether it has changed, so clocks play no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from data.sources.formats import format_of, why_not
from data.sources.key_files import KEYS, is_keys_file, keys_file_of
from data.sources.listing import HIDDEN, GlobPattern
from data.sources.making import SourceFile
from data.sources.reading import Source
from data.sources.records import BadRecord, FileEntry, bad_record, file_name, path_of
from data.stores.ranges import open_object
from data.stores.s3 import S3Store
from latentlake.errors import BadInputError, ConfigError, LakeError, SourceError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from data.stores import StoredFile
    from latentlake.source_settings import SourceSettings


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object as the readers take it: in place of a path."""

    store: S3Store
    key: str

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    def with_name(self, name: str) -> RemoteFile:
        """Return the object of another name beside it."""
        return RemoteFile(self.store, f"{self.key[: -len(self.name)]}{name}")

    def open(self) -> io.BufferedReader:
        """Open it for reading; see `data.stores.ranges.open_object`."""
        return open_object(self.store.bucket, self.store.prefix + self.key)

    def size_bytes(self) -> int | None:
        """Return its size, None where it is gone."""
        return self.store.size(self.key)


class RemoteSource(Source):
    """One configured place on S3; made by `open_remote`."""

    def __init__(
        self,
        settings: SourceSettings,
        store: S3Store,
        single: StoredFile | None,
        pattern: GlobPattern | None,
    ) -> None:
        super().__init__(settings, PurePosixPath(), None, None)
        self._store, self._object, self._pattern = store, single, pattern

    def list_files(self) -> Iterator[FileEntry | BadRecord]:
        """Yield the objects that can be read, in the order of their keys, a page at a time."""
        self._ignored.clear()
        if self._object is not None:
            yield self._with_keys(self._object)
            return
        for found in self._store.files(""):
            name = found.name
            if any(part.startswith(".") and part.strip(".") for part in name.split("/")):
                self._ignored[HIDDEN] += 1
            elif name.endswith("/") or not self._is_wanted(name):
                continue  # consoles make empty objects that stand for folders
            elif is_keys_file(self.settings, name):
                self._ignored[KEYS] += 1
            elif format_of(name, self.settings.kind) is not None:
                yield self._with_keys(found)
            elif self._pattern is not None:
                problem = BadInputError(why_not(name, self.settings.kind))
                yield bad_record(file_name(name), None, "list", problem)
            else:
                self._ignored[PurePosixPath(name).suffix.lower()] += 1

    def _with_keys(self, found: StoredFile) -> FileEntry | BadRecord:
        """Return an object's entry; with a file of keys it is one of both, as `with_keys` says."""
        entry = _checked(found)
        beside = keys_file_of(self.settings, found.name)
        if beside is None or isinstance(entry, BadRecord):
            return entry
        keys = self._store.head(RemoteFile(self._store, found.name).with_name(beside).key)
        if keys is None:
            return entry
        size_bytes = entry.size_bytes + keys.size_bytes
        return FileEntry(entry.file, size_bytes, entry.modified_at, f"{found.etag} {keys.etag}")

    def _is_wanted(self, name: str) -> bool:
        return self._pattern is None or self._pattern.matches(name)

    def _source_file(self, file: str) -> SourceFile:
        key = path_of("", file).as_posix()
        found = format_of(key, self.settings.kind)
        if found is None:
            raise BadInputError(why_not(key, self.settings.kind))
        return SourceFile(RemoteFile(self._store, key), file, found, self.settings)


def open_remote(settings: SourceSettings, uri: str) -> Source:
    """Find a place on S3: an object, a prefix, or a glob over the keys below its fixed part.

    Raises:
        SourceError: there is nothing, S3 refuses, or one object of a kind that cannot be read.
        MissingExtraError: the optional package for S3 is not installed.
    """
    try:
        return _opened(settings, uri.rstrip("/"))
    except LakeError as error:
        raise SourceError(settings.name, f"cannot list '{uri}': {error}") from error
    except ConfigError as error:
        if type(error) is not ConfigError:
            raise
        raise SourceError(settings.name, str(error)) from error


def _opened(settings: SourceSettings, uri: str) -> Source:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    whole = S3Store(f"s3://{bucket}")
    single = whole.head(key) if key else None
    if single is not None:
        if format_of(key, settings.kind) is None:
            raise SourceError(settings.name, f"'{uri}': {why_not(key, settings.kind)}")
        folder, _, name = key.rpartition("/")
        found = type(single)(name, single.size_bytes, single.modified_ns, single.etag)
        return RemoteSource(settings, _below(bucket, folder), found, None)
    pattern = GlobPattern.parse(key)
    if pattern is not None and next(whole.files(key), None) is None:
        base = pattern.base.as_posix()
        return RemoteSource(settings, _below(bucket, "" if base == "." else base), None, pattern)
    store = _below(bucket, key)
    if next(store.files(""), None) is None:
        raise SourceError(settings.name, f"cannot list '{uri}': there are no objects")
    return RemoteSource(settings, store, None, None)


def _below(bucket: str, folder: str) -> S3Store:
    return S3Store(f"s3://{bucket}/{folder}".rstrip("/"))


def _checked(found: StoredFile) -> FileEntry | BadRecord:
    entry = _entry(found)
    try:
        path_of("", entry.file)
    except BadInputError as error:
        return bad_record(entry.file, None, "list", error)
    return entry


def _entry(found: StoredFile) -> FileEntry:
    return FileEntry(file_name(found.name), found.size_bytes, found.modified_ns, found.etag)
