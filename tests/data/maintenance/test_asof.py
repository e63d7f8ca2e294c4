"""Names of states: runs, times and numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from data.maintenance.asof import resolve_snapshot
from latentlake.errors import LakeNotFoundError, QueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.data.maintenance.conftest import Toy

TIMES = ["2026-03-01T10:00:00+00:00", "2026-03-02T10:00:00+00:00", "2026-03-03T10:00:00+00:00"]
RUNS = ["20260301T095900000-00000a", "20260302T095900000-00000b", "20260303T095900000-00000c"]


@pytest.fixture(scope="module")
def dated(make_toy: Callable[[], Toy]) -> Toy:
    toy = make_toy()
    for n, (time, run) in enumerate(zip(TIMES, RUNS, strict=True)):
        snapshot = toy.run({"a": str(n)})
        path = toy.root / "snapshots" / f"{snapshot.number:012d}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"at": time, "run_id": run}))
    return toy


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("3", 3),
        (RUNS[1], 2),
        ("20260302T120000000-ffffff", 2),  # a run without news
        ("2026-03-02T10:00:00", 2),
        ("2026-03-02T10:00:00Z", 2),
        ("2026-03-02T09:59:59", 1),
        ("2026-03-02T11:30:00+02:00", 1),
        ("2026-03-02", 1),
        ("2030-01-01", 3),
    ],
)
def test_a_name_means_the_last_snapshot_not_after_it(dated: Toy, name: str, number: int) -> None:
    assert resolve_snapshot(dated.lake, name).number == number


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("4", "no snapshot 4. Kept: 1 of"),
        ("2026-02-28", "no snapshot is as old as '2026-02-28'"),
        ("20250101T000000000-aaaaaa", "no snapshot is as old as"),
        ("yesterday", "no ISO 8601 time: 'latentlake runs'"),
        ("", "no ISO 8601 time"),
    ],
)
def test_what_means_nothing_is_a_clear_error(dated: Toy, name: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        resolve_snapshot(dated.lake, name)


def test_a_vacuumed_state_is_not_taken_for_an_older_one(toy: Toy) -> None:
    first = toy.run({"a": "p"})
    toy.run({"a": "q"})
    (toy.root / "snapshots" / "000000000001.json").unlink()
    with pytest.raises(QueryError, match="'latentlake vacuum' removed it"):
        resolve_snapshot(toy.lake, first.run_id)
    with pytest.raises(QueryError, match="no snapshot 1"):
        resolve_snapshot(toy.lake, "1")


def test_a_lake_without_snapshots_says_so(toy: Toy) -> None:
    with pytest.raises(LakeNotFoundError):
        resolve_snapshot(toy.lake, "1")
