"""The lake in SQL: what is in the views, for whom, and what the connection cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

from data.catalog import CATALOG_NAME, connect, write_catalog
from data.lake import Lake, table_of
from data.schemas import TABLES
from data.shards import SpaceId, register_shards, write_shard
from latentlake.errors import LakeNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

SPACE = SpaceId("cnn", "f00d", 3, "cosine")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two live items, a deleted one, and the vectors of all three."""
    made = Lake(str(tmp_path / "a lake's root"))
    items = [
        {"item_id": n, "source": "s", "uri": n, "content_id": f"c{n}", "deleted": n == "3"}
        | {"metadata": '{"label": "hat", "size": 7}'}
        for n in "123"
    ]
    made.upsert("items", table_of("items", items), "r")
    space = {
        "space": "cnn",
        "fingerprint": "f00d",
        "encoder": "e",
        "options": "{}",
        "recipe": "r",
        "modality": "image",
        "dim": 3,
        "metric": "cosine",
        "is_current": True,
    }
    made.upsert("spaces", table_of("spaces", [space]), "r")
    vectors = np.eye(3, dtype=np.float32) * 2
    path = made.root / SPACE.folder / "part.parquet"
    receipt = write_shard(path, SPACE, ["c1", "c2", "c3"], vectors)
    register_shards(made, SPACE, [receipt], "r")
    rows = [{"space": "cnn", "content_id": "c1", "neighbours": ["c2"], "similarities": [0.5]}]
    made.replace_space("neighbours", "cnn", table_of("neighbours", rows), "r")
    made.commit_snapshot("r")
    return made


def test_any_client_opens_the_catalog_without_an_extension(lake: Lake) -> None:
    path = write_catalog(lake, lake.snapshot())
    assert path == str(lake.root / CATALOG_NAME)
    with duckdb.connect(path, read_only=True) as client:
        client.execute("SET autoinstall_known_extensions = false")
        views = {row[0] for row in client.execute("SHOW TABLES").fetchall()}
        assert views == {*TABLES, "all_items", "embeddings_cnn", "indexes", "snapshot"}
        for view in views:
            client.execute(f"SELECT * FROM {view}").fetchall()
        number = client.execute("SELECT number FROM snapshot").fetchall()
    assert number == [(1,)]


def test_vectors_are_arrays_of_the_space_s_dimension(lake: Lake) -> None:
    with connect(lake) as connection:
        rows = connection.execute(
            "SELECT content_id, typeof(vector), array_cosine_similarity(vector, "
            "[1, 0, 0]::FLOAT[3]), norm FROM embeddings_cnn ORDER BY 1"
        ).fetchall()
    assert rows == [("c1", "FLOAT[3]", 1.0, 2.0), ("c2", "FLOAT[3]", 0.0, 2.0)]


def test_deleted_items_are_only_in_all_items(lake: Lake) -> None:
    with connect(lake) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM all_items").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM embeddings_cnn").fetchone() == (2,)


def test_metadata_is_json(lake: Lake) -> None:
    with connect(lake) as connection:
        row = connection.execute(
            "SELECT metadata->>'label', (metadata->>'size')::INT FROM items LIMIT 1"
        ).fetchone()
    assert row == ("hat", 7)


def test_neighbours_of_names_items(lake: Lake) -> None:
    with connect(lake) as connection:
        rows = connection.execute("SELECT uri, similarity FROM neighbours_of('1', 'cnn')")
        assert rows.fetchall() == [("2", 0.5)]


def test_a_connection_sees_its_snapshot_while_others_commit(lake: Lake) -> None:
    with connect(lake) as connection:
        lake.upsert("items", table_of("items", [{"item_id": "4", "deleted": False}]), "r2")
        lake.commit_snapshot("r2")
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (2,)
    with connect(lake) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (3,)
    with connect(lake, lake.snapshot(1)) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (2,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/latentlake-escape.csv'",
        "ATTACH '/tmp/latentlake-escape.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
    ],
)
def test_the_connection_reads_the_lake_and_nothing_else(lake: Lake, statement: str) -> None:
    with connect(lake) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)


def test_a_lake_without_a_snapshot_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LakeNotFoundError, match="latentlake run"):
        connect(Lake(str(tmp_path)))
