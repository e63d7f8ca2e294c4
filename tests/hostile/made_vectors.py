"""Hostile files of vectors, each with the verdict that it must get."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.made import ITEM, Made

if TYPE_CHECKING:
    from pathlib import Path

_FLOATS = "{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}}}"


def make_vectors(base: Path) -> Made:
    """Matrices and tables: pickles, headers that lie, offsets that point anywhere, odd numbers."""
    made = Made(base)
    _matrices(made)
    _tables(made)
    return made


def _matrices(made: Made) -> None:
    odd = np.arange(12, dtype=np.float32).reshape(4, 3)
    odd[1, 1], odd[2, 0] = np.nan, np.inf
    not_finite = "parse: 1 of its 3 numbers are not finite"
    made.file("odd.npy", _saved(odd), {"1": ITEM, "2": not_finite, "3": not_finite, "4": ITEM})
    made.file(
        "cut.npy", _saved(odd + 100)[:-20], {"1": ITEM, "rows 3-4": "read: promises 4 rows"}
        | {"2": not_finite},
    )  # fmt: skip
    made.put("pickled.npy", _saved(np.array([[{}]], object)), "parse: an array of '|O'")
    made.put("a-pickle.npy", pickle.dumps([1.0]), "parse: no .npy file")
    made.put("flat.npy", _saved(np.ones(3)), "parse: a matrix (rows, dim) is needed")
    made.put("bomb.npy", b"\x93NUMPY\x02\0" + b"\xff" * 4, "parse: header of 4294967295 bytes")
    made.put("nested.npy", _header("(" * 9000), "parse: header cannot be read")
    wide = _header(_FLOATS.format(order=False, shape="(1, 99999999999)"))
    made.put("wide.npy", wide, "parse: vectors of 99999999999 numbers")
    long = _header(_FLOATS.format(order=True, shape="(99999999999, 3)")) + bytes(64)
    made.file("long.npy", long, {"rows 1-99999999999": "read: the file holds 0"})


def _tables(made: Made) -> None:
    rows: list[Any] = [[1.0, 2.0, 3.5], None, [], [1.0, None, 2.0], [9.0]]
    table = pa.table({"vector": pa.array(rows, pa.list_(pa.float64()))})
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    verdicts = {
        "1": ITEM,
        "2": "parse: it is null",
        "3": "parse: it is empty",
        "4": "parse: 1 of its 3 numbers are null",
        "5": "encode: a vector of 1 numbers",
    }
    made.file("ragged.parquet", file.getvalue().to_pybytes(), verdicts)
    batch = pa.record_batch({"vector": pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32()))})
    stream = pa.BufferOutputStream()
    with pa.ipc.new_file(stream, batch.schema) as writer:
        writer.write_batch(batch)
    sound, wild = (np.array([0, middle, 3], "<i4").tobytes() for middle in (2, 2**30))
    content = stream.getvalue().to_pybytes().replace(sound, wild)
    made.file("wild.arrow", content, {"rows 1 and later": "read: damaged"})
    made.put("old.feather", b"FEA1" + bytes(60) + b"FEA1", "parse: version 1")
    made.put("zeros.ipc", bytes(4096), "parse: no Arrow IPC")


def _saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype.hasobject)
    return file.getvalue()


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode("ascii")
