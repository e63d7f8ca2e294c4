"""The contents that a table of pairs covers, against Python's sets, batch after batch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import SpaceRow
from data.lake import Lake
from data.shards import SpaceId
from data.vectors import ShardVectors
from tasks.stages.covered import Covered

if TYPE_CHECKING:
    from pathlib import Path

SPACES = {
    name: SpaceRow(SpaceId(name, "f", 2, "cosine"), "words", "{}", "", "text", None, name)
    for name in ("one", "other")
}


def vectors_of(ids: set[str]) -> ShardVectors:
    used = np.ones(len(ids), np.bool_)
    return ShardVectors(("shard",), pa.array(sorted(ids), pa.string()), 2, used, (len(ids),))


def covered_by(lake: Lake, name: str) -> list[str]:
    rows = lake.read("paired", where=pc.field("space") == name, columns=["content_id"])
    return sorted(rows["content_id"].to_pylist())


def files_of(lake: Lake, name: str) -> int:
    return sum(f"/space={name}/" in path for path in lake.files("paired"))


def test_the_table_names_what_is_covered_after_any_sequence(tmp_path: Path) -> None:
    lake, draw = Lake(str(tmp_path)), random.Random(7)  # noqa: S311  a test
    alive: dict[str, set[str]] = {name: set() for name in SPACES}
    before: dict[str, set[str]] = {name: set() for name in SPACES}
    for turn in range(60):
        name = draw.choice(list(SPACES))
        alive[name] |= {f"{draw.randrange(400):032x}" for _ in range(draw.randrange(12))}
        if draw.random() < 0.2:
            alive[name] -= set(draw.sample(sorted(alive[name]), len(alive[name]) // 3))
        vectors = vectors_of(alive[name])
        wanted = np.array([draw.random() < 0.97 for _ in range(vectors.rows)], np.bool_)
        found = Covered.read(lake, "paired", SPACES[name], vectors)
        assert set(vectors.content_ids.filter(pa.array(found.rows)).to_pylist()) == (
            before[name] & alive[name]
        )
        found.replace(lake, vectors, wanted, f"run{turn:03d}")
        before[name] = set(vectors.content_ids.filter(pa.array(wanted)).to_pylist())
        for one in SPACES:
            assert covered_by(lake, one) == sorted(before[one])


def test_files_are_joined_when_they_are_many(tmp_path: Path) -> None:
    lake, ids = Lake(str(tmp_path)), set[str]()
    counts = []
    for turn in range(40):
        ids.add(f"{turn:032x}")
        vectors = vectors_of(ids)
        covered = Covered.read(lake, "paired", SPACES["one"], vectors)
        covered.replace(lake, vectors, np.ones(vectors.rows, np.bool_), f"run{turn:03d}")
        counts.append(files_of(lake, "one"))
    assert covered_by(lake, "one") == sorted(ids)
    assert counts[:3] == [1, 2, 3]
    assert max(counts) == 16
    assert counts[16] == 1


def test_without_news_nothing_is_committed(tmp_path: Path) -> None:
    lake, vectors = Lake(str(tmp_path)), vectors_of({f"{n:032x}" for n in range(5)})
    everything = np.ones(vectors.rows, np.bool_)
    for anew, last in ((True, 1), (False, 1), (True, 2)):
        covered = Covered.read(lake, "paired", SPACES["one"], vectors, anew=anew)
        covered.replace(lake, vectors, everything, "run")
        assert lake.versions()["tables/paired"] == last
        assert covered_by(lake, "one") == vectors.content_ids.to_pylist()
