"""What in a source has to be read: its listing, held against what the lake knows of its files.

A file whose size and modification time are those of the last scan is not opened. It is read again
when they differ, when it was written so shortly before the last scan that a later write could
hide behind the same time stamp, when the last scan lies in the future (the clock was set back, so
time stamps may repeat), or when the reader or its settings have changed; then the contents' hashes
decide. On S3 the object's etag stands in the place of time stamps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data.content import content_id
from data.sources.records import BadRecord, FileEntry
from data.workspace import quoted
from tasks.stages.describing import READER_VERSION, Origin, describe, quarantine_row

if TYPE_CHECKING:
    from data.lake import Lake
    from data.sources import Source
    from data.workspace import Spool, Workspace
    from latentlake.source_settings import SourceSettings

RACY_NS = 2_000_000_000
"""Time stamps as coarse as 2 s exist (FAT); a file younger than that at its scan is in doubt."""

LISTING = pa.schema(
    [
        ("file", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("etag", pa.string()),
    ]
)

Described = Iterable[dict[str, Any] | BadRecord]


@dataclass(frozen=True, slots=True)
class Scan:
    """A source's listing held against what the lake knows of it.

    The workspace has the rest: the table `stale` of files to read, in listing order by `n`, the
    table `vanished` of files that were there at the last scan, and the views `known` of the rows of
    `files` and `known_bad` of those of `quarantine` that are this source's.

    Attributes:
        files: how many are there.
        stale: how many have to be read.
        vanished: how many have gone.
        unlisted: how many could not be listed.
        relisted: how many could not be listed at the last scan, and no longer stand there so.
        started_ns: when the listing began, ns since the epoch.
    """

    files: int
    stale: int
    vanished: int
    unlisted: int
    relisted: int
    started_ns: int

    @property
    def has_news(self) -> bool:
        """Whether anything has to be looked at."""
        return bool(self.stale or self.vanished or self.unlisted or self.relisted)


def reader_version(source: SourceSettings) -> str:
    """Return what decides how a file is read: the source's settings and the code's version."""
    others = set() if source.kind == "vectors" else {"vector", "keys"}
    how = source.model_dump_json(exclude={"name", "uri", *others})
    return f"{content_id(how)[:12]}.{READER_VERSION}"


def list_source(source: Source, files: Spool, bad: Spool, origin: Origin) -> None:
    """Write down what a source holds now, and what of it cannot even be listed."""
    for entry in source.list_files():
        if isinstance(entry, BadRecord):
            bad.add(quarantine_row(entry, origin.source, origin.run_id))
        else:
            files.add(
                {
                    "file": entry.file,
                    "size_bytes": entry.size_bytes,
                    "modified_ns": entry.modified_at,
                    "etag": entry.etag,
                }
            )


def compare_listing(
    work: Workspace, lake: Lake, name: str, reader: str, started_ns: int, unlisted: int
) -> Scan:
    """Sort the files of the view `listing` into those to read, those to skip and those gone."""
    for table in ("items", "files", "quarantine"):
        work.view_table(lake, table)
    mine = f"source = {quoted(name)}"
    work.execute(f"CREATE VIEW known AS FROM files WHERE {mine}")
    work.execute(f"CREATE VIEW known_bad AS FROM quarantine WHERE {mine} AND space IS NULL")
    work.execute(
        f"""CREATE TABLE stale AS SELECT l.* FROM listing l LEFT JOIN known k USING (file)
        WHERE NOT coalesce({_settled(reader, started_ns)}, false)"""
    )
    work.execute("CREATE TABLE vanished AS SELECT file FROM known ANTI JOIN listing USING (file)")
    relisted = work.count("known_bad ANTI JOIN unlisted USING (quarantine_id) WHERE stage = 'list'")
    return Scan(
        work.count("listing"),
        work.count("stale"),
        work.count("vanished"),
        unlisted,
        relisted,
        started_ns,
    )


def _settled(reader: str, started_ns: int) -> str:
    """Say in SQL that nothing about a listed file `l` has changed since it was read as `k`."""
    settings = reader.split(".", maxsplit=1)[0]
    return f"""l.size_bytes = k.size_bytes
        AND CASE WHEN l.etag IS NOT NULL THEN l.etag = k.etag
            ELSE l.modified_ns = k.modified_ns AND k.scanned_ns <= {started_ns}
            AND l.modified_ns <= k.scanned_ns - {RACY_NS} END
        AND split_part(k.reader, '.', 1) = {quoted(settings)}
        AND (k.quarantined = 0 OR k.reader = {quoted(reader)})"""


def stale_files(work: Workspace) -> Iterator[FileEntry]:
    """Yield the files to read, in listing order."""
    for batch in work.stream("SELECT * EXCLUDE (n) FROM stale ORDER BY n"):
        columns = (batch.column(name).to_pylist() for name in LISTING.names)
        yield from map(FileEntry, *columns)


def read_files(
    source: Source, entries: Iterable[FileEntry], origin: Origin, threads: int
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
