"""Files of queries: vectors in .npy, texts in .txt, both or items in .csv, .jsonl, .parquet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.sources.compression import open_regular
from data.sources.limits import MAX_DIM
from data.sources.npy_file import read_header, read_rows
from latentlake.errors import BadInputError, QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

KINDS: Final = ("text", "vector", "item")
SUFFIXES: Final = (".npy", ".txt", ".csv", ".jsonl", ".parquet")
_MAX_LINE_BYTES: Final = 32 * MAX_DIM
_BLOCK: Final = 1000
"""Queries at once: enough for matrices, and an answer comes soon."""


@dataclass(frozen=True, slots=True)
class GivenQuery:
    """A query of a file, or what is wrong with it.

    Attributes:
        name: the file's `id`, else the number of its line or row, counted from 1.
        text: words to look for.
        vector: (dim,) float32 to look for.
        item: an id or URI to look for.
        problem: why none of these can be looked for; None where one is set.
    """

    name: str
    text: str | None = None
    vector: npt.NDArray[np.float32] | None = None
    item: str | None = None
    problem: str | None = None


def read_queries(path: Path) -> Iterator[list[GivenQuery]]:
    """Yield the queries of a file in blocks; one that cannot be read tells why, the others count.

    Raises:
        QueryError: no such file, a form that is none of `SUFFIXES`, or no column of `KINDS`.
    """
    readers = {
        ".npy": _from_npy,
        ".txt": _from_lines,
        ".csv": _from_csv,
        ".jsonl": _from_jsonl,
        ".parquet": _from_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise QueryError(f"'{path}': queries are read from {', '.join(SUFFIXES)}.")
    try:
        with open_regular(path) as handle:
            queries = reader(handle)
            while block := list(islice(queries, _BLOCK)):
                yield block
    except FileNotFoundError:
        raise QueryError(f"'{path}': no such file.") from None
    except (OSError, EOFError, BadInputError, csv.Error, pa.ArrowException) as error:
        raise QueryError(f"'{path}': {getattr(error, 'strerror', None) or error}.") from error


def _from_npy(handle: io.BufferedReader) -> Iterator[GivenQuery]:
    header = read_header(handle)
    if len(header.shape) != 2 or header.held_rows < header.shape[0]:  # noqa: PLR2004
        raise BadInputError(f"an array of shape {header.shape}; whole rows of vectors are wanted")
    number = 0
    for block in read_rows(handle, header):
        for row in block:
            number += 1
            yield _vector(str(number), row)


def _from_lines(handle: io.BufferedReader) -> Iterator[GivenQuery]:
    for number, line in _lines(handle):
        yield line if isinstance(line, GivenQuery) else GivenQuery(number, text=line.strip())


def _from_jsonl(handle: io.BufferedReader) -> Iterator[GivenQuery]:
    for number, line in _lines(handle):
        if isinstance(line, GivenQuery):
            yield line
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield GivenQuery(number, problem="no JSON")
            continue
        if isinstance(row, dict):
            yield _query(number, row)
        else:
            yield GivenQuery(number, problem='no JSON object such as {"text": "..."}')


def _from_csv(handle: io.BufferedReader) -> Iterator[GivenQuery]:
    text = io.TextIOWrapper(handle, "utf-8-sig", errors="replace", newline="")
    try:
        rows = csv.DictReader(text)
        _require_kind(list(rows.fieldnames or ()))
        for number, row in enumerate(rows, start=1):
            yield _query(str(number), {name: value or None for name, value in row.items()})
    finally:
        text.detach()  # who opened the handle closes it


def _from_parquet(handle: io.BufferedReader) -> Iterator[GivenQuery]:
    file = pq.ParquetFile(handle)
    columns = [name for name in file.schema_arrow.names if name in (*KINDS, "id")]
    _require_kind(file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches(_BLOCK, columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield _query(str(number), row)


def _lines(handle: io.BufferedReader) -> Iterator[tuple[str, str | GivenQuery]]:
    """Yield lines that are not empty, or what is wrong with them, by their number."""
    number = 0
    while raw := handle.readline(_MAX_LINE_BYTES):
        number += 1
        if not raw.endswith(b"\n") and len(raw) == _MAX_LINE_BYTES:
            raise BadInputError(f"line {number} is longer than {_MAX_LINE_BYTES} bytes")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield str(number), GivenQuery(str(number), problem="not UTF-8")
            continue
        if line.strip():
            yield str(number), line


def _require_kind(columns: list[str]) -> None:
    if not set(KINDS) & set(columns):
        listed = ", ".join(columns[:10]) or "none"
        raise BadInputError(
            f"its columns are {listed}; one of {', '.join(KINDS)} is wanted (and id, for a name)"
        )


def _query(number: str, row: dict[str, Any]) -> GivenQuery:
    name = number if row.get("id") is None else str(row["id"])
    given = [kind for kind in KINDS if row.get(kind) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "nothing"
        return GivenQuery(name, problem=f"{found} to look for; give one of {', '.join(KINDS)}")
    value = row[given[0]]
    if given[0] == "vector":
        return _vector(name, value)
    if not isinstance(value, str):
        return GivenQuery(name, problem=f"its {given[0]} is no string")
    if given[0] == "text":
        return GivenQuery(name, text=value)
    return GivenQuery(name, item=value)


def _vector(name: str, value: Any) -> GivenQuery:
    """Check a vector: a list of numbers, or its JSON as CSV has it."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        with np.errstate(over="ignore"):
            vector = np.array(found, np.float64).astype(np.float32)
    except (ValueError, TypeError, RecursionError):
        return GivenQuery(name, problem="its vector is no list of numbers")
    if vector.ndim != 1 or not 0 < vector.size <= MAX_DIM:
        return GivenQuery(name, problem=f"its vector has the shape {vector.shape}")
    if not np.isfinite(vector).all():
        return GivenQuery(name, problem="its vector has numbers that are not finite")
    return GivenQuery(name, vector=vector)
