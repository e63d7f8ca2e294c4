"""Arrow IPC files and streams (Feather version 2) of vectors, a record batch at a time."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data.sources.compression import open_regular
from data.sources.limits import BATCH_BYTES
from data.sources.records import BadRecord, Record, bad_record
from data.sources.table_rows import TableRows
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.sources.making import SourceFile

_FILE_MAGIC = b"ARROW1"
_FEATHER_1_MAGIC = b"FEA1"


def read_arrow(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item a row, in order.

    Other columns are metadata, as in Parquet. A record batch that is damaged costs its rows and
    those behind it, as nobody knows how many rows it had. A file on disk is mapped, so that a batch
    of any size is read in pieces; a compressed one, or one on S3, is in memory as a whole.

    Raises:
        BadInputError: a configured column is missing, or none is obvious for the vector.
        OSError, pa.ArrowException: the file is missing or no Arrow IPC.
    """
    with _opened(source) as (schema, batches):
        rows = TableRows(source, schema)
        done = 0
        try:
            for batch in batches:
                for piece in _pieces(batch, rows.most_rows):
                    yield from rows.records(piece, done + 1)
                    done += piece.num_rows
        except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
            problem = BadInputError(f"a record batch is damaged: {error}")
            problem.__cause__ = error
            yield bad_record(source.file, f"rows {done + 1} and later", "read", problem)


@contextmanager
def _opened(source: SourceFile) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with ExitStack() as stack:
        handle = stack.enter_context(open_regular(source.path))
        magic = handle.read(len(_FILE_MAGIC))
        handle.seek(0)
        if magic.startswith(_FEATHER_1_MAGIC):
            raise BadInputError("Feather version 1: write it as version 2 (Arrow IPC)")
        if isinstance(source.path, Path):
            place = stack.enter_context(pa.memory_map(str(source.path), "r"))
        else:
            place = pa.PythonFile(handle, mode="r")
        if magic == _FILE_MAGIC:
            file = stack.enter_context(pa.ipc.open_file(place))
            yield file.schema, (file.get_batch(at) for at in range(file.num_record_batches))
        else:
            stream = stack.enter_context(pa.ipc.open_stream(place))
            yield stream.schema, iter(stream)


def _pieces(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    # What comes from a file is not to be trusted: an offset behind the data would read any memory.
    batch.validate(full=True)
    each = max(1, batch.nbytes // max(1, batch.num_rows))
    rows = max(1, min(most, BATCH_BYTES // each))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
