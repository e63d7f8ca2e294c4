"""Tables that stay open: whatever others commit meanwhile is seen, and nothing stale is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from data.lake import Lake, table_of

if TYPE_CHECKING:
    from pathlib import Path


def add(lake: Lake, stage: str, rows: int) -> None:
    row = {"space": "s", "stage": stage, "rows": rows, "recorded_at": datetime.now(UTC)}
    lake.upsert("builds", table_of("builds", [row]), "run")


def found(lake: Lake) -> dict[str, int]:
    rows = lake.read("builds", columns=["stage", "rows"]).to_pylist()
    assert len({row["stage"] for row in rows}) == len(rows)
    return {row["stage"]: row["rows"] for row in rows}


def test_two_lakes_over_one_folder_see_each_other(tmp_path: Path) -> None:
    one, other = Lake(str(tmp_path)), Lake(str(tmp_path))
    expected = {}
    for turn in range(12):
        lake = (one, other)[turn * 5 // 3 % 2]
        add(lake, f"stage{turn % 5}", turn)
        expected[f"stage{turn % 5}"] = turn
        assert found(one) == found(other) == expected
    assert one.versions()["tables/builds"] == 12


def test_threads_that_share_a_lake_lose_no_row(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda turn: add(lake, f"stage{turn}", turn), range(12)))
    assert found(lake) == {f"stage{turn}": turn for turn in range(12)}
