"""The setting `index` of a space, and what the record of an index tells of its layout."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from latentlake.errors import ConfigError
from models.indexes import reaching
from models.indexes.build import BuiltIndex, build_index
from models.indexes.recall import RecallEstimate
from tasks.stages import indexing
from tasks.stages.builds import last_build
from tasks.stages.spaces import known_space

if TYPE_CHECKING:
    from tests.tasks.conftest import Project


def wishing(project: Project, index: str) -> None:
    config = project.folder / "latentlake.toml"
    text = config.read_text("utf-8")
    assert text.count("neighbours = 5") >= 1
    config.write_text(text.replace("neighbours = 5", f"neighbours = 5\nindex = {index}"), "utf-8")


def details_of(project: Project) -> dict[str, Any]:
    build = last_build(project.lake, "index", known_space(project.lake, "words"))
    assert build is not None
    details: dict[str, Any] = json.loads(build["details"])
    return details


def test_a_kind_is_built_as_asked_and_its_drift_recorded(project: Project) -> None:
    wishing(project, '{ kind = "ivf_sqfp16" }')
    project.run()
    first = details_of(project)
    assert first["factory"].startswith("IVF")
    assert first["factory"].endswith(",SQfp16")
    assert first["reasons"][0] == "index.kind is 'ivf_sqfp16'."
    assert first["layout"]["unevenness"] >= 1
    assert first["drift"] is None
    notes = project.read_notes()
    notes["added"] = "a proof of the theorem about the group"
    project.write_notes(notes)
    project.run()
    second = details_of(project)
    assert second["update"].startswith("extended by 1")
    assert second["layout"] == first["layout"]
    assert second["drift"]["looked_at"] == 1


def test_an_index_that_misses_its_target_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_poorly(*given: Any, **named: Any) -> BuiltIndex:
        return replace(build_index(*given, **named), recall=RecallEstimate(10, 100, 0.5, 0.4, 0.6))

    monkeypatch.setattr(reaching, "build_index", build_poorly)
    receipts = project.run().receipts
    notes = [one.notes for one in receipts if (one.stage, one.subject) == ("index", "words")]
    assert [note[0] for note in notes] == [
        "Flat, recall@10 0.500 [0.400, 0.600], below the wanted 0.95"
    ]


def test_an_index_is_not_trained_again_for_a_target_that_training_missed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = RecallEstimate(10, 100, 0.5, 0.4, 0.6)

    def build_poorly(*given: Any, **named: Any) -> BuiltIndex:
        return replace(build_index(*given, **named), recall=poor)

    monkeypatch.setattr(reaching, "build_index", build_poorly)
    project.run()
    notes = project.read_notes()
    project.write_notes(notes | {f"more {n}": f"the group of {n} lemmas" for n in range(20)})
    monkeypatch.setattr(indexing, "remeasure", lambda *_: poor)
    project.run()
    assert details_of(project)["update"].startswith("extended by")
    worse = replace(poor, mean=0.3, low=0.2, high=0.45)
    monkeypatch.setattr(indexing, "remeasure", lambda *_: worse)
    project.write_notes(notes | {f"other {n}": f"the ring of {n} proofs" for n in range(40)})
    project.run()
    assert "recall had fallen to 0.300, below 0.5" in details_of(project)["update"]


def test_too_few_vectors_for_short_codes_are_scanned(project: Project) -> None:
    wishing(project, '{ kind = "pq" }')
    project.run()
    assert details_of(project)["factory"] == "Flat"
    assert "too few" in details_of(project)["reasons"][-1]


def test_an_unknown_kind_is_refused(project: Project) -> None:
    wishing(project, '{ kind = "ivf" }')
    with pytest.raises(ConfigError, match=r"index\.kind"):
        _ = project.settings
