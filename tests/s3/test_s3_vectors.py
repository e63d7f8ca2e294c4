"""Vectors of one's own on S3, behind a head: the same lake as from the same files in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sources import FileEntry, open_source
from latentlake.source_settings import SourceSettings
from tasks.stages.searching import SearchQuery, search
from tests.faults.lakes import orphans, run_whole, state_of
from tests.s3.conftest import make_bucket
from tests.tasks.conftest import Project
from tests.tasks.stages.test_own_vectors import clustered

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3.conftest import Bucket

CONFIG = """
[lake]
root = "{root}"
[[sources]]
name = "mine"
kind = "vectors"
uri = "{base}"
keys = "{{stem}}.ids.txt"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["mine"]
neighbours = 5
reduce = {{ pca = 4, whiten = true }}
[run]
threads = 2
shard_rows = 64
"""


@pytest.fixture
def places(tmp_path: Path) -> Path:

    base = tmp_path / "in"
    base.mkdir()
    vectors = clustered()
    for name, rows in (("x", vectors[:60]), ("y", np.asfortranarray(vectors[60:100]))):
        np.save(base / f"{name}.npy", rows)
        (base / f"{name}.ids.txt").write_text("\n".join(f"{name}{i}" for i in range(len(rows))))
    table = pa.table({"vector": list(vectors[100:])})
    pq.write_table(table, base / "table.parquet")
    place = str(base / "table.arrow")
    with pa.OSFile(place, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return base


def made(folder: Path, root: str, base: str) -> Project:
    folder.mkdir()
    (folder / "latentlake.toml").write_text(CONFIG.format(root=root, base=base), "utf-8")
    return Project(folder)


def test_the_lake_is_the_one_of_the_same_files_in_a_folder(
    bucket: Bucket, places: Path, tmp_path: Path
) -> None:
    bucket.put_folder(places, "in")
    far = made(tmp_path / "far", f"s3://{bucket.name}/lake", f"s3://{bucket.name}/in")
    near = made(tmp_path / "near", "lake", str(places))
    assert not run_whole(far).errors
    assert not run_whole(near).errors
    different = ("files", "runs")  # they tell where the sources are
    found, expected = (
        {name: rows for name, rows in state_of(p.lake).items() if name not in different}
        for p in (far, near)
    )
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        assert rows == expected[name], name
    assert len(found["vectors"]["own"]) == 150
    assert orphans(far.lake) == []
    query = SearchQuery(vector=clustered()[3], k=3)
    hits = [search(p.lake, p.settings, query).hits.to_pylist() for p in (far, near)]
    assert [h["uri"] for h in hits[0]] == [h["uri"] for h in hits[1]]
    assert hits[0][0]["uri"] == "x.npy#x3"
    assert not run_whole(far).changed


def test_a_change_of_the_keys_changes_the_etag(s3: int, places: Path) -> None:
    bucket = make_bucket(s3)
    bucket.put_folder(places, "in")
    uri = f"s3://{bucket.name}/in"
    settings = SourceSettings(name="s", kind="vectors", uri=uri, keys="{stem}.ids.txt")

    def etags() -> dict[str, Any]:
        source = open_source(settings, uri)
        entries = [entry for entry in source.list_files() if isinstance(entry, FileEntry)]
        assert source.ignored_by_kind == {"(keys)": 2}
        return {entry.file: entry.etag for entry in entries}

    before = etags()
    assert set(before) == {"table.arrow", "table.parquet", "x.npy", "y.npy"}
    bucket.put("in/x.ids.txt", b"changed")
    after = etags()
    assert {file for file in after if after[file] != before[file]} == {"x.npy"}
