"""`nearest` in SQL through the search index: functions that DuckDB calls while it runs a query.

In `catalog.duckdb` the table macro `nearest` is the exact scan. On a connection of ours the same
name asks the index of the snapshot: DuckDB hands the queries of a chunk over as Arrow arrays, and
is handed lists of contents with their similarities, which it joins with every other table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import PythonUDFType

from data.shards import shard_paths
from data.vectors import open_vectors
from latentlake.errors import QueryError
from models.indexes.exact import exact_search
from models.types import Metric
from tasks.stages.index_device import on_its_device
from tasks.stages.indexing import stored_index
from tasks.stages.spaces import known_space
from tasks.stages.threads import own_threads

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.cuda import CudaIndex
    from models.indexes.results import Neighbours
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix

_HITS: Final = "STRUCT(content_id VARCHAR, similarity FLOAT)[]"
_SPARE: Final = 8
"""Rows asked for beyond k, of which those are left out that may not be found."""
# The query is asked for as a column: of a constant DuckDB would try to compute both branches first.
_MACRO: Final = """
CREATE OR REPLACE MACRO nearest(in_space, query, k := 10) AS TABLE
SELECT hit.content_id, hit.similarity FROM (
    SELECT unnest(
        CASE WHEN typeof(asked) = 'VARCHAR' THEN nearest_to_item(in_space, asked::VARCHAR, k)
        ELSE nearest_to_vector(in_space, vector_given(asked), k) END
    ) AS hit
    FROM (SELECT query AS asked)
)"""


def add_nearest(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    settings: Settings,
    snapshot: Snapshot | None = None,
) -> None:
    """Put the search indexes of a snapshot behind the table macro `nearest` of a connection.

    An index is read when a query first needs it, and stays for as long as the connection does. A
    space without one is searched by brute force.

    Args:
        connection: what `data.catalog.connect` opened over the same snapshot.
        lake: whose indexes.
        settings: how many threads a search may use.
        snapshot: which state of the lake; by default the last.
    """
    found = _Nearest(connection, lake, settings, snapshot or lake.snapshot())
    for name, function, query in (
        ("nearest_to_vector", found.to_vectors, "FLOAT[]"),
        ("nearest_to_item", found.to_items, "VARCHAR"),
    ):
        connection.create_function(
            name, function, ["VARCHAR", query, "BIGINT"], _HITS, type=PythonUDFType.ARROW
        )
    connection.execute(_MACRO)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A space that is ready for search.

    Attributes:
        space: which.
        ids: the content of each row of the index, or of the vectors.
        alive: (rows,) bool, false for rows of contents that are no more; None where all are.
        index: None where the space has none.
        vectors: what is searched then.
    """

    space: SpaceRow
    ids: pa.Array
    alive: npt.NDArray[np.bool_] | None
    index: VectorIndex | CudaIndex | None
    vectors: ShardVectors | None

    def search(self, queries: Matrix, k: int, own: npt.NDArray[np.int64]) -> Neighbours:
        """Find the k nearest living rows, each query's own left out (-1 for none)."""
        living = len(self.ids) if self.alive is None else int(self.alive.sum())
        wanted, spare = min(k, living), _SPARE
        while True:
            asked = min(wanted + spare, len(self.ids))
            found = self._search(queries, max(1, asked))
            usable = (found.rows >= 0) & (found.rows != own[:, None])
            if self.alive is not None:
                usable &= self.alive[found.rows]
            short = usable.sum(axis=1) < wanted
            if not short.any() or asked == len(self.ids):
                return found.among(usable, k)
            spare *= 8

    def _search(self, queries: Matrix, k: int) -> Neighbours:
        if self.index is not None:
            return self.index.search(queries, k)
        assert self.vectors is not None  # noqa: S101
        return exact_search(self.vectors, queries, k, Metric(self.space.id.metric))


@dataclass(frozen=True, slots=True)
class _Nearest:
    """What DuckDB calls, for one snapshot."""

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    settings: Settings
    snapshot: Snapshot
    opened: dict[str, _Opened] = field(default_factory=dict)

    def to_vectors(
        self, spaces: pa.ChunkedArray, queries: pa.ChunkedArray, counts: pa.ChunkedArray
    ) -> pa.Array:
        """Answer a chunk of queries, each a list of float32."""
        queries = queries.combine_chunks()
        lengths = np.asarray(pc.list_value_length(queries))
        flat = queries.flatten()
        if flat.null_count:
            raise QueryError("nearest: the vector has a NULL in it.")
        if np.unique(lengths).size > 1:
            raise QueryError("nearest: vectors of several lengths; all of a space have the same.")
        matrix = np.asarray(flat, np.float32).reshape(len(queries), -1)
        own = np.full(len(queries), -1, np.int64)
        return self._answers(spaces, matrix, counts, own)

    def to_items(
        self, spaces: pa.ChunkedArray, items: pa.ChunkedArray, counts: pa.ChunkedArray
    ) -> pa.Array:
        """Answer a chunk of queries, each an item's id."""
        names = spaces.unique().to_pylist()
        if len(names) > 1:
            raise QueryError("nearest: look in one space at a time.")
        opened = self._open(names[0])
        contents, matrix = self._vectors(opened.space, items)
        own = np.asarray(pc.fill_null(pc.index_in(contents, value_set=opened.ids), -1))
        return self._answers(spaces, matrix, counts, own.astype(np.int64))

    def _answers(
        self,
        spaces: pa.ChunkedArray,
        queries: Matrix,
        counts: pa.ChunkedArray,
        own: npt.NDArray[np.int64],
    ) -> pa.Array:
        asked = list(zip(spaces.to_pylist(), counts.to_pylist(), strict=True))
        if len(set(asked)) > 1:
            raise QueryError("nearest: look in one space at a time, for one k.")
        name, k = asked[0]
        if k < 1:
            raise QueryError(f"nearest: k is {k}; ask for at least one content.")
        own_threads(self.settings.run.thread_count)
        opened = self._open(name)
        if queries.shape[1] != opened.space.id.dim:
            raise QueryError(
                f"nearest: vectors of space '{name}' have {opened.space.id.dim} numbers, "
                f"this one has {queries.shape[1]}."
            )
        found = opened.search(queries, k, own)
        present = found.rows >= 0
        ends = np.concatenate(([0], np.cumsum(present.sum(axis=1)))).astype(np.int32)
        hits = pa.StructArray.from_arrays(
            [
                opened.ids.take(pa.array(found.rows[present])),
                pa.array(found.similarities[present], pa.float32()),
            ],
            ["content_id", "similarity"],
        )
        return pa.ListArray.from_arrays(pa.array(ends), hits)

    def _open(self, name: str) -> _Opened:
        if name not in self.opened:
            space = known_space(self.lake, name, self.snapshot)
            with self.connection.cursor() as cursor:
                view = cursor.view(f"embeddings_{name}").project("content_id")
                held = view.to_arrow_table()["content_id"]
            stored = stored_index(self.lake, space, self.snapshot)
            if stored is None:
                paths = shard_paths(self.lake, space.id, self.snapshot)
                vectors = open_vectors(paths, space.id.dim, held)
                self.opened[name] = _Opened(space, vectors.content_ids, None, None, vectors)
            else:
                index, ids = on_its_device(stored[0], self.settings, space), stored[1]
                alive = np.asarray(pc.is_in(ids, value_set=held))
                self.opened[name] = _Opened(space, ids, None if alive.all() else alive, index, None)
        return self.opened[name]

    def _vectors(self, space: SpaceRow, items: pa.ChunkedArray) -> tuple[pa.Array, Matrix]:
        """Return the contents of some items, and their vectors: (items, dim) float32."""
        sql = "SELECT content_of($1, $2) AS content_id, vector_of($1, $2)::FLOAT[] AS vector"
        rows: list[dict[str, Any]] = []
        with self.connection.cursor() as cursor:
            for item in items.to_pylist():
                relation = cursor.sql(sql, params=[item, space.id.name])
                rows += relation.to_arrow_table().to_pylist()
                if rows[-1]["vector"] is None:
                    raise QueryError(f"no item '{item}' has a vector in space '{space.id.name}'.")
        contents = pa.array([row["content_id"] for row in rows], pa.string())
        return contents, np.array([row["vector"] for row in rows], np.float32)
