"""A space's vectors, streamed from its shards in one fixed order of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.content import digest_of_column
from data.shards import ROW_GROUP_ROWS, embedded_ids
from data.stores import readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
                        yield from _batches_of(file, group, used, rows)

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


def open_vectors(paths: Sequence[str], dim: int, active: pa.Array) -> ShardVectors:
    """Lay a fixed row order over shards.

    Args:
        paths: the shards, in order.
        dim: the vectors' length.
        active: the contents that count.
    """
    columns = [embedded_ids([path]) for path in paths]
    chunks = [chunk for column in columns for chunk in column.chunks]
    ids = pa.chunked_array(chunks, pa.string()).combine_chunks()
    used = np.asarray(pc.is_in(ids, value_set=active.unique()))
    mask: Mask = used & _first_of_each(ids)
    lengths = tuple(map(len, columns))
    return ShardVectors(tuple(paths), ids.filter(pa.array(mask)), dim, mask, lengths)


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


def _first_of_each(ids: pa.StringArray) -> Mask:
    """Mark where each id stands for the first time: dictionary codes are given in that order."""
    codes = ids.dictionary_encode().indices.to_numpy()
    seen = np.maximum.accumulate(codes) if codes.size else codes
    return np.asarray(codes > np.concatenate(([-1], seen[:-1])) if codes.size else codes > 0)


def vectors_of(column: pa.FixedSizeListArray, dim: int) -> npt.NDArray[np.float32]:
    """Return an Arrow vector column as a (rows, dim) float32 matrix, without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, dim)
