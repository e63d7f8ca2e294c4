"""A few vectors of a shard's row group, straight from the bytes of their pages.

Shards are written plain: no dictionary, no compression, no nulls. So the values of a page lie one
after the other behind its levels, and a row is found by arithmetic. Parquet's readers unpack whole
pages: to read 4,000 of 100,000 vectors they take as long as for all.

See https://parquet.apache.org/docs/file-format/data-pages/ for what a page is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from data.sources.thrift import I32, ThriftError, ThriftReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow.parquet as pq

_PAGE: Final = {1: I32, 2: I32, 3: I32, 5: {1: I32, 2: I32}}
"""Of a page's header: kind, size unpacked and packed; of a data page's: values and encoding."""
_DATA_PAGE, _PLAIN = 0, 0
_HEADER_BYTES: Final = 1 << 10
_SIZE_BYTES: Final = 4
_LEVELS: Final = 2
"""Repetition levels and definition levels, each after its size."""


def plain_rows(
    path: Path | str, chunk: pq.ColumnChunkMetaData, dim: int, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """Read some vectors of a row group.

    Args:
        path: the shard, on this machine.
        chunk: the group's column of vectors, as the footer describes it.
        dim: values of a vector.
        rows: (wanted,) int64, ascending, within the group.

    Returns:
        (wanted, dim) float32; None where the pages are not plain ones of whole vectors.
    """
    found, done = np.empty((rows.size, dim), np.float32), 0
    try:
        for first, vectors in _pages(np.memmap(path, np.uint8, "r"), chunk, dim):
            stop = int(np.searchsorted(rows, first + len(vectors)))
            found[done:stop] = vectors[rows[done:stop] - first]
            done = stop
    except (ThriftError, ValueError, KeyError, IndexError):
        return None
    return found if done == rows.size else None


def _pages(
    content: npt.NDArray[np.uint8], chunk: pq.ColumnChunkMetaData, dim: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield the vectors of each page, as they lie there, with the number of the first.

    Raises:
        ValueError: a page is another than a plain one of whole vectors.
    """
    at = chunk.data_page_offset
    end, first = at + chunk.total_compressed_size, 0
    while at < end:
        reader = ThriftReader(content[at : at + _HEADER_BYTES].tobytes())
        head = reader.struct(_PAGE)
        own = head.get(5, {})
        if (head.get(1), own.get(2), head.get(2)) != (_DATA_PAGE, _PLAIN, head.get(3)):
            raise ValueError("no plain data page")
        start = at + reader.at
        if not 0 < head[3] <= end - start:
            raise ValueError("a page that ends elsewhere")
        at = start + head[3]
        for _ in range(_LEVELS):
            start += _SIZE_BYTES + int(content[start : start + _SIZE_BYTES].view("<u4")[0])
        values = own[1]
        if values % dim or at - start != 4 * values:
            raise ValueError("a page with nulls, or parts of vectors")
        yield first, content[start:at].view("<f4").reshape(-1, dim)
        first += values // dim
