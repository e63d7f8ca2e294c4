"""A change of a table against a dictionary, and what it leaves of the files it does not touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import changes
from data.changes import TableChange, change_table
from data.lake import Lake, table_of
from data.workspace import workspace
from latentlake.errors import LakeError, MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from data.workspace import Workspace

MEMORY_BYTES = 100_000_000
Files = dict[str, int]


def held(lake: Lake) -> Files:
    return {row["file"]: row["size_bytes"] for row in lake.read("files").to_pylist()}


def listed(rows: Mapping[str, int]) -> str:
    values = ", ".join(f"('s', '{file}', {size})" for file, size in rows.items())
    names = ["source", "file", "size_bytes"]
    rest = ", ".join(f"NULL AS {name}" for name in _COLUMNS if name not in names)
    return f"SELECT *, {rest} FROM (VALUES {values}) t({', '.join(names)})"


_COLUMNS = table_of("files", []).column_names


def apply(lake: Lake, work: Workspace, added: Files, changed: Files, gone: set[str]) -> bool:
    keys = ", ".join(f"('s', '{file}')" for file in gone)
    change = TableChange(
        added=listed(added) if added else None,
        changed=listed(changed) if changed else None,
        gone=f"FROM (VALUES {keys}) t(source, file)" if gone else None,
    )
    return change_table(lake, "files", work, change, "run")


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    steps=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=4),
            st.sets(st.sampled_from("abcdef"), max_size=3),
        ),
        max_size=5,
    )
)
def test_any_order_of_changes_gives_what_a_dictionary_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Files, set[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(str(folder / "lake"))
    expected: Files = {}
    for written, unwanted in steps:
        gone = (unwanted & expected.keys()) - written.keys()
        with workspace(lake, "test", MEMORY_BYTES, 1) as work:
            work.view_table(lake, "files")
            added = {file: size for file, size in written.items() if file not in expected}
            changed = {file: size for file, size in written.items() if file in expected}
            assert apply(lake, work, added, changed, gone) == bool(written or gone)
        expected = {f: s for f, s in expected.items() if f not in gone} | written
        assert held(lake) == expected


def test_only_files_with_a_changed_row_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FILE_ROWS", 1)
    lake = Lake(str(tmp_path / "lake"))
    for rows in ({"a": 1, "b": 1}, {"c": 1, "d": 1}):
        with workspace(lake, "test", MEMORY_BYTES, 1) as work:
            work.view_table(lake, "files")
            apply(lake, work, rows, {}, set())
    first, second = lake.files("files")
    with workspace(lake, "test", MEMORY_BYTES, 1) as work:
        work.view_table(lake, "files")
        apply(lake, work, {}, {"c": 2}, set())
    assert len({first, second} & set(lake.files("files"))) == 1
    assert held(lake) == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_a_change_of_more_rows_than_a_file_has_takes_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FILE_ROWS", 1)
    monkeypatch.setattr("data.workspace.STREAM_ROWS", 2048)
    lake = Lake(str(tmp_path / "lake"))
    rows = {f"f{n}": n for n in range(5000)}
    with workspace(lake, "test", MEMORY_BYTES, 1) as work:
        work.view_table(lake, "files")
        apply(lake, work, rows, {}, set())
    assert len(lake.files("files")) > 1
    assert held(lake) == rows
    assert lake.versions() == {"tables/files": 1}  # its creation, and one commit


def test_a_table_that_another_writer_changed_meanwhile_is_not_changed(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with workspace(lake, "test", MEMORY_BYTES, 1) as work:
        work.view_table(lake, "files")
        apply(lake, work, {"a": 1, "b": 1}, {}, set())
    with workspace(lake, "test", MEMORY_BYTES, 1) as work:
        work.view_table(lake, "files")
        lake.upsert("files", table_of("files", [{"source": "s", "file": "a"}]), "other")
        before = lake.versions()
        with pytest.raises(LakeError, match="another writer"):
            apply(lake, work, {}, {"b": 2}, set())
    assert lake.versions() == before


def test_a_workspace_leaves_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with workspace(lake, "test", MEMORY_BYTES, 1) as work:
        work.execute("CREATE TABLE t AS SELECT range AS n, md5(range::VARCHAR) AS s FROM range(9)")
        ordered = [row for part in work.stream("FROM t ORDER BY s") for row in part.to_pylist()]
        assert [row["s"] for row in ordered] == sorted(row["s"] for row in ordered)
        assert work.count("t") == 9
    assert list(tmp_path.rglob("*")) == [tmp_path / "work"]


def test_what_does_not_fit_even_by_spilling_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    table = "CREATE TABLE t AS SELECT DISTINCT md5(range::VARCHAR) AS s FROM range(100000)"
    with (
        workspace(lake, "test", 1_000_000, 1) as work,
        pytest.raises(MemoryLimitError, match=r"limits\.memory is too small .*Out of Memory"),
    ):
        work.execute(table)
