"""Vectors of one's own: every layout gives the same numbers, every bad row its own reason."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from data.sources import BadRecord, FileEntry, Record, Source, VectorBytes
from data.sources.vector_values import matrix_payloads, vector_payloads
from latentlake.errors import BadInputError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

ReadAll = Callable[..., list[Record | BadRecord]]
Open = Callable[..., Source]
Floats = np.ndarray[Any, np.dtype[Any]]

LAYOUTS = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "fixed_size_list": lambda kind: pa.list_(kind, 3),
}
KINDS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}


def numbers(payload: object) -> list[float]:
    assert isinstance(payload, VectorBytes)
    found: list[float] = np.frombuffer(payload, "<f4").tolist()
    return found


def good(records: list[Record | BadRecord]) -> dict[str | None, list[float]]:
    return {r.key: numbers(r.payload) for r in records if isinstance(r, Record)}


def bad(records: list[Record | BadRecord]) -> dict[str | None, str]:
    return {r.key: r.message for r in records if isinstance(r, BadRecord)}


def matrix(rows: int = 5, dim: int = 3) -> Floats:
    return np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_every_layout_holds_the_same_numbers(layout: str, kind: str, data: st.DataObject) -> None:
    lengths = st.just(3) if layout == "fixed_size_list" else st.integers(1, 5)
    floats = st.floats(-1000, 1000, width=16)
    row = lengths.flatmap(lambda n: st.lists(floats, min_size=n, max_size=n))
    rows: list[Any] = data.draw(st.lists(st.one_of(st.none(), row), max_size=12))
    typed = [None if r is None else [np.float16(v) for v in r] for r in rows]
    column = pa.array(typed, LAYOUTS[layout](KINDS[kind]))
    start = data.draw(st.integers(0, len(rows)))
    found = vector_payloads(column.slice(start))
    assert len(found) == len(rows) - start
    for verdict, expected in zip(found, rows[start:], strict=True):
        if expected is None:
            assert isinstance(verdict, BadInputError)
        else:
            assert numbers(verdict) == expected


def test_each_bad_row_has_its_reason() -> None:
    rows = [[1.0, 2.0], None, [], [1.0, None], [float("nan"), float("inf")], [1e300, 0.0], [-0.0]]
    found = vector_payloads(pa.array(rows, pa.list_(pa.float64())))
    assert numbers(found[0]) == [1, 2]
    assert [str(one) for one in found[1:6]] == [
        "no vector: it is null or missing",
        "no vector: it is empty",
        "1 of its 2 numbers are null",
        "2 of its 2 numbers are not finite, or beyond 1.8e+16",
        "1 of its 2 numbers are not finite, or beyond 1.8e+16",
    ]
    assert found[6] == bytes(4), "minus zero is zero, so that equal vectors are one content"
    long = vector_payloads(pa.array([[0.0] * 65_537, [0.0] * 65_536], pa.list_(pa.float32())))
    assert [isinstance(one, VectorBytes) for one in long] == [False, True]


def test_numbers_whose_squared_distances_float32_does_not_hold_are_refused() -> None:
    """Of the longest vectors that are let in it holds them, in every dimension."""
    allowed = np.full((2, 65_536), 2.0**54, np.float32)
    allowed[1] *= -1
    assert np.isfinite(np.square(allowed[0] - allowed[1]).sum())
    one, other, beyond = matrix_payloads(np.concatenate((allowed, 1.01 * allowed[:1])))
    assert isinstance(one, VectorBytes)
    assert isinstance(other, VectorBytes)
    assert str(beyond) == "65536 of its 65536 numbers are not finite, or beyond 1.8e+16"


def test_a_parquet_row_has_key_and_metadata(read: ReadAll, tmp_path: Path) -> None:
    vectors = matrix()
    columns = {
        "id": list("abcde"),
        "vector": list(vectors),
        "label": [1, 2, None, 4, 5],
        "other": list(vectors[:, :2]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("data.sources.parquet_table.BATCH_BYTES", 1)  # a row a batch
        records = read(tmp_path, "vectors", key="id")
    assert good(records) == dict(zip("abcde", vectors.tolist(), strict=True))
    first = records[0]
    assert isinstance(first, Record)
    assert (first.uri, first.position, first.metadata) == (
        "a.parquet#a",
        0,
        {"id": "a", "label": 1},
    )


def test_the_vector_s_column_is_found_or_asked_for(read: ReadAll, tmp_path: Path) -> None:
    place = tmp_path / "a.parquet"
    ids, one, two = [1], [[1.0, 2.0]], [[3.0]]
    pq.write_table(pa.table({"id": ids, "emb": one, "tokens": [[7, 8]]}), place)
    assert good(read(place, "vectors")) == {"1": [1, 2]}
    assert good(read(place, "vectors", vector="tokens")) == {"1": [7, 8]}
    assert "Did you mean 'emb'?" in bad(read(place, "vectors", vector="emv"))[None]
    assert "no type that can serve as vector" in bad(read(place, "vectors", vector="id"))[None]
    pq.write_table(pa.table({"id": ids, "one": one, "two": two}), place)
    assert "which column holds the vector?" in bad(read(place, "vectors"))[None]
    pq.write_table(pa.table({"id": ids, "vector": one, "two": two}), place)
    assert good(read(place, "vectors")) == {"1": [1, 2]}


def as_arrow(vectors: Floats, form: str, path: Path) -> None:
    values = pa.array(vectors.reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
    if form == "tensor":
        kind = pa.fixed_shape_tensor(pa.float32(), [vectors.shape[1]])
        column = pa.ExtensionArray.from_storage(kind, column)
    table = pa.table({"id": [f"k{i}" for i in range(len(vectors))], "v": column})
    if form == "feather":
        pyarrow.feather.write_feather(table, path, compression="zstd", chunksize=2)
        return
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize("form", ["file", "stream", "feather", "tensor"])
def test_arrow_files_and_streams_are_read(read: ReadAll, tmp_path: Path, form: str) -> None:
    vectors = matrix()
    as_arrow(vectors, form, tmp_path / "a.arrow")
    records = read(tmp_path, "vectors", key="id")
    assert good(records) == {f"k{i}": row for i, row in enumerate(vectors.tolist())}
    assert [r.position for r in records if isinstance(r, Record)] == [0, 1, 2, 3, 4]
    assert not bad(records)


def test_a_damaged_batch_costs_what_is_behind_it(read: ReadAll, tmp_path: Path) -> None:
    as_arrow(matrix(), "stream", tmp_path / "a.arrow")
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: len(content) * 2 // 3])
    records = read(tmp_path, "vectors", key="id")
    assert good(records)
    assert f"rows {len(good(records)) + 1} and later" in bad(records)
    (tmp_path / "a.arrow").write_bytes(b"FEA1" + bytes(100))
    assert "version 1" in bad(read(tmp_path, "vectors"))[None]
    (tmp_path / "a.arrow").write_bytes(b"")
    assert "no Arrow IPC" in bad(read(tmp_path, "vectors"))[None]


def test_an_offset_behind_the_data_is_not_followed(read: ReadAll, tmp_path: Path) -> None:
    """A record batch whose offsets point anywhere is refused before any value is looked at."""
    batch = pa.record_batch({"v": pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32()))})
    written = pa.BufferOutputStream()
    with pa.ipc.new_file(written, batch.schema) as writer:
        writer.write_batch(batch)
    content = written.getvalue().to_pybytes()
    sound, wild = (np.array([0, middle, 3], "<i4").tobytes() for middle in (2, 2**30))
    assert content.count(sound) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(sound, wild))
    records = read(tmp_path, "vectors")
    assert not good(records)
    assert "damaged" in next(iter(bad(records).values()))


@given(data=st.data())
def test_a_npy_holds_what_numpy_reads(data: st.DataObject) -> None:
    from tests.data.sources.conftest import read_all

    kind = data.draw(st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", "u1", "<i4"]))
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=7))
    limits = (0, 99) if kind == "u1" else (-99, 99)
    whole = arrays(np.int16, shape, elements=st.integers(*limits))
    stored = np.asarray(data.draw(whole).astype(kind), order=data.draw(st.sampled_from("CF")))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("data.sources.npy_file.BATCH_BYTES", data.draw(st.integers(1, 100)))
        np.save(f"{folder}/a.npy", stored)
        records = read_all(folder, "vectors")
        expected = np.load(f"{folder}/a.npy").astype(np.float32)
    assert good(records) == {str(n): row for n, row in enumerate(expected.tolist(), 1)}


KEYS: tuple[tuple[str, Any], ...] = (
    ("ids.txt", "a\nb\r\nc"),
    ("ids.npy", np.array(["a", "b", "c"])),
    ("ids.npy", np.array([b"a", b"b", b"c"])),
)


@pytest.mark.parametrize(("name", "keys"), KEYS, ids=["txt", "unicode", "bytes"])
def test_a_file_beside_it_names_the_rows(
    read: ReadAll, open_place: Open, tmp_path: Path, name: str, keys: Any
) -> None:
    np.save(tmp_path / "a.npy", matrix(3))
    if isinstance(keys, str):
        (tmp_path / name).write_text(keys, newline="")
    else:
        np.save(tmp_path / name, keys)
    records = read(tmp_path, "vectors", keys=name)
    assert good(records) == dict(zip("abc", matrix(3).tolist(), strict=True))
    assert not bad(records)
    source = open_place(tmp_path, "vectors", keys=name)
    assert [entry.file for entry in source.list_files()] == ["a.npy"]
    assert source.ignored_by_kind == {"(keys)": 1}


def test_each_matrix_of_a_folder_has_keys_of_its_own(read: ReadAll, tmp_path: Path) -> None:
    for name, rows in (("x", 2), ("y", 3)):
        np.save(tmp_path / f"{name}.npy", matrix(rows))
        np.save(tmp_path / f"{name}.keys.npy", np.arange(rows) + 10)
    records = read(tmp_path, "vectors", keys="{stem}.keys.npy")
    assert [r.uri for r in records] == [
        *("x.npy#10", "x.npy#11"),
        *("y.npy#10", "y.npy#11", "y.npy#12"),
    ]


def test_keys_that_do_not_fit_are_told(read: ReadAll, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", matrix(4))
    (tmp_path / "ids.txt").write_text("a\na\n\n")
    records = read(tmp_path, "vectors", keys="ids.txt")
    assert list(good(records)) == ["a"]
    assert bad(records) == {
        "row 2": "the key 'a' occurs again in this file",
        "row 3": "no key: it is empty",
        "row 4": "no key: it is null or missing",
    }
    (tmp_path / "ids.txt").write_text("\n".join("abcdef"))
    records = read(tmp_path, "vectors", keys="ids.txt")
    assert list(good(records)) == list("abcd")
    assert bad(records) == {"keys": "'ids.txt' has 6 keys for 4 rows: check that"}
    assert bad(read(tmp_path, "vectors", keys="gone.txt")) == {
        None: "no file of keys 'gone.txt' beside it"
    }


def test_a_change_of_the_keys_is_a_change_of_the_file(open_place: Open, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", matrix(2))
    (tmp_path / "ids.txt").write_text("a\nb")

    def entry() -> FileEntry:
        (found,) = open_place(tmp_path, "vectors", keys="ids.txt").list_files()
        assert isinstance(found, FileEntry)
        return found

    assert entry().etag is None, "written just now: a later write may have the same time stamp"
    for name, at in (("a.npy", 10**18), ("ids.txt", 10**17)):
        os.utime(tmp_path / name, ns=(at, at))
    before = entry()
    assert before.etag == entry().etag is not None
    (tmp_path / "ids.txt").write_text("b\na")
    os.utime(tmp_path / "ids.txt", ns=(10**17 + 1, 10**17 + 1))  # as long, and older than a.npy
    assert entry().etag not in (None, before.etag)


def header(text: str, version: int = 1, length: int | None = None, rest: bytes = b"") -> bytes:
    body = text.encode("latin-1")
    size = len(body) if length is None else length
    prefix = size.to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + prefix + body + rest


SHAPED = "{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}}}"


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


HOSTILE = {
    "no npy": (b"PK\x03\x04 a zip", "no .npy file"),
    "empty": (b"", "no .npy file"),
    "pickled": (saved(np.array([[{}]], object), allow_pickle=True), "an array of '|O'"),
    "records": (saved(np.zeros(3, "f4,i4")), "an array of"),
    "text": (saved(np.array([["a"]])), "an array of '<U1'"),
    "complex": (saved(np.zeros((1, 1), complex)), "an array of '<c16'"),
    "one dimension": (saved(np.zeros(3)), r"shape \(3,\); a matrix"),
    "three dimensions": (saved(np.zeros((1, 2, 3))), r"shape \(1, 2, 3\)"),
    "no numbers": (saved(np.zeros((3, 0))), "vectors of 0 numbers"),
    "header of 4 GB": (header("", 2, 2**32 - 1), "header of 4294967295 bytes"),
    "header of code": (header("__import__('os').getpid()"), "cannot be read"),
    "nested header": (header("(" * 9000), "cannot be read"),
    "other keys": (header("{'descr': '<f4'}"), "lacks type"),
    "version 9": (header("{}", 9), "version 9"),
    "negative": (header(SHAPED.format(order=False, shape="(-1, 4)")), "no shape of an array"),
    "true": (header(SHAPED.format(order=False, shape="(True, 4)")), "no shape of an array"),
    "endless rows": (
        header(SHAPED.format(order=False, shape="(10**18, 4)").replace("10**18", "1" + "0" * 18)),
        "promises 1000000000000000000 rows, the file holds 0",
    ),
    "endless dim": (
        header(SHAPED.format(order=False, shape="(1, 1000000000000)")),
        "vectors of 1000000000000 numbers",
    ),
    "endless columns": (
        header(SHAPED.format(order=True, shape="(1000000000000, 4)"), rest=bytes(64)),
        "promises 1000000000000 rows, the file holds 0",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_npy_is_refused(read: ReadAll, tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    (tmp_path / "a.npy").write_bytes(content)
    (record,) = read(tmp_path, "vectors")
    assert isinstance(record, BadRecord)
    assert re.search(message, record.message), record.message


def test_what_a_cut_npy_still_holds_is_read(read: ReadAll, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(saved(matrix(5))[:-20])
    records = read(tmp_path, "vectors")
    assert list(good(records)) == ["1", "2", "3"]
    assert bad(records) == {"rows 4-5": "the header promises 5 rows, the file holds 3"}


def test_a_row_that_is_not_finite_costs_itself(read: ReadAll, tmp_path: Path) -> None:
    vectors = matrix(3)
    vectors[1, 2] = np.nan
    np.save(tmp_path / "a.npy", vectors)
    assert list(good(read(tmp_path, "vectors"))) == ["1", "3"]


def test_another_kind_of_file_is_told(open_place: Open, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(saved(matrix()))
    with pytest.raises(SourceError, match="set kind = 'vectors'"):
        open_place(tmp_path / "a.npy", "images")
    (tmp_path / "a.npy.gz").write_bytes(b"x")
    with pytest.raises(SourceError, match="no known extension of vectors"):
        open_place(tmp_path / "a.npy.gz", "vectors")


@pytest.mark.parametrize("keys", ["../ids.txt", "ids.csv", "{stem}.npy", ".ids.txt"])
def test_keys_are_a_file_beside(open_place: Open, tmp_path: Path, keys: str) -> None:
    with pytest.raises(ValueError, match="keys"):
        open_place(tmp_path, "vectors", keys=keys)
