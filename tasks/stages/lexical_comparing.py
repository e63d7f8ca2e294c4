"""Which texts of a space share their wording, from the rows of the table `wordings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.id_tables import keys_of
from data.scans import table_batches
from data.stores import readable
from models.analysis.duplicates import Pairs
from models.analysis.lexical import BANDS, Shingles, jaccard
from models.analysis.lexical_pairs import LEXICAL, NORMALISED, Candidates, LexicalPairs
from models.indexes.results import NO_ROW
from tasks.stages.builds import progress_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from models.types import RowIds
    from tasks.stages.budget import Budget

    _StoredShingles = tuple[RowIds, pa.ChunkedArray]

Filtered = TypeVar("Filtered", pa.Array, pa.RecordBatch)
_KEY_BYTES: Final = 4
_HASH_BYTES: Final = 8


class TextComparison:
    """One space's texts, as far as the table `wordings` has them."""

    def __init__(
        self,
        lake: Lake,
        space: SpaceRow,
        vectors: ShardVectors,
        budget: Budget,
        threshold: float,
    ) -> None:
        self._lake, self._vectors, self._budget = lake, vectors, budget
        self._threshold, self._progress = threshold, progress_of("duplicates", space)
        self.present = np.zeros(vectors.rows, np.bool_)
        self._lengths = np.zeros(vectors.rows, np.int64)
        self._digests = np.zeros((vectors.rows, 2), np.uint64)
        self._rows = self._table_rows()
        for rows, batch in self._batches("normalised"):
            self.present[rows] = True
            self._digests[rows] = keys_of(batch["normalised"])

    def pairs(self, fresh: npt.NDArray[np.bool_]) -> LexicalPairs:
        """Return the pairs that some rows are part of: (rows,) bool."""
        keys = self._candidates(fresh)
        first, second = np.divmod(keys, max(1, self._vectors.rows))
        same = (self._digests[first] == self._digests[second]).all(axis=1)
        similarities = np.ones(keys.size, np.float64)
        similarities[~same] = self._compared(first[~same], second[~same])
        near = same | (similarities >= self._threshold)
        kinds = np.where(same, NORMALISED, LEXICAL).astype(np.int8)[near]
        values = similarities[near].astype(np.float32)
        return LexicalPairs(Pairs(first[near], second[near], values), kinds)

    def _candidates(self, fresh: npt.NDArray[np.bool_]) -> RowIds:
        """Return first * rows + second of each candidate, sorted, each once."""
        found = Candidates(self._vectors.rows, self._budget.pairs)
        rows = np.flatnonzero(self.present)
        found.add(rows, self._digests[rows, 0], fresh)
        at_once = max(1, self._budget.compared // max(1, _KEY_BYTES * rows.size))
        for start in range(0, BANDS, at_once):
            if not fresh.any():
                break
            some, keys = self._bands(rows, start, min(BANDS, start + at_once))
            for band in keys.T:
                found.add(some, band, fresh)
            self._progress("wording", min(BANDS, start + at_once) / BANDS)
        return found.keys()

    def _bands(self, rows: RowIds, start: int, stop: int) -> tuple[RowIds, npt.NDArray[np.uint32]]:
        """Return those of some rows that have word triples, and (rows, stop - start) bands."""
        keys = np.zeros((rows.size, stop - start), np.uint32, order="F")
        place = np.full(self._vectors.rows, NO_ROW, np.int64)
        place[rows] = np.arange(rows.size)
        has_bands = np.zeros(rows.size, np.bool_)
        for held, batch in self._batches("bands"):
            at = place[held]
            some = (at != NO_ROW) & (np.asarray(pc.binary_length(batch["bands"])) > 0)
            values = _joined_bytes(_filtered(batch["bands"], some), "<u4")
            keys[at[some]] = values.reshape(-1, BANDS)[:, start:stop]
            has_bands[at[some]] = True
        return (rows, keys) if has_bands.all() else (rows[has_bands], keys[has_bands])

    def _compared(self, first: RowIds, second: RowIds) -> npt.NDArray[np.float64]:
        """Return the Jaccard index of pairs, 0 where it cannot reach the threshold.

        Blocks of rows are held two at a time, so that memory is bounded whatever the pairs.
        """
        found = np.zeros(first.size, np.float64)
        half = max(1, self._budget.compared // 2)
        held = self._measured(np.unique(np.concatenate((first, second))), half)
        one, other = self._lengths[first], self._lengths[second]
        able = np.flatnonzero(np.minimum(one, other) >= self._threshold * np.maximum(one, other))
        rows = np.unique(np.concatenate((first[able], second[able])))
        blocks = np.zeros(self._vectors.rows, np.int64)
        blocks[rows] = np.cumsum(_HASH_BYTES * self._lengths[rows]) // half
        both = blocks[first[able]] * (blocks.max(initial=0) + 1) + blocks[second[able]]
        order = np.argsort(both, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(both[order])) + 1):
            if some.size:
                chosen = able[some]
                rows, where = np.unique(
                    np.concatenate((first[chosen], second[chosen])), return_inverse=True
                )
                shingles = self._shingles(rows, held or self._stored_shingles(rows))
                found[chosen] = jaccard(shingles, *np.split(where, 2))
        return found

    def _measured(self, rows: RowIds, most_bytes: int) -> list[_StoredShingles]:
        """Learn how many word triples rows have; return these, or nothing if they are too large."""
        held: list[_StoredShingles] = []
        size = 0
        for some, column in self._stored_shingles(rows):
            lengths = np.asarray(pc.binary_length(column), np.int64) // _HASH_BYTES
            self._lengths[some] = lengths
            size += _HASH_BYTES * int(lengths.sum())
            held.append((some, column))
            if size > most_bytes:
                held.clear()
        return held

    def _shingles(self, rows: RowIds, stored: Iterable[_StoredShingles]) -> Shingles:
        offsets = np.concatenate(([0], np.cumsum(self._lengths[rows])))
        hashes = np.empty(offsets[-1], np.uint64)
        place = np.full(self._vectors.rows, NO_ROW, np.int64)
        place[rows] = np.arange(rows.size)
        for held, column in stored:
            for at, value in zip(place[held].tolist(), column, strict=True):
                if at != NO_ROW:
                    hashes[offsets[at] : offsets[at + 1]] = np.frombuffer(value.as_py(), "<u8")
        return Shingles(hashes, offsets)

    def _stored_shingles(self, rows: RowIds) -> Iterator[_StoredShingles]:
        """Yield the word triples of some rows; row groups without any of them are passed over."""
        wanted = np.zeros(self._vectors.rows, np.bool_)
        wanted[rows] = True
        end = 0
        for path in self._lake.files("wordings"):
            with pq.ParquetFile(readable(path)) as file:
                for group in range(file.num_row_groups):
                    start, end = end, end + file.metadata.row_group(group).num_rows
                    held = self._rows[start:end]
                    some = (held != NO_ROW) & wanted[held]
                    if some.any():
                        column = file.read_row_group(group, columns=["shingles"])["shingles"]
                        yield held[some], column.filter(pa.array(some))

    def _table_rows(self) -> RowIds:
        """Return which row each row of the table is, in its order; -1 for texts of other spaces."""
        batches = table_batches(self._lake, "wordings", ["content_id"])
        rows = [self._vectors.rows_of(batch["content_id"]) for batch in batches]
        return np.concatenate([np.empty(0, np.int64), *rows])

    def _batches(self, *columns: str) -> Iterator[tuple[RowIds, pa.RecordBatch]]:
        """Yield the rows of this space's texts, and what the table has of them."""
        end = 0
        for batch in table_batches(self._lake, "wordings", list(columns)):
            start, end = end, end + batch.num_rows
            held = self._rows[start:end] != NO_ROW
            yield self._rows[start:end][held], _filtered(batch, held)


def _filtered(rows: Filtered, held: npt.NDArray[np.bool_]) -> Filtered:
    return rows if held.all() else rows.filter(pa.array(held))


def _joined_bytes(column: pa.BinaryArray, kind: str) -> np.ndarray:
    """Return the values of all rows of a binary column, one after the other."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].view(kind)
