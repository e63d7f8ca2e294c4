"""A space's vectors, streamed from its shards in one fixed order of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.content import digest_of_ids
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
    """

    paths: tuple[str, ...]
    content_ids: pa.Array
    dim: int
    used: Mask

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return len(self.content_ids)

    @property
    def digest(self) -> str:
        """Hex digest of the content ids in order: equal digests mean equal rows."""
        return digest_of_ids(self.content_ids.to_pylist())

    def batches(self, rows: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (at most `rows`, dim) float32 in row order."""
        start = 0
        for path in self.paths:
            with pq.ParquetFile(readable(path)) as file:
                for batch in file.iter_batches(min(rows, ROW_GROUP_ROWS), columns=["vector"]):
                    used = self.used[start : start + batch.num_rows]
                    start += batch.num_rows
                    if used.any():
                        yield vectors_of(batch.column(0), self.dim)[used]

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
    ids = embedded_ids(paths).combine_chunks()
    used = np.asarray(pc.is_in(ids, value_set=active.unique()))
    _, first = np.unique(ids.to_numpy(zero_copy_only=False), return_index=True)
    once = np.zeros(len(ids), bool)
    once[first] = True
    mask: Mask = used & once
    return ShardVectors(tuple(paths), ids.filter(pa.array(mask)), dim, mask)


def vectors_of(column: pa.FixedSizeListArray, dim: int) -> npt.NDArray[np.float32]:
    """Return an Arrow vector column as a (rows, dim) float32 matrix, without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, dim)
