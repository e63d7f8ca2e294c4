"""What in a source has to be read: its listing, held against what the lake knows of its files.

A file whose size and modification time are those of the last scan is not opened. It is read again
when they differ, when it was written so shortly before the last scan that a later write could
hide behind the same time stamp, when the last scan lies in the future (the clock was set back, so
time stamps may repeat), or when the reader or its settings have changed; then the contents' hashes
decide. On S3 the object's etag stands in the place of time stamps.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from data.content import content_id
from data.sources.records import BadRecord, FileEntry
from tasks.stages.describing import READER_VERSION, Origin, describe

if TYPE_CHECKING:
    from data.lake import Lake
    from data.sources import Source
    from latentlake.settings import SourceSettings

RACY_NS = 2_000_000_000
"""Time stamps as coarse as 2 s exist (FAT); a file younger than that at its scan is in doubt."""


Described = Iterable[dict[str, Any] | BadRecord]


@dataclass
class Scan:
    """A source's listing held against what the lake knows of it.

    Attributes:
        entries: all files that are there, by name.
        unlisted: what could not be listed.
        stale: the files to read, in listing order.
        vanished: names of files that were there at the last scan.
        known: rows of the table `files`, by name.
        started_ns: when the listing began, ns since the epoch.
    """

    entries: dict[str, FileEntry]
    unlisted: list[BadRecord]
    stale: list[FileEntry]
    vanished: list[str]
    known: dict[str, dict[str, Any]]
    started_ns: int

    @property
    def has_news(self) -> bool:
        """Whether anything has to be looked at."""
        return bool(self.stale or self.vanished or self.unlisted)


def reader_version(source: SourceSettings) -> str:
    """Return what decides how a file is read: the source's settings and the code's version."""
    how = source.model_dump_json(exclude={"name", "uri"})
    return f"{content_id(how)[:12]}.{READER_VERSION}"


def scan_source(lake: Lake, name: str, source: Source, reader: str) -> Scan:
    """List a source and sort its files into those to read, those to skip and those gone."""
    started_ns = time.time_ns()
    entries: dict[str, FileEntry] = {}
    unlisted: list[BadRecord] = []
    for entry in source.list_files():
        if isinstance(entry, BadRecord):
            unlisted.append(entry)
        else:
            entries[entry.file] = entry
    rows = lake.read("files", where=pc.field("source") == name).to_pylist()
    known = {row["file"]: row for row in rows}
    stale = [
        e for e in entries.values() if not _is_settled(e, known.get(e.file), reader, started_ns)
    ]
    vanished = [file for file in known if file not in entries]
    return Scan(entries, unlisted, stale, vanished, known, started_ns)


def _is_settled(
    entry: FileEntry, known: dict[str, Any] | None, reader: str, started_ns: int
) -> bool:
    """Say whether a file need not be opened: nothing about it has changed since it was read."""
    if known is None or entry.size_bytes != known["size_bytes"]:
        return False
    if not _is_unchanged(entry, known, started_ns):
        return False
    settings, read_with = reader.split(".", maxsplit=1)[0], str(known["reader"])
    same_settings = settings == read_with.split(".", maxsplit=1)[0]
    return same_settings and (known["quarantined"] == 0 or reader == read_with)


def _is_unchanged(entry: FileEntry, known: dict[str, Any], started_ns: int) -> bool:
    if entry.etag is not None:
        return bool(entry.etag == known["etag"])
    scanned_ns: int = known["scanned_ns"]
    if entry.modified_at != known["modified_ns"] or scanned_ns > started_ns:
        return False
    return entry.modified_at <= scanned_ns - RACY_NS


def read_files(
    source: Source, entries: list[FileEntry], origin: Origin, threads: int
) -> Iterator[tuple[FileEntry, Described]]:
    """Read files in order: single ones by a pool of threads, containers as streams of their own."""

    def rows(entry: FileEntry) -> Iterator[dict[str, Any] | BadRecord]:
        at = Origin(origin.source, origin.run_id, entry.modified_at)
        return (describe(record, at) for record in source.read_file(entry.file))

    def listed(entry: FileEntry) -> Described:
        return list(rows(entry))

    waiting = iter(entries)
    with ThreadPoolExecutor(threads) as pool:
        while window := list(islice(waiting, 64 * threads)):
            futures = [
                None if source.is_container(entry.file) else pool.submit(listed, entry)
                for entry in window
            ]
            for entry, future in zip(window, futures, strict=True):
                yield entry, rows(entry) if future is None else future.result()
