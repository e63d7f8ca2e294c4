"""The lake's tables and snapshots, against plain dictionaries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.lake import Lake, table_of
from data.schemas import TABLES
from data.space_files import commit_space_file, write_space_file
from latentlake.errors import ConfigError, LakeError, LakeNotFoundError

if TYPE_CHECKING:
    from pathlib import Path


def item(item_id: str, **values: object) -> dict[str, object]:
    return {
        "item_id": item_id,
        "source": "s",
        "uri": item_id,
        "first_run": "r",
        "deleted": False,
    } | values


def test_a_space_committed_twice_by_a_lost_answer_stands_once(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    schema = TABLES["paired"]
    rows = pa.table({"space": ["s"] * 3, "content_id": ["a", "b", "c"]})
    lake.replace_space("paired", "s", rows.slice(0, 1), "before")
    added = write_space_file(lake.store, schema, "s", rows, "run")
    for _ in range(2):
        table = lake.delta("tables/paired")
        assert table is not None
        commit_space_file(table, schema, "s", added, "run")
    assert lake.read("paired")["content_id"].to_pylist() == ["a", "b", "c"]
    assert lake.versions()["tables/paired"] == 2


def test_upsert_keeps_one_row_a_key_and_the_first_run(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.upsert("items", table_of("items", [item("a"), item("b")]), "run1")
    lake.upsert(
        "items", table_of("items", [item("b", uri="moved", first_run="x"), item("c")]), "run2"
    )
    rows = {row["item_id"]: row for row in lake.read("items").to_pylist()}
    assert sorted(rows) == ["a", "b", "c"]
    assert rows["b"]["uri"] == "moved"
    assert rows["b"]["first_run"] == "r"


def counted(table: str, values: dict[str, int]) -> pa.Table:
    if table == "items":
        return table_of(table, (item(key, size_bytes=n) for key, n in values.items()))
    stages = ({"space": "s", "stage": key, "rows": n} for key, n in values.items())
    return table_of(table, stages)


@pytest.mark.parametrize(
    ("table", "key", "value"), [("items", "item_id", "size_bytes"), ("builds", "stage", "rows")]
)
@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["upsert", "delete"]),
            st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=4),
        ),
        max_size=6,
    )
)
def test_any_order_of_commits_gives_what_a_dictionary_gives(
    tmp_path_factory: pytest.TempPathFactory,
    table: str,
    key: str,
    value: str,
    steps: list[tuple[str, dict[str, int]]],
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    expected: dict[str, int] = {}
    for action, values in steps:
        rows = counted(table, values)
        if action == "upsert":
            expected |= values
            lake.upsert(table, rows, "run")
        else:
            expected = {name: n for name, n in expected.items() if name not in values}
            lake.delete(table, rows.select(TABLES[table].key), "run")
    found = {row[key]: row[value] for row in lake.read(table).to_pylist()}
    assert found == expected


def test_an_empty_upsert_commits_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert lake.upsert("items", table_of("items", []), "run") == 0
    assert lake.files("items") == []
    assert not (lake.root / "tables/items").exists()


def test_replacing_a_space_leaves_the_others(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))

    def rows(space: str, ids: list[str]) -> pa.Table:
        return table_of(
            "clusters", ({"space": space, "content_id": i, "cluster_id": 0} for i in ids)
        )

    lake.replace_space("clusters", "cnn", rows("cnn", ["a", "b"]), "r1")
    lake.replace_space("clusters", "words", rows("words", ["c"]), "r1")
    lake.replace_space("clusters", "cnn", rows("cnn", ["d"]), "r2")
    found = sorted((row["space"], row["content_id"]) for row in lake.read("clusters").to_pylist())
    assert found == [("cnn", "d"), ("words", "c")]
    only = lake.read("clusters", where=pc.field("space") == "words", columns=["content_id"])
    assert only.to_pylist() == [{"content_id": "c"}]


def test_a_snapshot_shows_its_own_state_after_later_commits(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.upsert("items", table_of("items", [item("a")]), "run1")
    first = lake.commit_snapshot("run1")
    lake.upsert("items", table_of("items", [item("b")]), "run2")
    assert lake.snapshot() == first
    assert lake.read("items", snapshot=first)["item_id"].to_pylist() == ["a"]
    second = lake.commit_snapshot("run2")
    assert second.number == first.number + 1
    assert sorted(lake.read("items", snapshot=lake.snapshot())["item_id"].to_pylist()) == ["a", "b"]
    assert lake.read("items", snapshot=lake.snapshot(1))["item_id"].to_pylist() == ["a"]


def test_tables_younger_than_a_snapshot_are_empty_in_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.upsert("items", table_of("items", [item("a")]), "run1")
    snapshot = lake.commit_snapshot("run1")
    lake.upsert("runs", table_of("runs", [{"run_id": "run1"}]), "run1")
    assert lake.read("runs", snapshot=snapshot).num_rows == 0


def test_racing_snapshots_get_numbers_of_their_own(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.upsert("items", table_of("items", [item("a")]), "run")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: lake.commit_snapshot(f"run{n}"), range(16)))
    assert sorted(snapshot.number for snapshot in made) == list(range(1, 17))
    assert {lake.snapshot(s.number).run_id for s in made} == {f"run{n}" for n in range(16)}


def test_racing_writers_lose_no_row(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.upsert("items", table_of("items", [item("seed")]), "run")

    def write(number: int) -> None:
        Lake(str(tmp_path)).upsert("items", table_of("items", [item(f"i{number}")]), "run")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    found = sorted(lake.read("items")["item_id"].to_pylist())
    assert found == sorted(["seed", *(f"i{n}" for n in range(8))])


def test_no_lake_and_no_such_snapshot_are_clear_errors(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with pytest.raises(LakeNotFoundError, match="latentlake run"):
        lake.snapshot()
    with pytest.raises(LakeError, match="no snapshot 7"):
        lake.snapshot(7)
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        Lake("gs://bucket/lake")
    with pytest.raises(ConfigError, match="percent sign"):
        Lake("/tmp/100%")  # noqa: S108  never made


def test_a_root_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / 'a lake\'s "own" é #1 ?'))
    lake.upsert("items", table_of("items", [item("a")]), "run")
    rows = table_of("clusters", [{"space": "cnn", "content_id": "c"}])
    lake.replace_space("clusters", "cnn", rows, "run")
    assert lake.read("items").num_rows == 1
    assert lake.read("clusters")["space"].to_pylist() == ["cnn"]
