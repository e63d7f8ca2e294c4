"""A space's vectors, streamed from its shards in one fixed order of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.allocators import release_unused
from data.content import digest_of_column
from data.id_tables import IdTable, keys_of
from data.plain_pages import plain_rows
from data.shards import ROW_GROUP_ROWS, embedded_ids
from data.stores import is_remote, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_RUNS: Final = 8
_LEAST_RUN: Final = 1024
MOST_FEW: Final = 0.25
"""Of a row group's rows, up to how many are taken from where they lie, the others passed over."""
_VECTOR_COLUMN: Final = 1
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ShardVectors:
    """The vectors of the contents that are in use; fits the protocol `models.types.Vectors`.

    Row i belongs to `content_ids[i]`. A content that stands in two shards (two runs raced) counts
    once, and a content that no item points to any more not at all.

    Attributes:
        paths: the shards, in order.
        content_ids: (rows,) strings.
        dim: the vectors' length.
        used: one mask over all rows of all shards.
        lengths: how many rows each shard has.
    """

    paths: tuple[str, ...]
    content_ids: pa.Array
    dim: int
    used: Mask
    lengths: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return len(self.content_ids)

    def rows_of(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return the row of each of some ids: (len(ids),) int64, -1 for those of no row."""
        rows, done = np.empty(len(ids), np.int64), 0
        # What was stored before a batch came is in this order, but for the shards in between.
        for _ in range(_MOST_RUNS):
            start = int(self._table.positions(ids[done : done + 1])[0]) if done < len(ids) else -1
            length = self._run_length(start, ids[done:]) if start >= 0 else 0
            if length < _LEAST_RUN:
                break
            rows[done : done + length] = np.arange(start, start + length)
            done += length
        rows[done:] = self._table.positions(ids[done:])
        return rows

    def _run_length(self, start: int, ids: pa.Array | pa.ChunkedArray) -> int:
        """Return how many of these ids stand in the rows from one on."""
        here = self.content_ids[start : start + len(ids)]
        same = pc.equal(_chunked(here), _chunked(ids[: len(here)]))
        differs = pc.index(same, value=False).as_py()
        return len(here) if differs < 0 else int(differs)

    def rows_outside(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return the rows whose ids are not among these: (any,) int64, ascending."""
        inside = np.zeros(self.rows, np.bool_)
        found = self.rows_of(ids)
        inside[found[found >= 0]] = True
        return np.flatnonzero(~inside).astype(np.int64)

    @cached_property
    def _table(self) -> IdTable:
        return IdTable(keys_of(self.content_ids))

    @cached_property
    def digest(self) -> str:
        """Hex digest of the content ids in order: equal digests mean equal rows."""
        return digest_of_column(self.content_ids)

    def batches(self, rows: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (at most `rows`, dim) float32 in row order; what holds no used row is not read."""
        end = 0
        for path, length in zip(self.paths, self.lengths, strict=True):
            start, end = end, end + length
            if not self.used[start:end].any():
                continue
            with pq.ParquetFile(readable(path)) as file:
                for group in range(file.num_row_groups):
                    stop = start + file.metadata.row_group(group).num_rows
                    used, start = self.used[start:stop], stop
                    if used.any():
                        few = _few_of(path, file, group, used)
                        if few is None:
                            yield from _batches_of(file, group, used, rows)
                        else:
                            yield from (few[at : at + rows] for at in range(0, len(few), rows))
        release_unused(self.rows)

    def subset(self, rows: npt.NDArray[np.int64]) -> ShardVectors:
        """Return only some rows, in the same order.

        Args:
            rows: (wanted,) int64, ascending, each once.
        """
        used = np.zeros_like(self.used)
        used[np.flatnonzero(self.used)[rows]] = True
        ids = self.content_ids.take(pa.array(rows))
        return replace(self, content_ids=ids, used=used)

    def take(self, content_ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of a few contents, (len(content_ids), dim) float32, in their order.

        Raises:
            KeyError: a content is not in this space.
        """
        found: dict[str, npt.NDArray[np.float32]] = {}
        wanted = pa.array(content_ids, pa.string())
        for path in self.paths:
            table = pq.read_table(readable(path), filters=pc.field("content_id").isin(wanted))
            vectors = vectors_of(table["vector"].combine_chunks(), self.dim)
            found = dict(zip(table["content_id"].to_pylist(), vectors, strict=True)) | found
        rows = [found[content_id] for content_id in content_ids]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)


def open_vectors(
    paths: Sequence[str], dim: int, active: pa.Array | Iterable[pa.Array]
) -> ShardVectors:
    """Lay a fixed row order over shards.

    Args:
        paths: the shards, in order.
        dim: the vectors' length.
        active: the contents that count, whole or in parts; repeats are of no effect.
    """
    table = IdTable.of([active] if isinstance(active, pa.Array | pa.ChunkedArray) else active)
    seen = np.zeros(table.size, np.bool_)
    ids, masks = [], []
    for path in paths:
        column = embedded_ids([path]).combine_chunks()
        mask = _fresh(table.positions(column), seen)
        ids.append(column.filter(pa.array(mask)))
        masks.append(mask)
    used = np.concatenate(masks) if masks else np.empty(0, np.bool_)
    kept = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    return ShardVectors(tuple(paths), kept, dim, used, tuple(map(len, masks)))


def _fresh(positions: npt.NDArray[np.int64], seen: Mask) -> Mask:
    """Mark what is active and stands here for the first time; note it as seen."""
    mask = positions >= 0
    mask[mask] = ~seen[positions[mask]]
    rows = np.flatnonzero(mask)
    _, first = np.unique(positions[rows], return_index=True)
    mask[:] = False
    mask[rows[first]] = True
    seen[positions[rows]] = True
    return mask


def _few_of(
    path: str, file: pq.ParquetFile, group: int, used: Mask
) -> npt.NDArray[np.float32] | None:
    """Return the used rows of a group where they are few and the file is at hand, else None."""
    wanted = np.flatnonzero(used).astype(np.int64)
    if wanted.size > MOST_FEW * used.size or is_remote(path):
        return None
    chunk = file.metadata.row_group(group).column(_VECTOR_COLUMN)
    dim = file.schema_arrow.field("vector").type.list_size
    return plain_rows(path, chunk, dim, wanted)


def _batches_of(
    file: pq.ParquetFile, group: int, used: Mask, rows: int
) -> Iterator[npt.NDArray[np.float32]]:
    start = 0
    dim = file.schema_arrow.field("vector").type.list_size
    size = min(rows, ROW_GROUP_ROWS)
    for batch in file.iter_batches(size, row_groups=[group], columns=["vector"]):
        mask = used[start : start + batch.num_rows]
        start += batch.num_rows
        if mask.any():
            matrix = vectors_of(batch.column(0), dim)
            yield matrix if mask.all() else matrix[mask]


def _chunked(ids: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids])


def vectors_of(column: pa.FixedSizeListArray, dim: int) -> npt.NDArray[np.float32]:
    """Return an Arrow vector column as a (rows, dim) float32 matrix, without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, dim)
