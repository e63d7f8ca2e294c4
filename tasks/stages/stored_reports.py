"""A stored report of duplicates by numbers, as the certificate goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.scans import table_batches
from models.analysis.edges import KINDS
from models.indexes.results import NO_ROW

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.pinned import PinnedLake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.types import RowIds

Mask = npt.NDArray[np.bool_]
Flaws = Iterator[pa.Table]

FLAWS: Final = pa.schema(
    [
        ("space", pa.string()),
        ("check", pa.string()),
        ("item_id", pa.string()),
        ("twin_id", pa.string()),
        ("problem", pa.string()),
    ]
)
"""A row for each thing that is wrong; ids are null where it is about the report as a whole."""
NOBODY: Final = (pa.nulls(1, pa.string()), pa.nulls(1, pa.string()))
"""The sides of a flaw that is about no item."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """The stored report by numbers: items, contents (vector rows) and kinds.

    Attributes:
        rows: the table `duplicates` of the space.
        ids: (items,) the item ids.
        contents: (items,) the number of each item's content.
        vector_rows: (contents,) int64, the vector of each content, -1 for none.
        removed_at: (rows,) int64, the place of each removed item, -1 for unknown.
        twin_at: (rows,) int64, that of its twin.
        kept: (items,) bool.
    """

    rows: pa.Table
    ids: pa.Array
    contents: RowIds
    vector_rows: RowIds
    removed_at: RowIds
    twin_at: RowIds
    kept: Mask

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.ids)

    @property
    def known(self) -> Mask:
        """(rows,) bool: item and twin are there."""
        found: Mask = (self.removed_at != NO_ROW) & (self.twin_at != NO_ROW)
        return found

    @property
    def sides(self) -> tuple[RowIds, RowIds]:
        """(rows,) int64 each: the vector rows of both sides; only where `known`, else -1."""
        both = (np.where(self.known, at, 0) for at in (self.removed_at, self.twin_at))
        if not self.items:
            return self.removed_at, self.twin_at
        one, other = (np.where(self.known, self.vector_rows[self.contents[at]], -1) for at in both)
        return one, other

    @property
    def kinds(self) -> RowIds:
        """(rows,) int64: places in `KINDS`, -1 for a kind that there is not."""
        return _places(self.rows["kind"], pa.array(KINDS))

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers, NaN for null."""
        values = pc.fill_null(self.rows[column].cast(pa.float64()), float("nan"))
        found: npt.NDArray[np.float64] = values.to_numpy()
        return found

    def flaws(self, check: str, which: Mask, problem: str | pa.Array) -> Flaws:
        """Yield the rows that fail a check, if there are any."""
        places = pa.array(np.flatnonzero(which))
        if len(places):
            said = problem if isinstance(problem, pa.Array) else pa.array([problem] * len(places))
            item, twin = (self.rows[column].take(places) for column in ("item_id", "twin_id"))
            yield flaws_of(check, (item, twin), said)

    @classmethod
    def read(
        cls, lake: PinnedLake, settings: Settings, space: SpaceRow, vectors: ShardVectors
    ) -> StoredReport:
        """Read the report and the items it is about."""
        chosen = pa.array(settings.space(space.id.name).sources, pa.string())
        read = ["item_id", "content_id", "source", "deleted"]
        batches = [
            batch.filter(pc.invert(batch["deleted"])).select(["item_id", "content_id"])
            for batch in table_batches(lake, "items", read, ("source", chosen))
        ]
        schema = pa.schema([("item_id", pa.string()), ("content_id", pa.string())])
        items = pa.Table.from_batches([batch.cast(schema) for batch in batches], schema)
        ids = items["item_id"].combine_chunks()
        contents = items["content_id"].combine_chunks().dictionary_encode()
        rows = lake.read("duplicates", where=pc.field("space") == space.key)
        removed_at, twin_at = (_places(rows[name], ids) for name in ("item_id", "twin_id"))
        kept = np.ones(len(ids), np.bool_)
        kept[removed_at[removed_at != NO_ROW]] = False
        numbers = contents.indices.to_numpy().astype(np.int64)
        vector_rows = vectors.rows_of(contents.dictionary)
        return cls(rows, ids, numbers, vector_rows, removed_at, twin_at, kept)


def flaws_of(check: str, sides: tuple[pa.Array, pa.Array], problems: pa.Array) -> pa.Table:
    """Return rows of `FLAWS`, the space aside."""
    checks = pa.array([check] * len(problems), pa.string())
    return pa.Table.from_arrays([checks, *sides, problems], FLAWS.names[1:])


def _places(values: pa.ChunkedArray, known: pa.Array) -> RowIds:
    """Return where each value stands among the known ones, (values,) int64, -1 for nowhere."""
    found = pc.fill_null(pc.index_in(values, value_set=known), NO_ROW)
    places: RowIds = found.to_numpy().astype(np.int64)
    return places
