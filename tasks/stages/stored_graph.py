"""The stored neighbour graph, read back: by its update and by every report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.allocators import release_unused
from data.space_files import read_numbered
from latentlake.errors import LakeError, SpaceMismatchError
from models.analysis.graph import NeighbourGraph
from models.indexes.results import NO_ROW, Neighbours, marked_cells, no_neighbours
from models.types import Metric
from tasks.stages.builds import last_build
from tasks.stages.held import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from models.types import RowIds

_held: Held[Neighbours] = Held()


def _state(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> tuple[str, ...]:
    # With the fingerprint: another model's graph over the same contents is refused below.
    fingerprint = space.id.fingerprint
    return lake.uri, space.key, fingerprint, vectors.digest, *lake.files("neighbours")


def hold_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors, lists: Neighbours) -> None:
    """Keep lists that have just been stored for those who read them next, if they are small."""
    size_bytes = lists.rows.nbytes + lists.similarities.nbytes
    _held.put(_state(lake, space, vectors), lists, size_bytes)


def stored_lists(
    lake: Lake, space: SpaceRow, vectors: ShardVectors
) -> Iterator[tuple[RowIds, Neighbours]]:
    """Read the space's graph back, part by part.

    Yields:
        Rows of these vectors, and their lists.

    Raises:
        SpaceMismatchError: the graph is that of another model's vectors.
        LakeError: the graph is missing, or of other contents.
    """
    here = (pc.field("space") == space.key) & (pc.field("stage") == "graph")
    for built in lake.read("builds", where=here, columns=["fingerprint"])["fingerprint"]:
        if built.as_py() != space.id.fingerprint:
            raise SpaceMismatchError(
                space.id.name, built.as_py(), space.id.fingerprint, "the neighbour graph"
            )
    held = _held.get(_state(lake, space, vectors))
    if held is not None:
        yield np.arange(vectors.rows, dtype=np.int64), held
        return
    build = last_build(lake, "graph", space)
    found = iter(
        read_lists(lake, space, vectors, json.loads(build["details"])["k"]) if build else ()
    )
    listed = 0
    for rows, lists, torn in found:
        if (rows == NO_ROW).any() or torn.any():
            break
        listed += rows.size
        yield rows, lists
    if listed != vectors.rows:
        raise LakeError(
            f"space '{space.label}': the neighbour graph is not of these vectors. "
            "'latentlake graph' renews it."
        )


def stored_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> NeighbourGraph:
    """Read the space's graph back whole, in the row order of its vectors: see `stored_lists`."""
    parts = list(stored_lists(lake, space, vectors))
    width = max((lists.rows.shape[1] for _, lists in parts), default=0)
    found = no_neighbours(vectors.rows, width)
    for rows, lists in parts:
        found.rows[rows], found.similarities[rows] = lists.rows, lists.similarities
    return NeighbourGraph(found.rows, found.similarities, Metric(space.id.metric), None)


def read_lists(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, k: int
) -> Iterator[tuple[RowIds, Neighbours, npt.NDArray[np.bool_]]]:
    """Yield rows (-1 for those that are gone), their lists, and which have lost a neighbour."""
    start, ids, row_of = 0, pa.nulls(0), np.empty(0, np.int64)
    for batch in read_numbered(lake, "neighbours", space.key, "neighbours"):
        numbered = batch["neighbours"].flatten()
        if not numbered.dictionary.equals(ids):
            ids = numbered.dictionary
            row_of = vectors.rows_of(ids)
            release_unused(vectors.rows)
        of = _rows_from(vectors, start, batch["content_id"])
        start += of.size
        rows = row_of[numbered.indices.to_numpy()]
        similarities = batch["similarities"].flatten().to_numpy()
        if rows.size == of.size * k:  # as most are: all lists are full
            lists = Neighbours(rows.reshape(-1, k), similarities.reshape(-1, k))
            yield of, lists, _marked(lists.rows == NO_ROW)
            continue
        present = np.arange(k) < np.asarray(pc.list_value_length(batch["neighbours"]))[:, None]
        lists = no_neighbours(of.size, k)
        lists.rows[present], lists.similarities[present] = rows, similarities
        yield of, lists, _marked(present & (lists.rows == NO_ROW))


def _marked(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which rows have a true cell; where few are true, sooner than `any` along an axis."""
    rows = np.zeros(cells.shape[0], np.bool_)
    rows[marked_cells(cells)[0]] = True
    return rows


def _rows_from(vectors: ShardVectors, start: int, ids: pa.Array) -> RowIds:
    """Return the rows of ids that are likely to be consecutive ones."""
    if vectors.content_ids.slice(start, len(ids)).equals(ids):
        return np.arange(start, start + len(ids), dtype=np.int64)
    return vectors.rows_of(ids)
