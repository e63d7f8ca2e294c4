"""A configured place as a stream of files, and a file as a stream of items.

Nothing that a file contains makes these streams raise: what cannot be used comes out as a
`BadRecord`, and the stream goes on as far as it can.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zlib
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from data.sources.csv_table import read_csv
from data.sources.formats import Container, format_of, why_not
from data.sources.json_lines import read_json, read_json_lines
from data.sources.key_files import KEYS, is_keys_file, keys_file_of, with_keys
from data.sources.listing import FolderWalk, GlobPattern
from data.sources.making import SourceFile
from data.sources.plain_images import read_plain_image
from data.sources.plain_text import read_text_file, read_text_lines
from data.sources.records import BadRecord, FileEntry, Record, Stage, bad_record, file_name, path_of
from data.sources.tar_shards import read_tar
from data.sources.text_lines import is_encoding
from latentlake.errors import BadInputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from latentlake.source_settings import SourceSettings

# What damaged, hostile or vanished files raise; anything else is a bug and keeps its traceback.
_FILE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    tarfile.TarError,
    zlib.error,
    BadInputError,
)


class Source:
    """One configured place; made by `open_source`.

    Attributes:
        settings: as configured.
        base: the folder that all `file` paths are relative to.
    """

    def __init__(
        self,
        settings: SourceSettings,
        base: PurePath,
        single: str | None,
        walk: FolderWalk | None,
    ) -> None:
        self.settings, self.base = settings, base
        self._single, self._walk = single, walk
        self._ignored: Counter[str] = Counter()

    @property
    def ignored(self) -> int:
        """How many files and linked or hidden folders the last whole listing passed over."""
        return sum(self.ignored_by_kind.values())

    @property
    def ignored_by_kind(self) -> dict[str, int]:
        """The same, by extension ("" for none), "(hidden)", "(keys)", "(linked folder)"."""
        return dict(self._ignored + (self._walk.skipped if self._walk else Counter()))

    def list_files(self) -> Iterator[FileEntry | BadRecord]:
        """Yield the files that can be read, in the order of their paths, as they are found.

        A folder's other files are counted in `ignored`; files that were named by the
        configuration, singly or by a glob, and cannot be read are bad.
        """
        self._ignored.clear()
        found = [self._single] if self._single is not None else iter(self._walk or ())
        for path in found:
            if isinstance(path, BadRecord):
                yield path
            elif is_keys_file(self.settings, path):
                self._ignored[KEYS] += 1
            elif format_of(path, self.settings.kind) is not None:
                yield self._entry(path)
            elif self._walk is not None and self._walk.pattern is not None:
                problem = BadInputError(why_not(path, self.settings.kind))
                yield bad_record(file_name(path), None, "list", problem)
            else:
                self._ignored[Path(path).suffix.lower()] += 1

    def is_container(self, file: str) -> bool:
        """Say whether a file may hold many items, and so is better streamed than read at once."""
        found = format_of(file, self.settings.kind)
        return found is not None and found.container not in (Container.IMAGE, Container.DOCUMENT)

    def read_file(self, file: str) -> Iterator[Record | BadRecord]:
        """Yield a file's items in their order, in bounded memory.

        Args:
            file: a `FileEntry.file`.
        """
        source: SourceFile | None = None
        try:
            source = self._source_file(file)
            yield from _read(source)
        except _FILE_ERRORS as error:
            yield bad_record(file, None, _stage(error), error, _size_bytes(source))

    def _entry(self, path: str) -> FileEntry | BadRecord:
        try:
            found = Path(self.base, path).stat()
        except OSError as error:
            return bad_record(file_name(path), None, "list", error)
        if not stat.S_ISREG(found.st_mode):
            problem = BadInputError("not a regular file but a pipe, socket or device")
            return bad_record(file_name(path), None, "list", problem)
        entry = FileEntry(file_name(path), found.st_size, found.st_mtime_ns)
        beside = keys_file_of(self.settings, path)
        keys = Path(self.base, path).with_name(beside) if beside else None
        return with_keys(entry, keys.stat()) if keys and keys.is_file() else entry

    def _source_file(self, file: str) -> SourceFile:
        path = path_of(Path(self.base), file)
        found = format_of(path.name, self.settings.kind)
        if found is None:
            raise BadInputError(why_not(path.name, self.settings.kind))
        return SourceFile(path, file, found, self.settings)


def open_source(settings: SourceSettings, uri: str) -> Source:
    """Find a configured place.

    Args:
        settings: the source's.
        uri: its place, absolute or an `s3://` URL: a folder, a glob or a file. A place that exists
            is meant as it stands, even with wildcards in its name.

    Raises:
        SourceError: the place does not exist or cannot be listed, a single file is of no use for
            this kind of source, or the encoding is unknown.
    """
    if not is_encoding(settings.encoding):
        raise SourceError(settings.name, f"unknown encoding '{settings.encoding}'")
    if uri.startswith("s3://"):
        from data.sources.remote import open_remote

        return open_remote(settings, uri)
    if "://" in uri:
        raise SourceError(settings.name, f"'{uri}': only local places and s3:// can be read")
    try:
        return _open_local(settings, uri)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(settings.name, f"cannot list '{uri}': {reason}") from error


def _open_local(settings: SourceSettings, uri: str) -> Source:
    place = Path(uri)
    pattern = None if place.exists() else GlobPattern.parse(uri)
    if pattern is not None:
        _listable(pattern.base)
        return Source(settings, pattern.base, None, FolderWalk(pattern.base, pattern))
    if place.is_dir():
        _listable(place)
        return Source(settings, place, None, FolderWalk(place))
    place.stat()
    if format_of(place.name, settings.kind) is None:
        raise SourceError(settings.name, f"'{uri}': {why_not(place.name, settings.kind)}")
    return Source(settings, place.parent, place.name, None)


def _listable(folder: Path) -> None:
    with os.scandir(folder):
        pass


def _read(source: SourceFile) -> Iterator[Record | BadRecord]:
    return _READERS[source.format.container](source)


def _read_parquet(source: SourceFile) -> Iterator[Record | BadRecord]:
    import pyarrow as pa  # takes as long to load as all the rest, and is not always needed

    from data.sources.parquet_table import read_parquet

    try:
        yield from read_parquet(source)
    except pa.ArrowException as error:
        raise BadInputError(f"no Parquet, or damaged: {error}") from error


def _read_arrow(source: SourceFile) -> Iterator[Record | BadRecord]:
    import pyarrow as pa

    from data.sources.arrow_table import read_arrow

    try:
        yield from read_arrow(source)
    except pa.ArrowException as error:
        raise BadInputError(f"no Arrow IPC, or damaged: {error}") from error


def _read_npy(source: SourceFile) -> Iterator[Record | BadRecord]:
    from data.sources.npy_matrix import read_npy

    yield from read_npy(source)


def _read_plain_text(source: SourceFile) -> Iterator[Record | BadRecord]:
    return read_text_lines(source) if source.settings.lines else read_text_file(source)


_READERS: Final[dict[Container, Callable[[SourceFile], Iterator[Record | BadRecord]]]] = {
    Container.IMAGE: read_plain_image,
    Container.TAR: read_tar,
    Container.PARQUET: _read_parquet,
    Container.ARROW: _read_arrow,
    Container.NPY: _read_npy,
    Container.JSON: read_json,
    Container.JSON_LINES: read_json_lines,
    Container.CSV: read_csv,
    Container.TEXT: _read_plain_text,
    Container.DOCUMENT: read_text_file,
}


def _stage(error: BaseException) -> Stage:
    return "read" if isinstance(error, (OSError, EOFError, zlib.error)) else "parse"


def _size_bytes(source: SourceFile | None) -> int | None:
    try:
        if source is None:
            return None
        path = source.path
        return path.stat().st_size if isinstance(path, Path) else path.size_bytes()
    except OSError:
        return None
