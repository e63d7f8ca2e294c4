"""Contents by reference: where each was last seen, and how to read it there again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.content import content_id
from data.images import decode_image
from data.sources import open_source
from data.sources.records import BadRecord, Record, VectorBytes
from data.workspace import quoted
from latentlake.errors import BadInputError
from tasks.stages.budget import budget_of

if TYPE_CHECKING:
    from data.lake import Lake
    from data.sources import Source
    from data.workspace import Workspace
    from latentlake.settings import Settings

Payload = bytes | str
_SLACK = 1024
"""How far from its place a record is looked for, in records."""
Load = Callable[[], Payload]

CONTENT_REFS = pa.schema(
    [
        ("content_id", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("key", pa.string()),
        ("position", pa.int64()),
        ("size_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class ContentRef:
    """A content and the first place it can be read from; the columns of `CONTENT_REFS`.

    Attributes:
        content_id: the hash of its bytes.
        source: the source's name.
        file: the file in it.
        key: the item's name in the file; None where the file is the item.
        position: where in the file it is, from 0; None where the file is the item.
        size_bytes: of the content.
    """

    content_id: str
    source: str
    file: str
    key: str | None
    position: int | None
    size_bytes: int


class ContentGoneError(BadInputError):
    """The content is no longer where the last ingest saw it; the next ingest will sort it out."""

    def __init__(self, ref: ContentRef) -> None:
        self.ref = ref
        super().__init__(f"{ref.source}: {ref.file}: changed since it was ingested")


def item_of(payload: Payload, min_side: int | None = None) -> Any:
    """Return a content as encoders take it: pixels, a text, or a vector (dim,) float32.

    Args:
        payload: as a `Load` returns it.
        min_side: what of a photo's shorter side must be kept; see `data.images.decode_image`.

    Raises:
        BadInputError: the picture cannot be decoded.
    """
    if isinstance(payload, VectorBytes):
        return np.frombuffer(payload, "<f4")
    return decode_image(payload, min_side) if isinstance(payload, bytes) else payload


def view_first_places(
    work: Workspace, lake: Lake, sources: Sequence[str], known: str | None = None
) -> None:
    """Make the view `first_places`: of each content that sources hold now, where it comes first.

    Rows are those of `CONTENT_REFS`. What is first, by source, file, position and key, is the same
    on every machine, and so is all that is made in that order.

    Args:
        work: where the view is made.
        lake: whose items.
        sources: their names.
        known: a query for contents that are of no interest. They are passed over first of all, so
            that a few new contents among many cost little.
    """
    work.view_table(lake, "items")
    listed = ", ".join(quoted(source) for source in sources)
    columns = ", ".join(CONTENT_REFS.names)
    here = f"SELECT {columns} FROM items WHERE NOT deleted AND source IN ({listed})"
    if known is None:
        work.execute(f"CREATE VIEW live AS {here}")
    else:
        work.execute(f"CREATE TABLE live AS FROM ({here}) ANTI JOIN ({known}) USING (content_id)")
    # Most contents stand once: only the others are sorted for it.
    work.execute(
        "CREATE TABLE copied AS SELECT content_id FROM live GROUP BY content_id HAVING count(*) > 1"
    )
    work.execute(
        """CREATE VIEW first_places AS FROM live ANTI JOIN copied USING (content_id)
        UNION ALL FROM live SEMI JOIN copied USING (content_id)
        QUALIFY row_number() OVER (
            PARTITION BY content_id ORDER BY source, file, position, key) = 1"""
    )


def refs_of(rows: pa.Table) -> Iterator[ContentRef]:
    """Yield rows of `CONTENT_REFS` as references."""
    return map(ContentRef, *(rows.column(name).to_pylist() for name in CONTENT_REFS.names))


class ContentReader:
    """Reads contents where they were last seen, each file once if they are asked for in order.

    A file of many items stays open from one call to the next, so a file that holds many shards is
    streamed once, with one shard's references in memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sources: dict[str, Source] = {}
        self._file: _OpenFile | None = None

    def payloads(self, refs: Sequence[ContentRef]) -> Iterator[tuple[ContentRef, Load]]:
        """Yield each reference with a function that returns its bytes or text.

        Plain files are read when the function is called, so that a pool of threads can do it. In a
        file of many items, a record is looked for near the place where it was seen; a reference
        whose record is not there comes after the file's others, with a function that raises.

        The functions raise ContentGoneError where the content has changed or vanished.
        """
        for (name, file), group in groupby(refs, key=lambda ref: (ref.source, ref.file)):
            source = self._source(name)
            wanted = {ref.key: ref for ref in group}
            if None in wanted:
                yield wanted[None], _reading(source, wanted[None])
            else:
                yield from self._inside(source, name, file, wanted)

    def _inside(
        self, source: Source, name: str, file: str, wanted: dict[str | None, ContentRef]
    ) -> Iterator[tuple[ContentRef, Load]]:
        first = min(ref.position or 0 for ref in wanted.values())
        opened = self._file
        if opened is None or opened.place != (name, file) or opened.passed - _SLACK > first:
            most = budget_of(self._settings).payloads
            opened = self._file = _OpenFile((name, file), source.read_file(file), most)
        for ref, record in opened.find(wanted):
            yield ref, _checking(ref, record.payload)
        for ref in wanted.values():
            yield ref, _reading(source, ref)

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            configured = self._settings.source(name)
            self._sources[name] = open_source(configured, self._settings.resolve(configured.uri))
        return self._sources[name]


class _OpenFile:
    """A file's records, read up to some place; those that nobody wanted yet are kept for a while.

    A file that has changed since it was ingested has its records elsewhere, most of them nearby.
    """

    def __init__(
        self, place: tuple[str, str], records: Iterator[Record | BadRecord], most_bytes: int
    ) -> None:
        self.place = place
        self.passed = 0
        self._records = records
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str | None, Record] = OrderedDict()
        self._kept_bytes = 0

    def find(self, wanted: dict[str | None, ContentRef]) -> Iterator[tuple[ContentRef, Record]]:
        """Yield references with their records, and take them out of `wanted`."""
        for key in [key for key in self._kept if key in wanted]:
            record = self._kept.pop(key)
            self._kept_bytes -= len(record.payload)
            yield wanted.pop(key), record
        last = max((ref.position or 0 for ref in wanted.values()), default=-1) + _SLACK
        while wanted and self.passed <= last:
            found = next(self._records, None)
            if found is None:
                return
            if isinstance(found, Record):
                self.passed = (found.position or 0) + 1
                if found.key in wanted:
                    yield wanted.pop(found.key), found
                else:
                    self._keep(found)

    def _keep(self, record: Record) -> None:
        self._kept[record.key] = record
        self._kept_bytes += len(record.payload)
        while len(self._kept) > _SLACK or self._kept_bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.payload)


def _reading(source: Source, ref: ContentRef) -> Load:
    def load() -> Payload:
        if ref.key is None:
            for record in source.read_file(ref.file):
                if isinstance(record, Record):
                    return _checked(ref, record.payload)
        raise ContentGoneError(ref)

    return load


def _checking(ref: ContentRef, payload: Payload) -> Load:
    return lambda: _checked(ref, payload)


def _checked(ref: ContentRef, payload: Payload) -> Payload:
    if content_id(payload) != ref.content_id:
        raise ContentGoneError(ref)
    return payload
