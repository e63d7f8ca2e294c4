"""A .npy matrix as items: a row is a vector, named by a file of keys beside it or by its number."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from data.sources.compression import open_regular
from data.sources.formats import Compression, plain_suffix
from data.sources.key_files import keys_file_of
from data.sources.limits import MAX_DIM
from data.sources.making import RecordMaker, SourceFile
from data.sources.npy_file import NpyHeader, read_header, read_rows
from data.sources.records import BadRecord, Record, bad_record
from data.sources.text_lines import numbered_lines, open_text
from data.sources.vector_values import matrix_payloads
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_MATRIX = 2


def read_npy(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item a row, in order.

    Raises:
        BadInputError: no .npy of two dimensions, or no file of keys where one is configured.
        OSError, EOFError: a file cannot be read.
    """
    beside = keys_file_of(source.settings, source.path.name)
    maker = RecordMaker(source, "row", keyed=beside is not None)
    with open_regular(source.path) as handle, _keys(source, beside) as keys:
        header = read_header(handle)
        _check(header)
        vectors = (row for block in read_rows(handle, header) for row in matrix_payloads(block))
        number = 0
        for number, vector in enumerate(vectors, 1):
            yield maker.vector(number, vector, next(keys, None), {})
        more = sum(1 for _ in keys)
    rows = header.shape[0]
    if number < rows:
        problem = BadInputError(f"the header promises {rows} rows, the file holds {number}")
        yield bad_record(source.file, f"rows {number + 1}-{rows}", "read", problem)
    elif more:
        problem = BadInputError(f"'{beside}' has {rows + more} keys for {rows} rows: check that")
        yield bad_record(source.file, "keys", "parse", problem)


def _check(header: NpyHeader) -> None:
    if len(header.shape) != _MATRIX:
        raise BadInputError(f"an array of shape {header.shape}; a matrix (rows, dim) is needed")
    if not 0 < header.shape[1] <= MAX_DIM:
        raise BadInputError(f"vectors of {header.shape[1]} numbers; 1 to {MAX_DIM} are allowed")


@contextmanager
def _keys(source: SourceFile, beside: str | None) -> Iterator[Iterator[Any]]:
    """Open the file of keys, in the order of the rows; without one there are no keys."""
    if beside is None:
        yield iter(())
        return
    path = source.path.with_name(beside)
    try:
        if plain_suffix(beside) == ".txt":
            with open_text(path, Compression.NONE, source.settings.encoding) as text:
                yield (line.rstrip("\r\n") for _, line in numbered_lines(text))
        else:
            with open_regular(path) as handle:
                yield _names(handle)
    except FileNotFoundError as error:
        raise BadInputError(f"no file of keys '{beside}' beside it") from error


def _names(handle: io.BufferedReader) -> Iterator[Any]:
    header = read_header(handle, names=True)
    if len(header.shape) != 1:
        raise BadInputError(f"keys of shape {header.shape}; a list of them is needed")
    for block in read_rows(handle, header):
        for name in block.tolist():
            yield name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
