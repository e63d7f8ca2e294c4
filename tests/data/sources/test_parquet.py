from __future__ import annotations

import datetime as dt
import decimal
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources import BadRecord, Record, Source

ReadAll = Callable[..., list[Record | BadRecord]]
Open = Callable[..., Source]

texts = st.text(st.characters(codec="utf-8")).filter(lambda text: text.strip() != "")


def written(folder: Path | str, columns: dict[str, Any], **options: Any) -> Path:
    path = Path(folder) / "a.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def bad(records: list[Record | BadRecord]) -> list[tuple[str | None, str]]:
    return [(record.key, record.message) for record in records if isinstance(record, BadRecord)]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
@given(found=st.lists(texts, max_size=20), group=st.integers(1, 7))
def test_texts_come_back(read: ReadAll, kind: pa.DataType, found: list[str], group: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        column = pa.array(found, pa.string()).cast(kind)
        path = written(folder, {"n": range(len(found)), "text": column}, row_group_size=group)
        records = read(path)
    assert records == [
        Record("a.parquet", str(n + 1), n, text, {"n": n}) for n, text in enumerate(found)
    ]


@pytest.mark.parametrize("kind", ["binary", "large_binary", "hugging face"])
def test_images_come_back(read: ReadAll, tmp_path: Path, kind: str) -> None:
    images = [b"one", b"two", None, b""]
    column: pa.Array
    if kind == "hugging face":
        layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": image, "path": "/etc/passwd"} for image in images], layout)
    else:
        column = pa.array(images, pa.binary() if kind == "binary" else pa.large_binary())
    columns = {"id": [7, 8, 9, 10], "photo": column, "label": ["a", "b", "c", "d"]}
    records = read(written(tmp_path, columns), "images", key="id")
    assert [record.key for record in records] == ["7", "8", "9", "10"]
    assert records[0] == Record("a.parquet", "7", 0, b"one", {"id": 7, "label": "a"})
    assert bad(records) == [("9", "no image: it is null or missing"), ("10", "empty: 0 bytes")]


def test_other_columns_become_metadata_that_json_can_hold(read: ReadAll, tmp_path: Path) -> None:
    at = dt.datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=dt.UTC)
    columns = {
        "text": ["t"],
        "integer": pa.array([2**63], pa.uint64()),
        "nan": [float("nan")],
        "null": pa.nulls(1),
        "flag": [True],
        "day": [dt.date(2024, 2, 29)],
        "time": pa.array([1], pa.time64("ns")),
        "at": pa.array([at], pa.timestamp("ns", tz="UTC")),
        "exact": [decimal.Decimal("1.10")],
        "tags": [["a", "b"]],
        "nested": [{"x": [{"y": 1}]}],
        "pairs": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "thumbnail": [b"x"],
        "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32())),
        "fixed": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    }
    (record,) = read(written(tmp_path, columns))
    assert isinstance(record, Record)
    assert record.metadata == {
        "integer": 2**63,
        "nan": None,
        "null": None,
        "flag": True,
        "day": "2024-02-29",
        "time": "00:00:00.000000001",
        "at": "2024-02-29 12:30:00.000001000Z",
        "exact": "1.10",
        "tags": ["a", "b"],
        "nested": {"x": [{"y": 1}]},
        "pairs": [["k", 1]],
    }
    json.dumps(record.metadata, allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text": "abstrakt"}, "no column 'abstrakt' (text). Did you mean 'abstract'? Columns: n,"),
        ({"text": "n"}, "column 'n' has no type that can serve as text"),
        ({}, 'which column holds the text? Set text = "..." for this source. Columns: n, title,'),
        ({"text": "title", "key": "id"}, "no column 'id' (key)."),
        ({"text": "title", "key": "raw"}, "column 'raw' has no type that can serve as key"),
    ],
)
def test_a_column_that_is_not_there(
    read: ReadAll, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    path = written(tmp_path, {"n": [1], "title": ["a"], "abstract": ["b"], "raw": [b"x"]})
    ((key, message),) = bad(read(path, **settings))
    assert key is None
    assert said in message


def test_blank_missing_and_repeated_values_are_bad_row_by_row(
    read: ReadAll, tmp_path: Path
) -> None:
    columns = {"id": ["a", "b", "a", None, "e"], "text": ["x", None, "y", "z", " \n"]}
    records = read(written(tmp_path, columns), key="id")
    assert [record.key for record in records] == ["a", "b", "row 3", "row 4", "e"]
    assert [key for key, _ in bad(records)] == ["b", "row 3", "row 4", "e"]


def test_strings_that_are_not_utf8_cost_their_row(read: ReadAll, tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", None], pa.binary())
    strings = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    path = written(tmp_path, {"text": strings, "other": pa.array(["x", "y", "z"])})
    records = read(path, text="text")
    assert [record.key for record in records if isinstance(record, Record)] == ["1"]
    assert bad(records) == [
        ("2", "byte 0xE9 at column 4 is not valid utf-8; set the source's encoding to the file's"),
        ("3", "no text: it is null or missing"),
    ]  # fmt: skip


def test_a_damaged_row_group_costs_its_rows_alone(read: ReadAll, tmp_path: Path) -> None:
    found = [f"text {n} {'x' * 50}" for n in range(300)]
    path = written(
        tmp_path, {"text": found}, row_group_size=100, compression="gzip", use_dictionary=False
    )
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    records = read(path)
    good = [record.payload for record in records if isinstance(record, Record)]
    assert good == found[:100] + found[200:]
    ((key, message),) = bad(records)
    assert key == "rows 101-200"
    assert message.startswith("row group 2 is damaged")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(50) + b"PAR1", b"no parquet"])
def test_what_is_no_parquet_is_one_bad_file(read: ReadAll, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    ((key, message),) = bad(read(tmp_path / "a.parquet"))
    assert key is None
    assert message


@given(at=st.integers(0, 2000), noise=st.binary(min_size=1, max_size=8))
def test_a_damaged_table_is_read_without_an_error(read: ReadAll, at: int, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, {"id": range(50), "text": [f"text {n}" for n in range(50)]})
        content = bytearray(path.read_bytes())
        start = at % len(content)
        content[start : start + len(noise)] = noise
        path.write_bytes(content)
        records = read(path, key="id")
    assert len({record.uri for record in records}) == len(records)


def test_large_rows_come_in_small_batches(open_place: Open, tmp_path: Path) -> None:
    images = [bytes([n]) * 2**20 for n in range(160)]  # one row group of 160 MiB
    path = written(
        tmp_path, {"image": images}, use_dictionary=False, compression="zstd", write_batch_size=4
    )
    before = pa.total_allocated_bytes()
    most = 0
    for record in open_place(path, "images").read_file("a.parquet"):
        assert isinstance(record, Record)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 100 * 2**20
