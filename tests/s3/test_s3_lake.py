"""A lake on S3: the same tables, snapshots and views as in a folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.catalog import connect as connect_sql
from data.catalog import write_catalog
from data.lake import Lake, table_of
from data.schemas import TABLES
from data.shards import SpaceId, finished_shard, register_shards, shard_paths, write_shard
from data.stores.sql import ReadOnlyS3
from data.vectors import open_vectors
from latentlake.errors import LakeNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3.conftest import Bucket

SPACE = SpaceId("cnn", "f00d", 3, "cosine")


def item(item_id: str, **values: object) -> dict[str, object]:
    return {
        "item_id": item_id,
        "source": "photos",
        "uri": item_id,
        "content_id": f"c{item_id}",
        "first_run": "r",
        "deleted": False,
        "metadata": '{"label": "hat"}',
    } | values


def filled(root: str) -> Lake:
    """Make a lake with two live items, a deleted one, and the vectors of all three."""
    lake = Lake(root)
    rows = [item(n, deleted=n == "3") for n in "123"]
    lake.upsert("items", table_of("items", rows), "r")
    lake.upsert("items", table_of("items", [item("2", uri="moved", first_run="x")]), "r2")
    space = {"space": "cnn", "fingerprint": "f00d", "dim": 3, "metric": "cosine"}
    space |= {"encoder": "e", "options": "{}", "recipe": "r", "modality": "image"}
    lake.upsert("spaces", table_of("spaces", [space | {"is_current": True}]), "r")
    place = lake.store.address(f"{SPACE.folder}/part.parquet")
    vectors = np.arange(9, dtype=np.float32).reshape(3, 3)
    receipt = write_shard(place, SPACE, ["c1", "c2", "c3"], vectors)
    register_shards(lake, SPACE, [receipt], "r")
    for name in ("clusters", "neighbours"):
        one = {"space": "cnn", "content_id": "c1", "neighbours": ["c2"], "similarities": [0.5]}
        kept = {key: value for key, value in one.items() if key in TABLES[name].columns.names}
        lake.replace_space(name, "cnn", table_of(name, [kept]), "r")
    lake.commit_snapshot("r")
    return lake


def test_every_view_answers_as_it_does_on_a_local_lake(bucket: Bucket, tmp_path: Path) -> None:
    lakes = [filled(str(tmp_path / "lake")), filled(f"s3://{bucket.name}/a/lake")]
    answers = []
    for lake in lakes:
        with connect_sql(lake) as connection:
            statements = [f"SELECT * FROM {name} ORDER BY ALL" for name in TABLES]
            statements += [
                "SELECT content_id, typeof(vector), vector, norm FROM embeddings_cnn ORDER BY ALL",
                "SELECT * FROM items WHERE source = 'photos' AND item_id = '2'",
                "SELECT metadata->>'label' FROM items WHERE item_id IN ('1', '2') ORDER BY ALL",
                "SELECT count(*) FROM clusters WHERE space = 'cnn'",
                "SELECT * FROM neighbours_of('1', 'cnn')",
            ]
            answers.append([connection.execute(sql).fetchall() for sql in statements])
    assert answers[0] == answers[1]
    assert answers[0][-1] == [("2", "photos", "moved", 0.5)]


def test_the_connection_reads_its_lake_and_nothing_else(bucket: Bucket) -> None:
    lake = filled(f"s3://{bucket.name}/lake")
    bucket.put("elsewhere/secret.csv", b"a\n1\n")
    for statement in (
        f"SELECT * FROM read_csv('s3://{bucket.name}/elsewhere/secret.csv')",
        f"SELECT * FROM read_text('s3://{bucket.name}/lake/../elsewhere/secret.csv')",
        f"COPY (SELECT 1) TO 's3://{bucket.name}/lake/escape.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SET enable_external_access = true",
    ):
        with connect_sql(lake) as connection, pytest.raises((duckdb.Error, PermissionError)):
            connection.execute(statement).fetchall()
    assert "lake/escape.csv" not in bucket.keys("lake/")


def test_many_threads_of_one_query_read_what_is_there(bucket: Bucket) -> None:
    """They share one handle a file, and each first seeks and then reads."""
    numbers = np.random.default_rng(0).integers(0, 10**9, (3, 5000))
    for name, part in enumerate(numbers):
        stream = io.BytesIO()
        table = {"number": part, "text": [f"{name}-{number}" for number in part]}
        pq.write_table(pa.table(table), stream, row_group_size=500)
        bucket.put(f"lake/{name}.parquet", stream.getvalue())
    texts = sum(np.unique(part).size for part in numbers)
    files = [f"s3://{bucket.name}/lake/{name}.parquet" for name in range(3)]
    with duckdb.connect(config={"threads": 8}) as connection:
        connection.register_filesystem(ReadOnlyS3(f"s3://{bucket.name}/lake"))
        sql = f"SELECT sum(number), count(DISTINCT text) FROM read_parquet({files})"
        assert connection.execute(sql).fetchall() == [(numbers.sum(), texts)]


def test_the_catalog_names_s3_urls_for_other_clients(bucket: Bucket, tmp_path: Path) -> None:
    lake = filled(f"s3://{bucket.name}/lake")
    assert write_catalog(lake, lake.snapshot()) == f"s3://{bucket.name}/lake/catalog.duckdb"
    path = tmp_path / "catalog.duckdb"
    path.write_bytes(bucket.get("lake/catalog.duckdb"))
    with duckdb.connect(str(path), read_only=True) as client:
        made = "FROM duckdb_views() WHERE NOT internal"
        views = dict(client.execute(f"SELECT view_name, sql {made}").fetchall())
        root = client.execute("SELECT root FROM snapshot").fetchall()
    assert f"s3://{bucket.name}/lake/{SPACE.folder}/part.parquet" in views["embeddings_cnn"]
    assert set(views) == {*TABLES, "all_items", "embeddings_cnn", "indexes"}
    assert "AS FLOAT[3]" in views["embeddings_cnn"]
    assert root == [(f"s3://{bucket.name}/lake",)]


def test_shards_read_back_and_are_reused(bucket: Bucket) -> None:
    lake = filled(f"s3://{bucket.name}/lake")
    place = lake.store.address(f"{SPACE.folder}/part.parquet")
    receipt = finished_shard(place, SPACE)
    assert receipt is not None
    assert (receipt.name, receipt.rows, receipt.reused) == ("part.parquet", 3, True)
    assert finished_shard(place.replace("part", "none"), SPACE) is None
    active = lake.read("items")["content_id"].combine_chunks()
    vectors = open_vectors(shard_paths(lake, SPACE), 3, active)
    expected = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(np.concatenate(list(vectors.batches(2))), expected)
    np.testing.assert_array_equal(vectors.take(["c3", "c1"]), expected[[2, 0]])


def test_a_snapshot_shows_its_own_state_after_later_commits(bucket: Bucket) -> None:
    lake = Lake(f"s3://{bucket.name}")
    with pytest.raises(LakeNotFoundError, match="latentlake run"):
        lake.snapshot()
    lake.upsert("items", table_of("items", [item("a")]), "run1")
    first = lake.commit_snapshot("run1")
    lake.upsert("items", table_of("items", [item("b")]), "run2")
    assert lake.snapshot() == first
    assert lake.read("items", snapshot=first)["item_id"].to_pylist() == ["a"]
    lake.commit_snapshot("run2")
    assert lake.snapshots() == [1, 2]
    assert lake.read("items", snapshot=lake.snapshot()).num_rows == 2
