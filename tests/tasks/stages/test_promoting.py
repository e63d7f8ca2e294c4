"""A new version of a space is filled beside the old one, and takes its place in one step."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from data.catalog import SpaceRow, connect, space_versions
from data.maintenance.exporting import read_rows
from data.maintenance.vacuuming import Retention
from latentlake.errors import PromotionRefusedError, QueryError
from tasks.stages.maintaining import restore_lake, vacuum_lake
from tasks.stages.promoting import promote_ready, promote_version
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.spaces import retrain_space
from tasks.stages.verifying import verify_lake
from tests.tasks.conftest import Project, copy_of, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from data.lake import Snapshot

VIEWS = (
    *("neighbours", "pairs", "duplicates", "clusters", "cluster_summary"),
    *("centroids", "anomalies", "embeddings_words"),
)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    made = make_project(tmp_path_factory.mktemp("promoting") / "project", samples)
    made.run()
    return made.folder


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    """A lake whose one space has vectors of 16 dimensions and all reports."""
    return copy_of(built_once, tmp_path / "project")


def configure(project: Project, dim: int, promote: str = "auto") -> None:
    path = project.folder / "latentlake.toml"
    lines = [
        f'promote = "{promote}"\noptions = {{ dim = {dim}, epochs = 5 }}'
        if line.startswith("options")
        else line
        for line in path.read_text("utf-8").splitlines()
        if not line.startswith("promote")
    ]
    path.write_text("\n".join(lines), "utf-8")


def seen(project: Project, snapshot: Snapshot | None = None) -> dict[str, list[str]]:
    """All that readers see of the space but for the names of runs."""
    with connect(project.lake, snapshot) as connection:
        return {
            view: sorted(map(str, connection.execute(_without_run(view)).fetchall()))
            for view in VIEWS
        }


def _without_run(view: str) -> str:
    return f"SELECT * EXCLUDE run_id FROM {view}" if view == "duplicates" else f"FROM {view}"


def states(project: Project) -> list[tuple[int, str]]:
    def state(space: SpaceRow) -> str:
        return "current" if space.is_current else "waiting" if space.is_waiting else "former"

    return [(space.id.dim, state(space)) for space in space_versions(project.lake, "words")]


def version(project: Project, dim: int) -> str:
    return next(v.version for v in space_versions(project.lake, "words") if v.id.dim == dim)


def anew(project: Project, folder: Path) -> dict[str, list[str]]:
    """What readers would see had the lake been made with the present configuration."""
    fresh = Project(shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("lake")))
    fresh.run()
    return seen(fresh)


def test_an_automatic_promotion_ends_the_run_that_completes_it(
    built: Project, tmp_path: Path
) -> None:
    before = seen(built)
    configure(built, 8)
    summary = built.run()
    assert states(built) == [(8, "current"), (16, "former")]
    promoted = summary.receipts[-1]
    assert (promoted.stage, promoted.subject, promoted.changed) == ("promote", "words", True)
    assert seen(built) == anew(built, tmp_path / "anew")
    assert seen(built, built.lake.snapshot(1)) == before
    assert list(verify_lake(built.lake)) == []
    assert not built.run().changed


def test_readers_keep_the_old_version_until_a_person_promotes(
    built: Project, tmp_path: Path
) -> None:
    before = seen(built)
    configure(built, 8, "manual")
    summary = built.run()
    assert states(built) == [(16, "current"), (8, "waiting")]
    assert "is complete" in summary.receipts[-1].notes[0]
    assert seen(built) == before
    assert not built.run().changed
    with connect(built.lake) as connection:
        shown = connection.sql("SELECT DISTINCT space FROM indexes").fetchall()
        texts = {name for (name,) in shown if not name.startswith("words_vocabulary")}
        assert texts == {"words", version(built, 8)}
        promote_version(built.lake, built.settings, "words")
        counted = connection.sql("SELECT count(*) FROM clusters").fetchall()
        assert counted == [(80,)]  # a reader keeps the snapshot that it has opened
    assert states(built) == [(8, "current"), (16, "former")]
    assert seen(built) == anew(built, tmp_path / "anew")
    exported = read_rows(built.lake, "clusters", built.lake.snapshot()).read_all()
    assert set(exported["space"].to_pylist()) == {"words"}
    assert exported.num_rows == 80


def test_both_versions_take_what_is_new_while_one_waits(built: Project, tmp_path: Path) -> None:
    old = Project(shutil.copytree(built.folder, tmp_path / "old"))
    configure(built, 8, "manual")
    built.run()
    for project in (built, old):
        project.write_notes(project.read_notes() | {"new": "we show that the system is stable"})
        project.run()
    assert seen(built) == seen(old)
    promote_version(built.lake, built.settings, "words")
    with connect(built.lake) as connection:
        assert connection.sql("SELECT count(*) FROM embeddings_words").fetchall() == [(81,)]


def test_one_can_go_back_and_stays_there(built: Project) -> None:
    before = seen(built)
    configure(built, 8, "manual")
    built.run()
    promote_version(built.lake, built.settings, "words")
    after = seen(built)
    promote_version(built.lake, built.settings, version(built, 16))
    assert seen(built) == before
    built.run()
    assert states(built) == [(16, "current"), (8, "waiting")]
    promote_version(built.lake, built.settings, version(built, 8)[:10])
    assert seen(built) == after


def test_a_version_that_lacks_something_is_refused(built: Project) -> None:
    configure(built, 8)
    run = begin_run(built.lake, "embed")
    receipts = [built.embed("words", run.run_id)[1]]
    receipts += promote_ready(built.lake, built.settings, run.run_id)
    finish_run(built.lake, built.settings, run, receipts)
    assert states(built) == [(16, "current"), (8, "waiting")]
    assert "it lacks the index, the graph" in receipts[-1].notes[0]
    with pytest.raises(PromotionRefusedError, match="lacks the index, the graph, the pairs"):
        promote_version(built.lake, built.settings, "words")
    promote_version(built.lake, built.settings, "words", force=True)
    assert states(built) == [(8, "current"), (16, "former")]
    with connect(built.lake) as connection:
        assert connection.sql("SELECT count(*) FROM clusters").fetchall() == [(0,)]
    built.run()
    assert list(verify_lake(built.lake)) == []


def test_a_former_version_that_misses_new_items_is_refused(built: Project) -> None:
    configure(built, 8)
    built.run()
    built.write_notes(built.read_notes() | {"new": "we show that the system is stable"})
    built.run()
    with pytest.raises(PromotionRefusedError, match="lacks 1 of 81 contents"):
        promote_version(built.lake, built.settings, version(built, 16))


def test_a_retrained_version_waits_and_its_promotion_lasts(built: Project) -> None:
    configure(built, 16, "manual")
    notes = built.read_notes()
    built.write_notes(dict(list(notes.items())[:60]))
    built.run()
    old, new = (
        space_versions(built.lake, "words")[0],
        retrain_space(built.lake, built.settings, "words", "r"),
    )
    built.run()
    assert [v.label for v in space_versions(built.lake, "words")] == ["words", new.label]
    promote_version(built.lake, built.settings, "words")
    built.run()
    assert space_versions(built.lake, "words")[0].id == new.id
    promote_version(built.lake, built.settings, old.version)
    built.run()  # both fit the configuration: what a person chose stays
    assert [v.is_waiting for v in space_versions(built.lake, "words")] == [False, False]
    assert space_versions(built.lake, "words")[0].id == old.id


def test_a_configuration_that_goes_back_lets_nothing_wait(built: Project) -> None:
    before = seen(built)
    configure(built, 8, "manual")
    built.run()
    configure(built, 16, "manual")
    built.run()
    assert states(built) == [(16, "current"), (8, "former")]
    assert seen(built) == before


def test_a_state_before_the_promotion_is_restored(built: Project) -> None:
    before = seen(built)
    configure(built, 8)
    built.run()
    restore_lake(built.lake, built.settings, built.lake.snapshot(1))
    assert seen(built) == before
    assert states(built) == [(16, "current")]
    assert list(verify_lake(built.lake)) == []
    built.run()  # the vectors are still there
    assert states(built) == [(8, "current"), (16, "former")]


def test_the_version_before_the_last_is_forgotten_and_vacuumed(built: Project) -> None:
    for dim in (8, 12):
        configure(built, dim)
        built.run()
    assert states(built) == [(12, "current"), (8, "former")]
    with connect(built.lake, built.lake.snapshot(1)) as connection:
        assert connection.sql("SELECT count(*) FROM embeddings_words").fetchall() == [(80,)]
    vacuum_lake(built.lake, Retention(keep_runs=1, grace_hours=0))
    assert list(verify_lake(built.lake)) == []
    held = [path.parent.name for path in built.lake.root.glob("embeddings/words/*/*.parquet")]
    kept = {space.id.fingerprint for space in space_versions(built.lake, "words")}
    assert set(held) == kept
    models = {version.artefact for version in space_versions(built.lake)}
    assert {
        f"models/words/{path.name}" for path in built.lake.root.glob("models/words/*")
    } == models
    assert {path.parent.name for path in built.lake.root.glob("indexes/words/*/*")} == kept
    promote_version(built.lake, built.settings, version(built, 8))
    assert list(verify_lake(built.lake)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("words@zzz", "no version 'words@zzz'. Of space 'words' there are: words@"),
        ("words@", "several versions|no version 'words@'"),
        ("word@1", "no space 'word'. Did you mean 'words'"),
        ("words", "no version of space 'words' waits. Of it there are: words@"),
    ],
)
def test_what_cannot_be_promoted_is_told(built: Project, name: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        promote_version(built.lake, built.settings, name)
