"""Which contents a table of pairs covers: a row each, and a file a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.indexes.results import NO_ROW

if TYPE_CHECKING:
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors

_MOST_FILES: Final = 16
"""With more files of a space its rows are written anew, as one."""


@dataclass(frozen=True, slots=True)
class Covered:
    """The contents of a space that a table names.

    Attributes:
        table: the table's name.
        space: the space's key.
        rows: (vectors,) bool, those that it names and that are in use.
        can_grow: whether all it names may stay: it names no others.
    """

    table: Literal["paired", "lexical_paired"]
    space: str
    rows: npt.NDArray[np.bool_]
    can_grow: bool

    @classmethod
    def read(
        cls,
        lake: Lake,
        table: Literal["paired", "lexical_paired"],
        space: SpaceRow,
        vectors: ShardVectors,
        *,
        anew: bool = False,
    ) -> Covered:
        """Read what a table covers as it is committed now; nothing if it is to be begun anew."""
        rows = np.zeros(vectors.rows, np.bool_)
        if anew:
            return cls(table, space.key, rows, can_grow=False)
        known = lake.read(table, where=pc.field("space") == space.key, columns=["content_id"])
        found = vectors.rows_of(known["content_id"])
        rows[found[found != NO_ROW]] = True
        files = sum(f"/space={space.key}/" in path for path in lake.files(table))
        is_whole = not (found == NO_ROW).any()
        return cls(table, space.key, rows, can_grow=is_whole and files < _MOST_FILES)

    def replace(
        self, lake: Lake, vectors: ShardVectors, now: npt.NDArray[np.bool_], run_id: str
    ) -> None:
        """Store what the table covers from now on: where all stays, only what is new is written.

        Args:
            lake: where it goes.
            vectors: those that were covered.
            now: (vectors,) bool.
            run_id: recorded in the commit.
        """
        keep = self.can_grow and not (self.rows & ~now).any()
        new = now & ~self.rows if keep else now
        if keep and not new.any():
            return
        ids = pa.table({"content_id": vectors.content_ids.filter(pa.array(new))})
        lake.replace_space(self.table, self.space, ids, run_id, keep=keep)
