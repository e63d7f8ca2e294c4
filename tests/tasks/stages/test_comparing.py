"""Two versions on the same contents: oracles by hand, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.catalog import SpaceRow, space_versions
from data.lake import table_of
from data.maintenance.exporting import space_rows
from data.shards import register_shards, shard_name, write_shard
from latentlake.errors import ConfigError, QueryError
from tasks.stages.comparing import Comparison, compare_spaces
from tests.tasks.conftest import Project, copy_of, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from models.types import Matrix


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    made = make_project(tmp_path_factory.mktemp("comparing") / "project", samples)
    made.run()
    return made.folder


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    return copy_of(built_once, tmp_path / "project")


def held(project: Project) -> tuple[list[str], Matrix]:
    (space,) = space_versions(project.lake, "words")
    vectors = space_rows(project.lake, space, project.lake.snapshot())
    return vectors.content_ids.to_pylist(), np.concatenate(list(vectors.batches(1000)))


def add_version(project: Project, ids: list[str], vectors: Matrix) -> SpaceRow:
    """Put vectors of our own beside the lake's, as a version that waits."""
    lake = project.lake
    row = next(r for r in lake.read("spaces").to_pylist() if r["space"] == "words")
    row |= {"fingerprint": "b" * 16, "dim": vectors.shape[1], "key": f"words-{'b' * 16}"}
    row |= {"is_current": False, "is_waiting": True}
    lake.upsert("spaces", table_of("spaces", [row]), "run")
    added = space_versions(lake, "words")[1]
    place = f"{lake.store.address(added.id.folder)}/{shard_name(added.id, ids)}"
    register_shards(lake, added.id, [write_shard(place, added.id, ids, vectors)], "run")
    lake.commit_snapshot("run")
    return added


def compare(project: Project, one: str, other: str | None, size: int = 2000) -> Comparison:
    return compare_spaces(project.lake, project.settings, (one, other), size, seed=0)


def test_a_rotated_copy_is_interchangeable(built: Project) -> None:
    ids, vectors = held(built)
    turned, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((24, 24)))
    padded = np.pad(vectors, ((0, 0), (0, 8))).astype(np.float64)
    order = np.random.default_rng(2).permutation(len(ids))
    other = (3 * padded @ turned)[order].astype(np.float32)
    add_version(built, [ids[row] for row in order], other)
    before = built.versions()
    found = compare(built, "words", None)
    assert built.versions() == before
    assert (found.contents, found.shared, found.encoded) == (80, 80, False)
    assert found.overlap.mean == 1
    assert found.geometry.cka == pytest.approx(1, abs=1e-4)
    assert found.geometry.procrustes == pytest.approx(0, abs=1e-4)
    assert found.flips == ()
    assert found.decided.anomalies.both == 4  # the strangest 5 % of 80
    assert found.is_interchangeable


def test_flips_name_the_items_and_what_each_space_says(built: Project) -> None:
    ids, vectors = held(built)
    moved = vectors.copy()
    moved[3] = vectors[7] * 2  # two contents become copies of each other
    add_version(built, ids, moved)
    found = compare(built, "words", "words@bbb")
    uri = {row["content_id"]: row["uri"] for row in built.lake.read("items").to_pylist()}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [flip for flip in found.flips if flip.decision == "pair"]
    assert {pairs[0].item, pairs[0].twin} == {uri[ids[3]], uri[ids[7]]}
    assert (len(pairs), pairs[0].taken_by) == (1, "other")
    assert pairs[0].one == pytest.approx(float(unit[3] @ unit[7]), abs=1e-5)
    assert pairs[0].other == pytest.approx(1, abs=1e-6)
    removals = [flip for flip in found.flips if flip.decision == "removal"]
    assert len(removals) == 1
    assert {removals[0].item, removals[0].twin} == {uri[ids[3]], uri[ids[7]]}
    assert not found.is_interchangeable
    assert found.decided.thresholds == (0.98, 0.98)


def test_anomalies_flip_where_the_rank_passes_a_twentieth(built: Project) -> None:
    ids, vectors = held(built)
    moved = np.random.default_rng(3).permutation(vectors)
    add_version(built, ids, moved)
    found = compare(built, "words", None)
    # Reports of the whole lake, of which the sample is all: ranks by content in either space.
    rank = {row["content_id"]: row["rank"] for row in built.lake.read("anomalies").to_pylist()}
    stands_for = {tuple(vector): content for content, vector in zip(ids, vectors, strict=True)}
    new_rank = {a: rank[stands_for[tuple(b)]] for a, b in zip(ids, moved, strict=True)}
    uri = {row["content_id"]: row["uri"] for row in built.lake.read("items").to_pylist()}
    expected = {
        uri[one]: ("one" if rank[one] <= 4 else "other", rank[one], new_rank[one])
        for one in ids
        if (rank[one] <= 4) != (new_rank[one] <= 4)
    }
    odd = {flip.item: flip for flip in found.flips if flip.decision == "anomaly"}
    assert {item: flip.taken_by for item, flip in odd.items()} == {
        item: taken_by for item, (taken_by, _, _) in expected.items()
    }
    for item, (_, one, other) in expected.items():
        # Scores that are all but equal may change places: the lake stores them as float32.
        assert (odd[item].one, odd[item].other) == pytest.approx((one, other), abs=1)
    assert expected


def test_a_sample_is_the_same_each_time_whatever_the_shards(built: Project) -> None:
    ids, vectors = held(built)
    add_version(built, ids[::-1], vectors[::-1].copy())
    one, again = (compare(built, "words", None, size=30) for _ in range(2))
    assert one == again
    assert one.contents == 30
    assert one.overlap.mean == 1


def test_a_configured_space_is_encoded_for_the_comparison(built: Project) -> None:
    config = built.folder / "latentlake.toml"
    space = '[[spaces]]\nname = "meaning"\nencoder = "minilm"\nsources = ["notes"]\n'
    config.write_text(config.read_text("utf-8").replace("[run]", f"{space}[run]"), "utf-8")
    before = built.versions()
    found = compare(built, "words", "meaning", size=40)
    assert built.versions() == before
    assert (found.contents, found.encoded, found.refused) == (40, True, 0)
    assert found.other.startswith("meaning@")
    built.run()
    assert compare(built, "words", "meaning", size=40).overlap == found.overlap
    own = compare(built, "meaning", "meaning@configured")
    assert own.overlap.mean == 1
    assert not own.encoded


def test_what_cannot_be_compared_is_told(built: Project) -> None:
    with pytest.raises(QueryError, match="nothing is about to replace words: name the second one"):
        compare(built, "words", None)
    with pytest.raises(QueryError, match="no space 'nowhere'"):
        compare(built, "words", "nowhere")
    config = built.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace("dim = 16", "dim = 8"), "utf-8")
    with pytest.raises(ConfigError, match="so there is nothing to look at yet"):
        compare(built, "words", None)
    headed = '[[spaces]]\nname = "short"\nencoder = "minilm"\nsources = ["notes"]\n'
    headed += "reduce = { pca = 8 }\n"
    config.write_text(config.read_text("utf-8").replace("[run]", f"{headed}[run]"), "utf-8")
    with pytest.raises(ConfigError, match="'short': its encoder or its head is fitted"):
        compare(built, "words", "short")
    space = '[[spaces]]\nname = "cnn"\nencoder = "efficientnet-lite0"\nsources = ["photos"]\n'
    config.write_text(config.read_text("utf-8").replace("[run]", f"{space}[run]"), "utf-8")
    with pytest.raises(QueryError, match="holds texts and cnn"):
        compare(built, "words", "cnn")
    with pytest.raises(QueryError, match="name it second"):
        compare(built, "cnn", "cnn")
    ids, vectors = held(built)
    add_version(built, ids[:5], vectors[:5])
    with pytest.raises(QueryError, match="have 5 contents in common: a comparison needs 12"):
        compare(built, "words", "words@b")
