"""Parquet files that unpack to more memory than a reader has, or claim to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sources import BadRecord, Record, parquet_table
from data.sources.thrift import I32, ThriftReader

ReadAll = Callable[..., list[Record | BadRecord]]

ROOT = Path(__file__).resolve().parents[3]
MEGABYTE = 10**6
MOST_GROWTH = 300 * MEGABYTE
CODECS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")
READING = """
import json, sys
from data.sources import BadRecord, open_source
from latentlake.settings import SourceSettings

def memory(field):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])

source = open_source(SourceSettings(name="s", kind=sys.argv[2], uri=sys.argv[1]), sys.argv[1])
before, sizes, bad = memory("VmRSS"), 0, []
for record in source.read_file("a.parquet"):
    if isinstance(record, BadRecord):
        bad.append(record.message)
    else:
        sizes += len(record.payload)
print(json.dumps([memory("VmHWM") - before, sizes, bad]))
"""

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)


def measured(folder: Path, kind: str = "text") -> tuple[int, int, list[str]]:
    """Read a folder's Parquet file in a process of its own: memory, sizes of payloads, refusals."""
    done = subprocess.run(
        [sys.executable, "-c", READING, str(folder), kind],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    taken, size, bad = json.loads(done.stdout)
    return taken, size, bad


def varint(number: int) -> bytes:
    """Encode a positive number as Thrift does: zigzag, seven bits a byte."""
    left, parts = 2 * number, bytearray()
    while left > 127:
        parts.append(left & 127 | 128)
        left >>= 7
    return bytes([*parts, left])


def claiming(path: Path, sizes: dict[int, int]) -> None:
    """Give the first page's header, of a file's only column, other figures; by their fields."""
    content = path.read_bytes()
    reader = ThriftReader(content)
    reader.at = 4
    known = reader.struct({1: I32, 2: I32, 3: I32})
    old = b"".join(bytes([0x15]) + varint(known[field]) for field in (1, 2, 3))
    new = b"".join(bytes([0x15]) + varint((known | sizes)[field]) for field in (1, 2, 3))
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(("codec", "version"), list(product(CODECS, ("1.0", "2.0"))))
def test_sound_pages_of_every_kind_are_read(
    read: ReadAll, tmp_path: Path, codec: str, version: str
) -> None:
    random = np.random.default_rng(1)
    texts = ["".join(chr(97 + c) for c in row) for row in random.integers(0, 26, (3000, 40))]
    columns = {
        "text": [*texts, *texts[:500], *["x" * 5000] * 20],
        "tags": [[text[:3], text[3:6]] for text in texts] + [None] * 520,
        "n": range(3520),
    }
    table, path = pa.table(columns), tmp_path / "a.parquet"
    for encoding in (True, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"):
        how: dict[str, Any] = {"use_dictionary": True}
        if isinstance(encoding, str):
            how = {"use_dictionary": False, "column_encoding": {"text": encoding}}
        pq.write_table(
            table,
            path,
            compression=codec,
            data_page_version=version,
            data_page_size=4000,
            row_group_size=1500,
            **how,
        )
        records = read(path)
        assert [r.payload for r in records if isinstance(r, Record)] == columns["text"]
        tags = [r.metadata["tags"] for r in records if isinstance(r, Record)]
        assert tags == pq.read_table(path)["tags"].to_pylist()


@needs_proc
@pytest.mark.parametrize("codec", CODECS)
def test_a_page_that_claims_what_it_does_not_hold_is_refused(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{n} text" for n in range(50)]})
    pq.write_table(table, path, compression=codec, use_dictionary=False)
    claiming(path, {2: 2**31 - 1} if codec != "none" else {2: 2**31 - 1, 3: 2**31 - 1})
    taken, size, (message,) = measured(tmp_path)
    assert "row group 1 is damaged: a page" in message
    assert size == 0
    assert taken < MOST_GROWTH


@needs_proc
def test_a_dictionarys_value_is_not_written_out_for_all_rows_at_once(tmp_path: Path) -> None:
    value, rows = "x" * (10 * MEGABYTE), 60
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", store_schema=False)
    taken, size, bad = measured(tmp_path)
    assert (size, bad) == (rows * len(value), [])
    assert taken < MOST_GROWTH


@needs_proc
def test_shared_prefixes_are_not_written_out_for_all_rows_at_once(tmp_path: Path) -> None:
    rows, value = 400, "x" * MEGABYTE
    writing = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    table = pa.table({"text": pa.repeat(value, rows)})
    pq.write_table(table, tmp_path / "a.parquet", **writing)
    del table
    taken, size, bad = measured(tmp_path)
    assert (size, bad) == (rows * len(value), [])
    assert taken < MOST_GROWTH


@needs_proc
def test_nulls_of_a_wide_column_take_no_memory(tmp_path: Path) -> None:
    column = pa.chunked_array([pa.nulls(2, pa.binary(16 * MEGABYTE))] * 24)
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 1
    taken, size, bad = measured(tmp_path, "images")
    assert (size, len(bad)) == (0, 48)
    assert taken < MOST_GROWTH


def test_a_row_group_that_unpacks_without_end_is_refused(
    read: ReadAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "MAX_GROUP_BYTES", 100_000)
    monkeypatch.setattr(parquet_table, "BATCH_BYTES", 10_000)
    columns = {"text": ["x" * 1000] * 500 + [f"fine {n}" for n in range(10)]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=500)
    records = read(tmp_path)
    (refused,) = (record for record in records if isinstance(record, BadRecord))
    held = records.index(refused)
    assert 80 < held < 100
    assert refused.key == f"rows {held + 1}-500"
    assert refused.message == "row group 1 is damaged: it unpacks to more than 100000 bytes"
    texts = [record.payload for record in records if isinstance(record, Record)]
    assert texts == columns["text"][:held] + columns["text"][500:]
