"""The certificate of a real report, and each thing that may be wrong with one, broken once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.pinned import PinnedLake
from latentlake.settings import load_settings
from tasks.stages.certifying import Certificate, certify, with_places
from tasks.stages.spaces import known_space
from tests.tasks.stages.test_auditing import alike, configure
from tests.tasks.stages.test_own_vectors import Own, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 vectors in groups, and three copies of two of them."""
    made = Own(tmp_path_factory.mktemp("certified") / "own")
    configure(made)
    vectors = alike()
    made.put(named(vectors) | {"c1": vectors[0], "c2": vectors[0], "c3": vectors[1]})
    assert made.run().errors == ()
    return made.folder


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Own:
    shutil.copytree(built, tmp_path / "own")
    return Own(tmp_path / "own")


def certificate(own: Own) -> Certificate:
    lake = PinnedLake(own.lake, own.lake.snapshot())
    found = certify(lake, own.settings, known_space(lake, "own"))
    assert found is not None
    return found


def rewrite(own: Own, table: str, change: Callable[[Rows], Rows]) -> None:
    """Change the stored rows of a table, and publish that as a run would."""
    rows = own.lake.read(table, where=pc.field("space") == "own")
    changed = pa.Table.from_pylist(change(rows.to_pylist()), rows.schema)
    own.lake.replace_space(table, "own", changed.drop_columns("space"), "broken")
    own.lake.commit_snapshot("broken")


def checks(own: Own) -> set[str]:
    return set(certificate(own).flaws["check"].to_pylist())


def test_a_sound_report_is_proved_and_counted(own: Own) -> None:
    found = certificate(own)
    assert found.flaws.num_rows == 0
    removed = own.lake.read("duplicates").num_rows
    assert (found.items, found.removed) == (153, removed)
    assert found.kept == 153 - removed > 20
    assert found.edges == own.lake.read("pairs").num_rows > 100
    assert found.line().endswith("proved.")


def test_a_space_without_a_report_has_no_certificate(own: Own) -> None:
    builds = own.lake.read("builds").filter(pc.field("stage") == "duplicates")
    own.lake.delete("builds", builds.select(["space", "stage"]), "broken")
    lake = PinnedLake(own.lake, own.lake.commit_snapshot("broken"))
    assert certify(lake, own.settings, known_space(lake, "own")) is None


def near(rows: Rows) -> dict[str, Any]:
    return next(row for row in rows if row["kind"] == "near")


def changed(rows: Rows, **columns: Any) -> Rows:
    """The first row of kind "near" with other values."""
    row = near(rows)
    return [one | columns if one is row else one for one in rows]


def without_one(rows: Rows) -> Rows:
    row = near(rows)
    return [one for one in rows if one is not row]


def removed_twin(rows: Rows) -> Rows:
    """The twin of one row becomes an item that another row removes."""
    row = near(rows)
    other = next(one for one in rows if one["twin_id"] != row["twin_id"])
    return changed(rows, twin_id=other["item_id"], group_id=other["item_id"])


def far_twin(rows: Rows) -> Rows:
    """The twin of one row becomes one that is kept, but of another group."""
    row = near(rows)
    other = next(one for one in rows if one["twin_id"] != row["twin_id"])
    return changed(rows, twin_id=other["twin_id"], group_id=other["twin_id"])


@pytest.mark.parametrize(
    ("change", "check", "problem"),
    [
        (lambda rows: changed(rows, item_id="0" * 32), "ids", "removed item is none of"),
        (lambda rows: changed(rows, twin_id="0" * 32), "ids", "twin is none of"),
        (lambda rows: [*rows, near(rows)], "ids", "removed more than once"),
        (removed_twin, "twins", "the twin is removed itself"),
        (lambda rows: changed(rows, group_id="0" * 32), "twins", "not named by the twin"),
        (far_twin, "proofs", "no edge of this kind"),
        (lambda rows: changed(rows, kind="lexical"), "proofs", "no edge of this kind"),
        (lambda rows: changed(rows, kind="exact"), "proofs", "the contents differ"),
        (lambda rows: changed(rows, score=0.999), "proofs", "another score"),
        (lambda rows: changed(rows, score=0.5), "threshold", "below the threshold"),
        (lambda rows: changed(rows, threshold=0.1), "threshold", "not the one the report"),
        (lambda rows: changed(rows, similarity=0.97), "vectors", "the vectors say"),
        (without_one, "kept", "both are kept, and near by"),
        (without_one, "counts", "there are"),
    ],
)
def test_each_flaw_is_found(
    own: Own, change: Callable[[Rows], Rows], check: str, problem: str
) -> None:
    rewrite(own, "duplicates", change)
    flaws = certificate(own).flaws.to_pylist()
    assert [row for row in flaws if row["check"] == check and problem in row["problem"]], flaws


def test_kept_copies_of_one_content_are_found(own: Own) -> None:
    def keep_a_copy(rows: Rows) -> Rows:
        copy = next(row for row in rows if row["kind"] == "exact")
        return [row for row in rows if row is not copy]

    rewrite(own, "duplicates", keep_a_copy)
    flaws = certificate(own).flaws
    told = flaws.filter(pc.field("check") == "kept").to_pylist()
    assert any("their contents are equal" in row["problem"] for row in told)
    places = with_places(PinnedLake(own.lake, own.lake.snapshot()), flaws)
    assert {"mine.parquet#c1", "mine.parquet#c2", "mine.parquet#c3"} & {
        *places["item"].to_pylist(),
        *places["twin"].to_pylist(),
    }


def test_an_edge_that_has_gone_and_one_that_was_forgotten_are_found(own: Own) -> None:
    def lose(rows: Rows) -> Rows:
        return rows[1::2]

    rewrite(own, "pairs", lose)
    assert "proofs" in checks(own)


def test_an_edge_between_kept_items_is_found(own: Own) -> None:
    removed = set(own.lake.read("duplicates")["item_id"].to_pylist())
    items = own.lake.read("items").to_pylist()
    kept = sorted({i["content_id"] for i in items if i["item_id"] not in removed})[:2]

    def add(rows: Rows) -> Rows:
        return [*rows, rows[0] | {"first": kept[0], "second": kept[1], "similarity": 0.95}]

    rewrite(own, "pairs", add)
    (flaw,) = certificate(own).flaws.to_pylist()
    assert flaw["check"] == "kept"
    assert "near by 0.95, at least 0.9" in flaw["problem"]


def test_a_report_that_is_older_than_the_items_says_so(own: Own) -> None:
    own.put(named(np.concatenate((alike(), alike()[:1] * 2))))
    own.ingest("mine")
    own.lake.commit_snapshot("ingested")
    flaws = certificate(own).flaws.to_pylist()
    assert any("was made of 153 items, there are 151" in row["problem"] for row in flaws)


def test_a_threshold_that_was_changed_since_is_not_held_against_the_report(own: Own) -> None:
    configure(own, threshold=0.95)
    assert load_settings(own.folder / "latentlake.toml").spaces[0].duplicates.threshold == 0.95
    assert certificate(own).flaws.num_rows == 0
