"""Lexical pairs of a lake's texts against Python's sets, whatever the batches and the memory."""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from data.content import content_id
from data.normal_forms import normal_text
from latentlake.errors import ConfigError
from models.encoders.tokens import tokenise
from tasks.stages import wordings
from tasks.stages.builds import last_build
from tasks.stages.maintaining import CompactionOptions, compact_lake
from tasks.stages.reporting import report_space
from tasks.stages.spaces import known_space
from tests.tasks.conftest import Project, make_project

if TYPE_CHECKING:
    from pathlib import Path

Expected = dict[tuple[str, str], tuple[str, float]]
"""Kind and similarity of the pairs of keys of notes."""


def triples(text: str) -> set[tuple[str, ...]]:
    words = tokenise(text)
    if not words:
        return set()
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def brute_force(notes: dict[str, str], threshold: float) -> Expected:
    """Compare each note with each other; those of equal bytes are one content."""
    contents = {content_id(text): text for text in notes.values()}
    sets = {content: triples(text) for content, text in contents.items()}
    found: Expected = {}
    for one, other in combinations(sorted(contents), 2):
        shared, together = len(sets[one] & sets[other]), len(sets[one] | sets[other])
        value = shared / together if together else 0.0
        if normal_text(contents[one]) == normal_text(contents[other]):
            found[one, other] = ("normalised", 1.0)
        elif value >= threshold:
            found[one, other] = ("lexical", value)
    return found


def stored(project: Project) -> Expected:
    rows = project.lake.read("lexical_pairs").to_pylist()
    found = {
        (min(row["first"], row["second"]), max(row["first"], row["second"])): (
            row["kind"],
            row["similarity"],
        )
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def assert_pairs(project: Project, notes: dict[str, str], threshold: float = 0.8) -> None:
    wanted, found = brute_force(notes, threshold), stored(project)
    assert found.keys() == wanted.keys()
    for pair, (kind, value) in wanted.items():
        assert found[pair][0] == kind
        assert found[pair][1] == pytest.approx(value, abs=1e-6)


def without_words(text: str, every: int) -> str:
    return " ".join(word for at, word in enumerate(text.split()) if at % every != every // 2)


@pytest.fixture
def notes(project: Project) -> dict[str, str]:
    """Forty abstracts; some come again in other dress, shortened, or word for word."""
    plain = dict(list(project.read_notes().items())[:40])
    config = project.folder / "latentlake.toml"
    quick = config.read_text("utf-8").replace("epochs = 5", "epochs = 1")
    config.write_text(
        quick.replace('name = "words"', 'name = "words"\nvocabulary = false'), "utf-8"
    )
    made = dict(plain)
    for at, (key, text) in enumerate(list(plain.items())[:12]):
        made[f"{key}-edited"] = without_words(text, 20 + 3 * at)
    first = next(iter(plain.values()))
    made["dressed"] = "  " + first.upper().replace(" ", "\t ") + "\n"
    made["copied"] = first
    made["short"], made["also short"] = "Hello, world!", "hello world"
    return made


def configure(project: Project, line: str) -> None:
    config = project.folder / "latentlake.toml"
    text = config.read_text("utf-8")
    config.write_text(text.replace("[run]", f"[spaces.duplicates]\n{line}\n[run]", 1), "utf-8")


def derive(project: Project, space: str = "words") -> None:
    """Do what the report `duplicates` needs, and no more."""
    project.ingest("notes")
    project.embed(space)
    report_space(project.lake, project.settings, space, "duplicates", "run")


def searched(project: Project) -> int:
    build = last_build(project.lake, "lexical", known_space(project.lake, "words"))
    assert build is not None
    return int(json.loads(build["details"])["searched"])


def test_pairs_are_those_of_the_sets(project: Project, notes: dict[str, str]) -> None:
    project.write_notes(notes)
    derive(project)
    assert_pairs(project, notes)
    kinds = {kind for kind, _ in stored(project).values()}
    assert kinds == {"normalised", "lexical"}


def test_batches_in_any_order_leave_the_same_pairs(
    project: Project, notes: dict[str, str], samples: Path, tmp_path: Path
) -> None:
    keys = list(notes)
    keys.sort(key=content_id)  # a hash: in no order that means anything
    present: dict[str, str] = {}
    for part in (keys[:30], keys[30:31], keys[31:]):
        present |= {key: notes[key] for key in part}
        project.write_notes(present)
        derive(project)
        assert_pairs(project, present)
        assert searched(project) <= len(part)
    for gone in keys[::3]:
        del present[gone]
    project.write_notes(present)
    derive(project)
    assert_pairs(project, present)
    assert searched(project) == 0
    whole = make_project(tmp_path / "whole", samples)
    whole.write_notes(present)
    derive(whole)
    assert stored(whole) == stored(project)


def test_small_memory_gives_the_same_pairs(
    project: Project, notes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bands one at a time, word triples of two texts at a time, texts signed one by one."""
    monkeypatch.setattr("tasks.stages.budget._MOST_COMPARED", 1)
    monkeypatch.setattr(wordings, "_SIGNED_CHARS", 1)
    monkeypatch.setattr(wordings, "_PART_ROWS", 7)
    project.write_notes(notes)
    derive(project)
    assert_pairs(project, notes)


def test_the_threshold_is_a_setting_and_reads_no_text_again(
    project: Project, notes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_notes(notes)
    derive(project)
    configure(project, "lexical = 0.9")
    monkeypatch.setattr(wordings.Signer, "prepare_all", None)
    derive(project)
    assert_pairs(project, notes, 0.9)


def test_switched_off_only_vectors_and_bytes_count(project: Project, notes: dict[str, str]) -> None:
    project.write_notes(notes)
    derive(project)
    assert stored(project)
    configure(project, "lexical = false")
    derive(project)
    assert stored(project) == {}
    kinds = set(project.lake.read("duplicates")["kind"].to_pylist())
    assert kinds <= {"exact", "semantic"}


@pytest.mark.parametrize("value", ["true", "0.3", "1.5", '"yes"'])
def test_other_values_are_refused(project: Project, value: str) -> None:
    configure(project, f"lexical = {value}")
    with pytest.raises(ConfigError, match="lexical"):
        _ = project.settings


def test_the_report_names_kind_twin_and_threshold(project: Project, notes: dict[str, str]) -> None:
    project.write_notes(notes)
    derive(project)
    items = {row["item_id"]: row for row in project.lake.read("items").to_pylist()}
    rows = project.lake.read("duplicates").to_pylist()
    removed = {row["item_id"] for row in rows}
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        assert row["twin_id"] not in removed
        by_kind.setdefault(row["kind"], []).append(row)
    wanted = brute_force(notes, 0.8)
    for kind, threshold in (("normalised", 1.0), ("lexical", 0.8)):
        assert by_kind[kind]
        for row in by_kind[kind]:
            one, other = sorted(items[row[name]]["content_id"] for name in ("item_id", "twin_id"))
            assert wanted[one, other][0] == kind
            assert wanted[one, other][1] == pytest.approx(row["score"])
            assert row["threshold"] == pytest.approx(threshold)
    kept = {row["content_id"] for item, row in items.items() if item not in removed}
    assert not [pair for pair in wanted if pair[0] in kept and pair[1] in kept]


def test_spaces_of_the_same_texts_share_their_wordings(project: Project) -> None:
    config = project.folder / "latentlake.toml"
    text = config.read_text("utf-8")
    second = '[[spaces]]\nname = "more"\nencoder = "word2vec"\nsources = ["notes"]\n'
    second += "options = { dim = 8, epochs = 1 }\nvocabulary = false\n[run]"
    config.write_text(text.replace("[run]", second, 1), "utf-8")
    derive(project)
    derive(project, "more")
    rows = project.lake.read("wordings")
    assert rows.num_rows == len(set(rows["content_id"].to_pylist())) == 80
    spaces = project.lake.read("lexical_paired")["space"].to_pylist()
    assert {name: spaces.count(name) for name in set(spaces)} == {"words": 80, "more": 80}


def test_wordings_by_other_rules_are_made_anew(
    project: Project, notes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_notes(notes)
    with monkeypatch.context() as other:
        for module in ("wordings", "lexical_pairing"):
            other.setattr(f"tasks.stages.{module}.RULES", "other rules")
        derive(project)
    derive(project)
    assert set(project.lake.read("wordings")["rules"].to_pylist()) == {wordings.RULES}
    assert project.lake.read("wordings").num_rows == len(set(notes.values()))
    assert_pairs(project, notes)


def test_compaction_drops_wordings_of_contents_that_have_gone(
    project: Project, notes: dict[str, str]
) -> None:
    project.write_notes(notes)
    project.run()
    left = dict(list(notes.items())[:20])
    project.write_notes(left)
    project.run()
    compact_lake(project.lake, project.settings, CompactionOptions(drop_unused=True))
    held = project.lake.read("wordings")["content_id"].to_pylist()
    assert sorted(held) == sorted({content_id(text) for text in left.values()})
    assert_pairs(project, left)


def test_too_many_alike_texts_are_refused_with_a_way_out(
    project: Project, notes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_notes(notes)
    configure(project, "threshold = 1.0")  # or vectors would have too many pairs before
    monkeypatch.setattr("tasks.stages.budget._MOST_PAIRS", 5)
    with pytest.raises(ConfigError, match=r"limits\.memory\. duplicates\.lexical = false"):
        derive(project)
