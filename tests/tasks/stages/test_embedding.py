"""Encoding: a plan that repeats itself, shards that are reused, contents that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.images import decode_image
from data.shards import embedded_ids, shard_paths
from tasks.stages import contents, embedding
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.planning import plan_embedding
from tasks.stages.spaces import (
    find_space,
    live_encoder,
    make_space,
    retrain_space,
    space_vectors,
)
from tasks.stages.versions import versions_at_work

if TYPE_CHECKING:
    from models.types import Matrix
    from tests.tasks.conftest import Project


def vectors(project: Project, space: str = "words") -> dict[str, Matrix]:
    row = find_space(project.lake, project.settings, space)
    assert row is not None
    found = space_vectors(project.lake, project.settings, row)
    matrix = np.concatenate(list(found.batches(1000)))
    return dict(zip(found.content_ids.to_pylist(), matrix, strict=True))


def test_every_content_gets_the_vector_of_its_text(project: Project) -> None:
    project.ingest("notes")
    plan, receipt = project.embed("words")
    assert plan.pending == receipt.counts["encoded"] == 80
    assert receipt.counts["shards"] == 3  # 32 rows a shard
    row = find_space(project.lake, project.settings, "words")
    assert row is not None
    encoder = live_encoder(project.lake, project.settings, row)
    stored = vectors(project)
    items = {i["key"]: i["content_id"] for i in project.lake.read("items").to_pylist()}
    for key, text in project.read_notes().items():
        expected = encoder.encode([encoder.prepare(text)])[0]
        np.testing.assert_array_equal(stored[items[key]], expected)


def test_copies_are_encoded_once(project: Project) -> None:
    notes = project.read_notes()
    notes["copy"] = next(iter(notes.values()))
    project.write_notes(notes)
    assert project.ingest("notes").counts["new"] == 81
    assert project.embed("words")[0].pending == 80


def test_no_news_plans_nothing(project: Project) -> None:
    project.ingest("notes")
    project.embed("words")
    before = project.versions()
    plan, receipt = project.embed("words")
    assert plan.groups == ()
    assert not receipt.changed
    assert project.versions() == before


def test_a_run_that_died_before_its_commit_is_resumed_not_repeated(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ingest("notes")
    lake, settings = project.lake, project.settings
    space = make_space(lake, settings, "words", "r1")
    plan = plan_embedding(lake, settings, space)
    written = [r for group in plan.groups for r in encode_group(lake, settings, space, group)]
    assert not any(receipt.reused for receipt in written)
    # The process dies here: shards lie in the folder, none is registered, the last is cut short.
    torn = lake.root / space.id.folder / written[-1].name
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-100])
    encoded: list[int] = []
    original = embedding._encode

    def counted(*arguments: object) -> object:
        result = original(*arguments)  # type: ignore[arg-type]
        encoded.append(len(result.content_ids))
        return result

    monkeypatch.setattr(embedding, "_encode", counted)
    again = plan_embedding(lake, settings, space)
    assert [g.shards for g in again.groups] == [g.shards for g in plan.groups]
    receipts = [r for group in again.groups for r in encode_group(lake, settings, space, group)]
    assert [receipt.reused for receipt in receipts] == [True, True, False]
    assert encoded == [16]
    assert torn.read_bytes() == whole
    receipt = commit_embedding(lake, space, again, receipts, "r2")
    assert receipt.counts["shards"] == 3
    assert len(vectors(project)) == 80


def test_a_text_without_a_known_word_is_quarantined_for_its_space(project: Project) -> None:
    notes = project.read_notes() | {"odd": "zzzqx qqxzz xxqqz", "fine": "we show that the system"}
    project.write_notes(notes)
    project.ingest("notes")
    _, receipt = project.embed("words")
    assert receipt.counts["rejected"] == 1
    (row,) = project.lake.read("quarantine").to_pylist()
    assert (row["uri"], row["space"], row["stage"]) == ("notes.jsonl#odd", "words", "encode")
    assert "odd" in {item["key"] for item in project.lake.read("items").to_pylist()}
    assert project.embed("words")[0].pending == 0


def test_a_content_that_changed_since_its_ingest_waits_for_the_next_run(project: Project) -> None:
    project.ingest("notes")
    notes = project.read_notes()
    edited, gone, *_ = notes
    notes[edited] += " revised"
    del notes[gone]
    project.write_notes(notes)
    _, receipt = project.embed("words")
    assert receipt.counts["encoded"] == 78
    assert receipt.counts["rejected"] == 0
    assert "2 changed" in receipt.notes[0]
    assert project.ingest("notes").counts["changed"] == 1
    plan, receipt = project.embed("words")
    assert plan.pending == receipt.counts["encoded"] == 1
    assert len(vectors(project)) == 79


def test_another_option_makes_another_space_beside_the_old(project: Project) -> None:
    project.ingest("notes")
    project.embed("words")
    config = project.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace("dim = 16", "dim = 8"), "utf-8")
    assert find_space(project.lake, project.settings, "words") is None
    project.embed("words")
    assert {len(vector) for vector in vectors(project).values()} == {8}
    rows = project.lake.read("spaces").to_pylist()
    states = sorted((row["dim"], row["is_current"], row["is_waiting"]) for row in rows)
    assert states == [(8, False, True), (16, True, False)]
    assert len({row["fingerprint"] for row in rows}) == 2


def test_shards_hold_each_content_once(project: Project) -> None:
    project.ingest("notes")
    project.embed("words")
    space = find_space(project.lake, project.settings, "words")
    assert space is not None
    ids = embedded_ids(shard_paths(project.lake, space.id)).to_pylist()
    assert len(ids) == len(set(ids)) == 80


def test_work_files_are_gone_after_the_commit(project: Project) -> None:
    project.ingest("notes")
    project.embed("words")
    assert not list(project.lake.root.rglob("*.plan"))


@pytest.mark.parametrize("ending", ["deleted", "mended"])
def test_a_refused_item_leaves_the_quarantine_when_it_goes_or_is_mended(
    project: Project, ending: str
) -> None:
    notes = project.read_notes() | {"odd": "zzzqx qqxzz xxqqz"}
    project.write_notes(notes)
    project.ingest("notes")
    project.embed("words")
    assert project.lake.read("quarantine").num_rows == 1
    if ending == "deleted":
        del notes["odd"]
    else:
        notes["odd"] = "we show that the system"
    project.write_notes(notes)
    project.ingest("notes")
    assert project.embed("words")[1].changed
    assert project.lake.read("quarantine").num_rows == 0


def test_retraining_makes_a_version_that_waits(project: Project) -> None:
    project.ingest("notes")
    project.embed("words")
    notes = project.read_notes()
    project.write_notes(dict(list(notes.items())[:60]))
    project.ingest("notes")
    before = find_space(project.lake, project.settings, "words")
    after = retrain_space(project.lake, project.settings, "words", "r2")
    assert before is not None
    assert after.id.fingerprint != before.id.fingerprint
    assert (after.is_current, after.is_waiting) == (False, True)
    assert find_space(project.lake, project.settings, "words") == before
    assert versions_at_work(project.lake, project.settings, "words") == [after]


def test_the_run_tells_how_many_texts_were_cut(project: Project) -> None:
    config = project.folder / "latentlake.toml"
    space = """
[[spaces]]
name = "meaning"
encoder = "minilm"
sources = ["notes"]
options = { max_tokens = 12 }
"""
    config.write_text(config.read_text("utf-8") + space, encoding="utf-8")
    project.write_notes(
        {
            "long": "one two three four five six seven eight nine ten eleven twelve",
            "short": "one two three",
            "exact": "one two three four five six seven eight nine ten",
        }
    )
    project.ingest("notes")
    _, receipt = project.embed("meaning")
    assert receipt.counts["encoded"] == 3
    assert receipt.notes == ("1 were longer than the encoder takes, and were cut",)


def test_large_photos_are_decoded_no_larger_than_the_encoder_needs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def decode(payload: bytes, min_side: int | None = None) -> object:
        asked.append(min_side)
        return decode_image(payload, min_side)

    monkeypatch.setattr(contents, "decode_image", decode)
    config = project.folder / "latentlake.toml"
    space = '\n[[spaces]]\nname = "cnn"\nencoder = "efficientnet-lite0"\nsources = ["photos"]\n'
    config.write_text(config.read_text("utf-8") + space, encoding="utf-8")
    project.ingest("photos")
    _, receipt = project.embed("cnn")
    assert receipt.counts["encoded"] > 0
    assert set(asked) == {4 * 224}
