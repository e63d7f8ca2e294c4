"""Spaces whose vectors go through a linear head: fitted once, kept, and used for all that comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data.catalog import current_spaces
from latentlake.errors import ConfigError
from latentlake.settings import load_settings
from models.encoders.head import read_head
from tasks.stages.lineage import version_state
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import find_space, retrain_space
from tests.tasks.stages.test_own_vectors import Own, clustered, named, similarities

if TYPE_CHECKING:
    from pathlib import Path

    from data.catalog import SpaceRow
    from models.encoders.head import Head
    from models.types import Matrix
    from tests.tasks.conftest import Project

REDUCE = "reduce = { pca = 4 }"


@pytest.fixture
def own(tmp_path: Path) -> Own:
    made = Own(tmp_path / "own")
    made.configure(more=REDUCE)
    return made


def head_of(project: Project, space: SpaceRow | None = None) -> Head:
    row = space or current_spaces(project.lake)["own"]
    assert row.artefact is not None
    return read_head(project.lake.root / row.artefact / "head")


def stored(project: Own, keys: Any) -> Matrix:
    found = project.stored()
    return np.array([found[key] for key in keys], np.float32)


def by_hand(vectors: Matrix, ids: list[str], dim: int, *, centre: bool) -> Any:
    """Project by NumPy's SVD of all but every tenth row, in order of place."""
    assert len(ids) == len(vectors), "all of them are the sample"
    fitted = vectors[np.arange(len(vectors)) % 10 != 9].astype(np.float64)
    mean = fitted.mean(axis=0) if centre else np.zeros(vectors.shape[1])
    _, _, right = np.linalg.svd(fitted - mean, full_matrices=False)
    return (vectors - mean) @ right[:dim].T


@pytest.mark.parametrize(("metric", "centred"), [("cosine", False), ("l2", True)])
def test_vectors_search_and_graph_are_those_of_the_reduced_space(
    own: Own, metric: str, centred: bool
) -> None:
    own.configure(f'metric = "{metric}"', REDUCE)
    vectors = clustered()
    own.put(named(vectors))
    summary = own.run()
    assert not summary.errors
    wanted = by_hand(vectors, list(named(vectors)), 4, centre=centred)
    reduced = stored(own, named(vectors))
    signs = np.sign((reduced * wanted).sum(axis=0))
    np.testing.assert_allclose(reduced * signs, wanted, rtol=1e-4, atol=1e-3)
    query = clustered(151)[150]
    through = head_of(own).apply(query[None])
    best = similarities(through, reduced, metric)[0]
    result = search(own.lake, own.settings, SearchQuery(vector=query, k=5)).hits.to_pylist()
    assert [h["uri"].partition("#k")[2] for h in result] == [str(i) for i in np.argsort(-best)[:5]]
    item = search(own.lake, own.settings, SearchQuery(item="mine.parquet#k7", k=5))
    best = similarities(reduced[7:8], reduced, metric)[0]
    found = [hit["uri"].partition("#k")[2] for hit in item.hits.to_pylist()]
    assert found == [str(i) for i in np.argsort(-best) if i != 7][:5]


def test_what_is_lost_is_told_in_the_run_that_fits_and_kept(own: Own) -> None:
    own.put(named(clustered()))
    embed = own.run().receipts[1]
    lost = head_of(own).manifest.lost
    assert lost is not None
    (note,) = embed.notes
    assert note == (
        f"12 dimensions reduced to 4, fitted on 135 contents; {lost:.2%} of the squared length of "
        "15 others is lost"
    )
    (row,) = own.lake.read("spaces").to_pylist()
    assert json.loads(row["details"])["head"]["lost"] == lost
    own.put(named(clustered(160)))
    assert own.run().receipts[1].notes == ()


def test_new_items_go_through_the_head_that_is_there(own: Own) -> None:
    own.put(named(clustered()))
    own.run()
    before, head = stored(own, ["k3"]), head_of(own)
    more = clustered(200) + np.float32(5)
    own.put(named(clustered()) | {f"n{i}": row for i, row in enumerate(more)})
    summary = own.run()
    assert summary.receipts[1].counts["encoded"] == 200
    np.testing.assert_array_equal(stored(own, ["k3"]), before)
    np.testing.assert_array_equal(stored(own, ["n5"]), head.apply(more[5:6]))
    assert not own.run().changed


def test_another_head_is_another_space_and_the_old_one_comes_back(own: Own) -> None:
    own.put(named(clustered()))
    own.run()
    first = current_spaces(own.lake)["own"].id
    own.configure(more="reduce = { pca = 4, whiten = true }\nnormalise = true")
    own.run()
    second = current_spaces(own.lake)["own"].id
    assert second.fingerprint != first.fingerprint
    norms = np.linalg.norm(stored(own, named(clustered())), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    assert len(own.lake.read("spaces")) == 2
    own.configure(more=REDUCE)
    embed = own.run().receipts[1]
    assert current_spaces(own.lake)["own"].id == first
    assert embed.counts["encoded"] == 0, "its shards are still there"


def test_what_differs_between_heads_is_named(own: Own) -> None:
    own.put(named(clustered()))
    own.run()

    def differs() -> tuple[str, ...]:
        return version_state(own.lake, own.settings, own.lake.snapshot(), "own").differs

    assert differs() == ()
    own.configure(more="normalise = true\ncentre = false")
    assert differs() == (
        'centre "auto", configured false',
        "normalise false, configured true",
        'reduce {"pca": 4, "sample": 20000, "whiten": false}, configured null',
    )


def test_a_space_without_a_head_is_another_one(own: Own) -> None:
    own.put(named(clustered()))
    own.run()
    own.configure()
    own.run()
    assert stored(own, ["k1"]).tolist() == clustered()[1:2].tolist()


def test_retraining_fits_anew_and_only_then(own: Own) -> None:
    own.put(named(clustered()))
    own.run()
    old = current_spaces(own.lake)["own"].id
    own.put(named(clustered(300) * np.float32(2)))
    own.run()
    assert current_spaces(own.lake)["own"].id == old
    anew = retrain_space(own.lake, own.settings, "own", "again")
    assert anew.id.fingerprint != old.fingerprint
    assert head_of(own, anew).manifest.fitted == 270


@pytest.mark.parametrize(
    ("pca", "rows", "message"),
    [
        (13, 20, "space 'own': reduce.pca = 13, but .* only 12 dimensions"),
        (12, 12, r"space 'own': reduce.pca = 12 needs at least 12 vectors .* there are 11"),
    ],
)
def test_too_many_components_are_told(own: Own, pca: int, rows: int, message: str) -> None:
    own.configure(more=f"reduce = {{ pca = {pca} }}")
    own.put(named(clustered(rows)))
    own.ingest("mine")
    with pytest.raises(ConfigError, match=message):
        own.embed("own")
    own.configure()
    assert own.embed("own")[1].counts["encoded"] == rows, "the lake is as sound as before"


def test_the_sample_is_the_same_whatever_else_changes(tmp_path: Path) -> None:
    """Two lakes over the same rows in other files and order take the same contents."""
    fingerprints = set()
    for name in ("one", "two"):
        made = Own(tmp_path / name)
        made.configure(more="reduce = { pca = 2, sample = 40 }")
        made.put(named(clustered()))
        made.run()
        head = head_of(made)
        assert (head.manifest.fitted, head.manifest.held_back) == (36, 4)
        fingerprints.add(current_spaces(made.lake)["own"].id.fingerprint)
    assert len(fingerprints) == 1


def test_a_trained_encoder_keeps_its_training_when_the_head_changes(project: Project) -> None:
    config = project.folder / "latentlake.toml"
    plain = config.read_text("utf-8")
    project.ingest("notes")
    project.embed("words")
    before = current_spaces(project.lake)["words"]
    notes = project.read_notes()
    project.write_notes(notes | {"new": next(iter(notes.values())) + " entirely new words here"})
    project.ingest("notes")
    config.write_text(plain.replace("[run]", "reduce = { pca = 8 }\n[run]"), "utf-8")
    project.embed("words")
    after = find_space(project.lake, project.settings, "words")
    assert after is not None
    assert (before.id.dim, after.id.dim) == (16, 8)
    root = project.lake.root
    assert before.artefact is not None
    assert after.artefact is not None
    for name in ("model.safetensors", "vocabulary.json", "model.json"):
        old, new = ((root / one / name).read_bytes() for one in (before.artefact, after.artefact))
        assert old == new, "the corpus has grown, but the words are those that were trained"
    assert (root / after.artefact / "head" / "head.json").is_file()
    anew = retrain_space(project.lake, project.settings, "words", "again")
    assert anew.artefact is not None
    trained = (root / anew.artefact / "vocabulary.json").read_bytes()
    assert trained != (root / before.artefact / "vocabulary.json").read_bytes()
    assert not project.run().errors
    result = search(project.lake, project.settings, SearchQuery(text="a new method for learning"))
    assert result.hits.num_rows


def test_pretrained_photos_go_through_a_head(project: Project) -> None:
    config = project.folder / "latentlake.toml"
    head, tail = config.read_text("utf-8").split("[[spaces]]")
    space = 'name = "cnn"\nencoder = "efficientnet-lite0"\nsources = ["photos"]\n'
    more = "reduce = { pca = 3, whiten = true }\nnormalise = true\n"
    config.write_text(f"{head}[[spaces]]\n{space}{more}[run]{tail.split('[run]')[1]}", "utf-8")
    assert not project.run().errors
    photo = next((project.folder / "photos").iterdir())
    query = SearchQuery(image=photo.read_bytes(), k=1)
    (hit,) = search(project.lake, project.settings, query).hits.to_pylist()
    assert hit["uri"] == photo.name
    assert hit["similarity"] == pytest.approx(1, abs=1e-3)


def test_a_misspelt_key_of_reduce_is_named(own: Own) -> None:
    own.configure(more="reduce = { pac = 4 }")
    with pytest.raises(ConfigError, match="Did you mean 'pca'"):
        load_settings(own.folder / "latentlake.toml")


def test_dimensions_beyond_the_memory_are_refused(own: Own) -> None:
    own.configure(more=f"{REDUCE}\n[limits]\nmemory = '256MB'")
    own.put({f"k{i}": np.full(2000, i, np.float32) for i in range(20)})
    own.ingest("mine")
    with pytest.raises(ConfigError, match="2000 dimensions take 192 MB, more than half"):
        own.embed("own")
