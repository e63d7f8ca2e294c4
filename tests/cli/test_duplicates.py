"""Plans, lists, audits and the certificate as a user types them, over a finished lake."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentlake.cli.commands.duplicates import _plan_result
from tasks.stages.removal_plans import Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Invoke
    from tests.tasks.conftest import Project


def rows_of(invoke: Invoke, *arguments: str) -> list[dict[str, Any]]:
    done = invoke(*arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def removed(world: Project, space: str) -> set[str]:
    rows = world.lake.read("duplicates").to_pylist()
    return {row["item_id"] for row in rows if row["space"] == space}


@pytest.mark.parametrize("arguments", [("plan",), ("--dry-run",), ("plan", "--dry-run")])
def test_a_plan_lists_what_the_report_would_be(
    invoke: Invoke, world: Project, arguments: tuple[str, ...]
) -> None:
    before = world.versions()
    found = rows_of(invoke, "duplicates", *arguments)
    assert {row["item_id"] for row in found} == removed(world, "cnn") | removed(world, "words")
    assert {row["change"] for row in found} == {"same"}
    assert world.versions() == before
    text = invoke("duplicates", *arguments, "--space", "words").stdout
    assert "words at 0.98: 1 of 81 items would go" in text
    assert "Nothing has been written to the lake." in text


def test_a_plan_shows_the_first_removals_and_counts_all(
    invoke: Invoke, world: Project, tmp_path: Path
) -> None:
    goes = tmp_path / "goes.json"
    arguments = ("plan", "--space", "cnn", "--export-remove", str(goes))
    everything = rows_of(invoke, "duplicates", *arguments)
    assert rows_of(invoke, "duplicates", *arguments, "--limit", "2") == everything[:2]
    assert {row["item_id"] for row in json.loads(goes.read_text())} == removed(world, "cnn")
    text = invoke("duplicates", *arguments, "--limit", "2").stdout
    assert f"{len(everything)} of" in text


def test_what_a_plan_changes_comes_first() -> None:
    changes = ["same", "twin", "same", "new"]
    removals = pa.table({"uri": list("abcd"), "change": changes})
    made = Plan("cnn", 0.5, removals, removals.slice(0, 0), returned=0, freed_bytes=0)
    assert _plan_result([made], "", None).reader.read_all()["uri"].to_pylist() == list("bdac")
    assert _plan_result([made], "", 3).reader.read_all()["uri"].to_pylist() == list("bda")


def test_a_threshold_and_a_budget_are_taken_for_one_space(invoke: Invoke) -> None:
    assert rows_of(invoke, "duplicates", "--space", "words", "--threshold", "0.99")
    assert len(rows_of(invoke, "duplicates", "--space", "cnn", "--budget", "1")) == 1
    several = invoke("duplicates", "--budget", "5")
    assert several.exit_code == 2
    assert "name one --space for this plan: cnn, words" in several.stderr
    both = invoke("duplicates", "--space", "cnn", "--budget", "1", "--threshold", "1")
    assert both.exit_code == 2
    low = invoke("duplicates", "--space", "words", "--threshold", "0.2")
    assert low.exit_code == 1
    assert "they are stored from 0.98 on" in low.stderr
    assert {row["rule"] for row in rows_of(invoke, "duplicates", "--rule", "components")} == {
        "components"
    }
    # Photos are compared by their pixels whatever the threshold is.
    assert rows_of(invoke, "duplicates", "--space", "cnn", "--threshold", "0.2")


def test_lists_of_what_stays_and_goes_add_up(
    invoke: Invoke, world: Project, tmp_path: Path
) -> None:
    def export(suffix: str) -> tuple[Path, Path]:
        keep, remove = tmp_path / f"keep{suffix}", tmp_path / f"remove{suffix}"
        lists = ("--export-keep", str(keep), "--export-remove", str(remove))
        done = invoke("duplicates", "--space", "cnn", *lists)
        assert done.exit_code == 0, done.stderr
        return keep, remove

    gone = removed(world, "cnn")
    items = [row for row in world.lake.read("items").to_pylist() if row["source"] == "photos"]
    stays = {row["item_id"] for row in items} - gone
    parsers: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": lambda path: list(csv.DictReader(path.read_text("utf-8").splitlines())),
        ".json": lambda path: json.loads(path.read_text("utf-8")),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text("utf-8").splitlines()],
        ".parquet": lambda path: pq.read_table(path).to_pylist(),
    }
    for suffix, parse in parsers.items():
        kept_rows, removed_rows = (parse(path) for path in export(suffix))
        assert {row["item_id"] for row in kept_rows} == stays
        assert {row["item_id"] for row in removed_rows} == gone
        for row in kept_rows + removed_rows:
            assert row["path"] == str(world.folder / "photos" / row["uri"])
    keep, remove = export(".txt")
    lines = keep.read_text("utf-8").splitlines() + remove.read_text("utf-8").splitlines()
    assert sorted(lines) == sorted(str(world.folder / "photos" / row["uri"]) for row in items)
    null = tmp_path / "null.txt"
    invoke("duplicates", "--space", "cnn", "--export-remove", str(null), "--null")
    assert null.read_bytes() == remove.read_bytes().replace(b"\n", b"\0")


def test_paths_of_items_inside_of_files_are_no_list(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "remove.txt"
    done = invoke("duplicates", "--space", "words", "--export-remove", str(path))
    assert done.exit_code == 1
    assert "items are inside of files (notes.jsonl#" in done.stderr
    assert not path.exists()


@pytest.mark.parametrize("way", ["--link", "--copy"])
def test_the_kept_set_is_laid_out(invoke: Invoke, world: Project, tmp_path: Path, way: str) -> None:
    done = invoke("duplicates", "--space", "cnn", way, str(tmp_path / "kept"))
    assert done.exit_code == 0, done.stderr
    kept = {path.name for path in (tmp_path / "kept" / "photos").iterdir()}
    gone = removed(world, "cnn")
    items = [row for row in world.lake.read("items").to_pylist() if row["source"] == "photos"]
    assert kept == {row["uri"] for row in items if row["item_id"] not in gone}
    told = {"--link": "linked", "--copy": "copied"}[way]
    assert f"{len(kept)} files {told}, 0 were there already" in done.stdout


def test_the_audit_is_measured_on_demand(invoke: Invoke, world: Project) -> None:
    before = world.versions()
    found = {row["space"]: row for row in rows_of(invoke, "duplicates", "audit")}
    assert set(found) == {"cnn", "words"}
    assert (found["words"]["sampled"], found["words"]["missed"]) == (80, 0)
    (small,) = rows_of(invoke, "duplicates", "audit", "--space", "words", "--sample", "7")
    assert (small["sampled"], small["compared"]) == (7, 7 * 80)
    assert rows_of(invoke, "duplicates", "audit", "--missed") == []
    assert world.versions() == before


def test_the_certificate_is_read_from_the_snapshot(invoke: Invoke) -> None:
    assert rows_of(invoke, "verify-duplicates") == []
    text = invoke("verify-duplicates", "--space", "words").stdout
    assert text.strip() == (
        "words: 81 items = 80 kept + 1 removed, 0 known pairs at or above the threshold: proved."
    )
