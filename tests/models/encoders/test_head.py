"""Linear heads against scikit-learn's and NumPy's decompositions of the very same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from latentlake.errors import ConfigError, LakeError
from models.encoders.head import Head, HeadedEncoder, read_head, write_head
from models.encoders.head_fitting import VARIANCE_FLOOR, HeadPlan, fit_head
from models.encoders.options import OwnVectorsOptions
from models.encoders.own_vectors import OwnVectors

if TYPE_CHECKING:
    from pathlib import Path

    from models.types import Matrix

ROWS, DIM = 3000, 12


def sample(rows: int = ROWS, dim: int = DIM, seed: int = 5) -> Matrix:
    """Rows with a mean far from zero, and deviations that fall."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(dim, dim)))
    scaled = random.normal(size=(rows, dim)) * 1.5 ** -np.arange(dim)
    moved: Matrix = (scaled @ turned + 10).astype(np.float32)
    return moved


def split(vectors: Matrix) -> tuple[Any, Any]:
    """Rows to fit on and every tenth row, as float64."""
    is_held = np.arange(len(vectors)) % 10 == 9
    return vectors[~is_held].astype(np.float64), vectors[is_held].astype(np.float64)


def fit(vectors: Matrix, plan: HeadPlan, batch: int = 700) -> Head:
    batches = (vectors[start : start + batch] for start in range(0, len(vectors), batch))
    return fit_head(batches, vectors.shape[1], plan)


def aligned(found: Any, expected: Any) -> Any:
    """Give columns the signs of the expected ones: an eigenvector's is chance."""
    return found * np.sign((found * expected).sum(axis=0))


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("pca", [1, 4, DIM])
def test_it_is_the_pca_of_scikit_learn(pca: int, whiten: bool) -> None:
    vectors = sample()
    fitted, held = split(vectors)
    expected = PCA(pca, whiten=whiten, svd_solver="full").fit(fitted)
    head = fit(vectors, HeadPlan(centre=True, pca=pca, whiten=whiten))
    made = head.apply(vectors)
    assert (made.shape, made.dtype.name) == ((ROWS, pca), "float32")
    wanted = expected.transform(vectors.astype(np.float64))
    np.testing.assert_allclose(aligned(made, wanted), wanted, atol=2e-4 * np.abs(wanted).max())
    back = expected.inverse_transform(expected.transform(held))
    lost = np.square(held - back).sum() / np.square(held - fitted.mean(axis=0)).sum()
    assert head.manifest.lost == pytest.approx(lost, abs=1e-9)
    assert head.manifest.kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-9)
    assert (head.manifest.fitted, head.manifest.held_back) == (2700, 300)


def test_without_centring_it_is_a_truncated_svd() -> None:
    vectors = sample()
    fitted, held = split(vectors)
    _, _, right = np.linalg.svd(fitted, full_matrices=False)
    head = fit(vectors, HeadPlan(centre=False, pca=3))
    wanted = vectors @ right[:3].T
    np.testing.assert_allclose(aligned(head.apply(vectors), wanted), wanted, rtol=1e-4, atol=1e-4)
    back = held @ right[:3].T @ right[:3]
    assert head.manifest.lost == pytest.approx(np.square(held - back).sum() / np.square(held).sum())
    assert head.origin is None


@given(batch=st.integers(1, 900), rows=st.integers(30, 1500))
@settings(max_examples=15)
def test_the_sizes_of_batches_change_no_bit(batch: int, rows: int) -> None:
    vectors = sample(rows)
    plan = HeadPlan(centre=True, pca=5, whiten=True)
    one, other = fit(vectors, plan), fit(vectors, plan, batch)
    assert one.projection is not None
    assert other.projection is not None
    np.testing.assert_array_equal(one.projection, other.projection)
    assert one.manifest == other.manifest


def test_centring_and_normalising_alone() -> None:
    vectors = sample(500)
    centred = fit(vectors, HeadPlan(centre=True)).apply(vectors)
    np.testing.assert_allclose(centred, vectors - vectors.mean(axis=0), atol=1e-4)
    vectors[3] = 0
    unit = fit(vectors, HeadPlan(centre=False, normalise=True)).apply(vectors)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), np.arange(500) != 3, atol=1e-6)
    both = fit(vectors, HeadPlan(centre=True, pca=2, normalise=True)).apply(vectors)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)


def test_what_has_no_variance_is_not_blown_up() -> None:
    vectors = np.repeat(sample(2000, 4), 2, axis=1)  # rank 4 of 8
    head = fit(vectors, HeadPlan(centre=True, pca=8, whiten=True))
    made = head.apply(vectors)
    assert head.manifest.floored == 4
    deviations = made.std(axis=0)
    np.testing.assert_allclose(deviations[:4], 1, atol=0.05)
    assert (deviations[4:] < 1e-2).all()
    assert VARIANCE_FLOOR < 1e-4, "the four sound components lie above the floor"
    same = np.ones((50, 3), np.float32)
    assert (fit(same, HeadPlan(centre=True, pca=2, whiten=True)).apply(same) == 0).all()


@pytest.mark.parametrize(
    ("rows", "plan", "message"),
    [
        (100, HeadPlan(centre=True, pca=13), "pca = 13, but .* only 12 dimensions"),
        (12, HeadPlan(centre=True, pca=11), r"needs at least 12 vectors .* are 11 \(and 1 held"),
        (0, HeadPlan(centre=True), "no vector yet whose mean"),
    ],
)
def test_what_cannot_be_fitted_is_told(rows: int, plan: HeadPlan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(sample(100)[:rows], plan)


def test_a_small_sample_has_nothing_to_measure_the_loss_on() -> None:
    head = fit(sample(9), HeadPlan(centre=True, pca=2))
    assert (head.manifest.fitted, head.manifest.held_back, head.manifest.lost) == (9, 0, None)


def test_a_folder_gives_the_head_back(tmp_path: Path) -> None:
    vectors = sample()
    head = fit(vectors, HeadPlan(centre=True, pca=4, whiten=True, normalise=True))
    for name in ("one", "two"):
        write_head(tmp_path / name, head)
    for file in ("head.json", "head.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    again = read_head(tmp_path / "one")
    np.testing.assert_array_equal(again.apply(vectors), head.apply(vectors))
    assert again.manifest.model_copy(update={"files": {}}) == head.manifest


@pytest.mark.parametrize("file", ["head.json", "head.safetensors"])
def test_a_damaged_head_is_refused(tmp_path: Path, file: str) -> None:
    write_head(tmp_path / "head", fit(sample(), HeadPlan(centre=True, pca=4)))
    content = (tmp_path / "head" / file).read_bytes()
    (tmp_path / "head" / file).write_bytes(content[:-9] + b"9" * 9)
    with pytest.raises(LakeError, match="fits it anew"):
        read_head(tmp_path / "head")
    (tmp_path / "head" / file).unlink()
    with pytest.raises(LakeError, match="fits it anew"):
        read_head(tmp_path / "head")


def headed(folder: Path, vectors: Matrix, plan: HeadPlan) -> HeadedEncoder:
    write_head(folder, fit(vectors, plan))
    return HeadedEncoder(OwnVectors(OwnVectorsOptions(), vectors.shape[1]), read_head(folder))


def test_a_headed_encoder_is_another_encoder(tmp_path: Path) -> None:
    vectors = sample()
    plans = {
        "plain": HeadPlan(centre=True, pca=4),
        "whitened": HeadPlan(centre=True, pca=4, whiten=True),
        "unit": HeadPlan(centre=True, pca=4, normalise=True),
        "fewer": HeadPlan(centre=True, pca=3),
    }
    made = {name: headed(tmp_path / name, vectors, plan) for name, plan in plans.items()}
    other = headed(tmp_path / "other", sample(seed=6), plans["plain"])
    base = OwnVectors(OwnVectorsOptions(), DIM)
    fingerprints = {base.fingerprint, other.fingerprint, *(e.fingerprint for e in made.values())}
    assert len(fingerprints) == 6
    encoder = made["plain"]
    assert (encoder.dim, encoder.metric, encoder.modality) == (4, base.metric, base.modality)
    prepared = [encoder.prepare(row) for row in vectors[:7]]
    wanted = read_head(tmp_path / "plain").apply(vectors[:7])
    np.testing.assert_array_equal(encoder.encode(prepared), wanted)
    assert encoder.encode([]).shape == (0, 4)
    described = encoder.describe()
    assert described["options"] == base.describe()["options"]
    assert described["head"]["files"].keys() == {"head.safetensors"}
    assert not hasattr(encoder, "min_side")
    with pytest.raises(LakeError, match="takes vectors of 12 numbers, its encoder gives 5"):
        HeadedEncoder(OwnVectors(OwnVectorsOptions(), 5), read_head(tmp_path / "plain"))
