"""The audit of pairs in a real lake: what it finds, when it is renewed, and when a run fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.stages.auditing import held_sample
from tasks.stages.builds import last_build
from tasks.stages.spaces import known_space, space_vectors
from tests.tasks.stages.test_own_vectors import Own, named, similarities

if TYPE_CHECKING:
    from pathlib import Path

    from data.vectors import ShardVectors
    from models.types import Matrix

THRESHOLD = 0.9


def alike(rows: int = 150) -> Matrix:
    """Vectors in groups of one to dozens: hundreds of pairs above the threshold."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(30, 12))
    group = (random.random(rows) ** 2 * 30).astype(int)
    made: Matrix = (centres[group] + random.normal(size=(rows, 12)) * 0.25).astype(np.float32)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Own:
    made = Own(tmp_path / "own")
    configure(made)
    made.put(named(alike()))
    return made


def configure(own: Own, **settings: float | str) -> None:
    table = {"threshold": THRESHOLD} | settings
    lines = "".join(f"{key} = {value}\n" for key, value in table.items())
    own.configure(more=f"[spaces.duplicates]\n{lines}")


def audit_of(own: Own) -> dict[str, Any]:
    build = last_build(own.lake, "audit", known_space(own.lake, "own"))
    assert build is not None
    details: dict[str, Any] = json.loads(build["details"])
    return details | {"run_id": build["run_id"]}


def lose_pairs(own: Own, share: float) -> int:
    """Take pairs out of the table, as an index that probes too little would; return how many."""
    rows = own.lake.read("pairs", where=pc.field("space") == "own")
    lost = int(rows.num_rows * share)
    own.lake.replace_space("pairs", "own", rows.drop_columns("space").slice(lost), "broken")
    builds = own.lake.read("builds")
    renewed = [
        row | {"inputs": "renew", "details": "{}"}
        for row in builds.to_pylist()
        if row["stage"] in ("audit", "duplicates")
    ]
    own.lake.upsert("builds", pa.Table.from_pylist(renewed, builds.schema), "broken")
    return lost


def true_pairs(vectors: Matrix) -> int:
    near = similarities(vectors, vectors, "cosine") >= THRESHOLD
    return int(near.sum()) - len(vectors)


def test_a_complete_search_passes_and_is_told(own: Own) -> None:
    summary = own.run()
    assert summary.errors == ()
    audit = audit_of(own)
    assert audit["pairs"] == true_pairs(alike()) > 200
    assert (audit["missed"], audit["missed_low"], audit["sampled"]) == (0, 0.0, 150)
    assert audit["compared"] == 150 * 150
    assert audit["run_id"] == summary.run_id
    (told,) = [r for r in summary.receipts if r.stage == "duplicates"]
    assert told.counts["audited_pairs"] == audit["pairs"]
    assert any(f"audit: 0 of {audit['pairs']:,} pairs" in note for note in told.notes)


def test_a_search_that_misses_pairs_fails_the_run_until_it_may(own: Own) -> None:
    own.run()
    lost = lose_pairs(own, 0.3)
    summary = own.run()
    (error,) = summary.errors
    assert "more than duplicates.max_missed = 0.02" in error
    assert "raise target_recall" in error
    assert audit_of(own)["missed"] == 2 * lost
    assert summary.changed  # the results stay, and so does the failure
    assert own.lake.read("duplicates").num_rows > 0
    again = own.run()
    assert (again.changed, again.errors) == (False, (error,))
    configure(own, max_missed=0.9)
    assert own.run().errors == ()


def test_no_audit_where_none_is_wanted(own: Own) -> None:
    configure(own, audit=0)
    own.run()
    assert last_build(own.lake, "audit", known_space(own.lake, "own")) is None


def test_the_audit_is_measured_again_when_a_tenth_has_changed(own: Own) -> None:
    vectors = alike(180)
    for rows, measured, changes in ((150, 150, 0), (158, 150, 8), (165, 150, 15), (170, 170, 0)):
        own.put(named(vectors[:rows]))
        own.run()
        audit = audit_of(own)
        assert (audit["measured_rows"], audit["changes_since"]) == (measured, changes)
    assert audit_of(own)["pairs"] == true_pairs(vectors[:170])


def test_the_sample_is_held_whatever_the_order_and_drawn_by_the_seed(own: Own) -> None:
    own.run()
    space = known_space(own.lake, "own")
    vectors = space_vectors(own.lake, own.settings, space)

    def drawn(of: ShardVectors, seed: int) -> set[str]:
        rows = held_sample(of, 20, seed)
        assert (np.diff(rows) > 0).all()
        return set(of.content_ids.take(pa.array(rows)).to_pylist())

    whole = drawn(vectors, 0)
    assert len(whole) == 20
    assert drawn(vectors, 0) == whole
    half = vectors.subset(np.arange(75, dtype=np.int64))
    assert 0 < len(whole & set(half.content_ids.to_pylist())) < 20
    assert whole & set(half.content_ids.to_pylist()) <= drawn(half, 0)
    assert drawn(vectors, 1) != whole
    assert held_sample(vectors, 500, 0).size == 150


def test_pairs_are_searched_for_again_where_less_may_be_missed(own: Own) -> None:
    def searched() -> int:
        build = last_build(own.lake, "pairs", known_space(own.lake, "own"))
        assert build is not None
        return int(json.loads(build["details"])["searched"])

    rows = len(alike())
    own.run()
    own.put(named(alike()) | {"late": alike()[0] * 1.01})
    own.run()
    assert searched() <= 1
    configure(own, max_missed=0.9)
    own.run()
    assert searched() <= 1
    configure(own, max_missed=0.001)
    own.run()
    assert searched() > rows - 1
