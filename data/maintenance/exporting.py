"""Tables and spaces on their way out, batch by batch, and the files of other tools' making."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc
import pyarrow.parquet as pq

from data.active import active_contents
from data.catalog import current_spaces
from data.schemas import TABLES, embedding_schema
from data.shards import shard_paths
from data.stores import open_dataset, readable
from data.vectors import ShardVectors, open_vectors
from latentlake.errors import QueryError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot

_BATCH_ROWS: Final = 4096
_HIVE: Final = ds.partitioning(pa.schema([("space", pa.string())]), flavor="hive")


def read_rows(lake: Lake, name: str, snapshot: Snapshot) -> pa.RecordBatchReader:
    """Stream a table, or the embeddings of a space, as of a snapshot.

    Args:
        lake: whose.
        name: a table of `data.schemas` or a current space. A space's rows are those of contents
            that an item points to, each once: content_id, vector `fixed_size_list<float32>[dim]`,
            norm.
        snapshot: the state to read.

    Raises:
        QueryError: neither a table nor a space has this name.
    """
    if name in TABLES:
        columns = TABLES[name].columns
        files = lake.files(name, snapshot)
        if not files:
            return columns.empty_table().to_reader()
        partitioning = _HIVE if TABLES[name].per_space else None
        dataset = open_dataset(files, columns, partitioning)
        batches = dataset.to_batches(batch_size=_BATCH_ROWS, columns=columns.names)
        if TABLES[name].per_space:
            batches = _of_current(batches, columns, current_spaces(lake, snapshot).values())
        return pa.RecordBatchReader.from_batches(columns, batches)
    space = _space(lake, name, snapshot)
    vectors = space_rows(lake, space, snapshot)
    schema = embedding_schema(space.id.dim)
    return pa.RecordBatchReader.from_batches(schema, _embeddings(vectors, schema))


def space_rows(lake: Lake, space: SpaceRow, snapshot: Snapshot) -> ShardVectors:
    """Return a space's vectors of all contents that an item points to, as of a snapshot.

    Those of a vocabulary are the vectors of its words.
    """
    active = active_contents(lake, space, snapshot)
    return open_vectors(shard_paths(lake, space.id, snapshot), space.id.dim, active)


def write_npy(lake: Lake, name: str, snapshot: Snapshot, vectors: IO[bytes], ids: IO[bytes]) -> int:
    """Write a space as NumPy has it: the matrix, and beside it the content ids, one a line.

    Args:
        lake: whose.
        name: a current space.
        snapshot: the state to read.
        vectors: gets a `.npy` file, (rows, dim) float32, C order.
        ids: gets the content id of each row.

    Returns:
        The number of rows.

    Raises:
        QueryError: no space has this name; tables have no matrix.
    """
    space = _space(lake, name, snapshot)
    rows = space_rows(lake, space, snapshot)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows.rows, space.id.dim)}
    np.lib.format.write_array_header_1_0(vectors, header)
    for batch in rows.batches(_BATCH_ROWS):
        vectors.write(np.ascontiguousarray(batch, "<f4").tobytes())
    for start in range(0, rows.rows, _BATCH_ROWS):
        lines = rows.content_ids.slice(start, _BATCH_ROWS).to_pylist()
        ids.write("".join(f"{line}\n" for line in lines).encode())
    return rows.rows


def write_arrow(reader: pa.RecordBatchReader, stream: IO[bytes]) -> None:
    """Write an Arrow IPC file; vectors stay lists of a fixed size, and the file can be mapped."""
    with pyarrow.ipc.new_file(stream, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _space(lake: Lake, name: str, snapshot: Snapshot) -> SpaceRow:
    spaces = current_spaces(lake, snapshot)
    if name not in spaces:
        known = [*spaces, *TABLES]
        raise QueryError(
            f"nothing called '{name}' to export.{nearest_hint(name, known)} "
            f"Spaces: {', '.join(spaces) or 'none yet'}; tables: {', '.join(TABLES)}."
        )
    return spaces[name]


def _of_current(
    batches: Iterator[pa.RecordBatch], columns: pa.Schema, current: Iterable[SpaceRow]
) -> Iterator[pa.RecordBatch]:
    """Leave out the rows of versions that are not current; call the others by the space's name."""
    name_of = {space.key: space.id.name for space in current}
    for batch in batches:  # a batch is of one file, and so of one version
        key = batch["space"][0].as_py() if batch.num_rows else None
        if key in name_of:
            names = pa.array([name_of[key]] * batch.num_rows, pa.string())
            rest = [batch[column] for column in columns.names if column != "space"]
            yield pa.RecordBatch.from_arrays([names, *rest], schema=columns)


def _embeddings(vectors: ShardVectors, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    start = 0
    for path in vectors.paths:
        with pq.ParquetFile(readable(path)) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names):
                used = pa.array(vectors.used[start : start + batch.num_rows])
                start += batch.num_rows
                yield from pa.Table.from_batches([batch.filter(used)]).cast(schema).to_batches()
