"""The artefact: what is written comes back, and damage is noticed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from latentlake.errors import LakeError
from models.encoders.options import Word2VecOptions
from models.encoders.word_vectors_io import (
    Manifest,
    WordModel,
    WordVectors,
    read_artefact,
    write_artefact,
)

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ("the", "of", "Berlin", "naïve", "水", "apple", "Apple", "New_York", "13")
DIM = 5
VECTORS = np.random.default_rng(3).normal(size=(len(WORDS), DIM)).astype(np.float32)


def test_lower_case_words_find_cased_ones_and_themselves_first() -> None:
    rows = WordVectors((*WORDS, "BERLIN"), VECTORS, counts=None).lookup()
    assert rows["berlin"] == WORDS.index("Berlin")
    assert rows["apple"] == WORDS.index("apple")


def model(*, counts: bool = True) -> WordModel:
    manifest = Manifest(
        revision=1,
        tokeniser="words-1",
        options=Word2VecOptions(dim=DIM),
        epochs=3,
        texts=10,
        words=45,
        libraries={"gensim": "4"},
    )
    numbers = np.arange(len(WORDS), 0, -1, dtype=np.int64) if counts else None
    return WordModel(WordVectors(WORDS, VECTORS, numbers), VECTORS[0], manifest)


@pytest.mark.parametrize("counts", [True, False])
def test_an_artefact_comes_back(tmp_path: Path, counts: bool) -> None:
    written = model(counts=counts)
    write_artefact(tmp_path, written)
    read = read_artefact(tmp_path)
    assert read.words.words == WORDS
    np.testing.assert_array_equal(read.words.vectors, VECTORS)
    np.testing.assert_array_equal(read.component, written.component)
    np.testing.assert_array_equal(read.words.frequencies(), written.words.frequencies())
    assert read.manifest.options == written.manifest.options


def test_an_artefact_is_three_files_and_its_bytes_repeat(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_artefact(tmp_path / name, model())
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["model.json", "model.safetensors", "vocabulary.json"]
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "vocabulary.json"])
def test_a_damaged_artefact_is_refused(tmp_path: Path, name: str) -> None:
    write_artefact(tmp_path, model())
    content = (tmp_path / name).read_bytes()
    swapped = content.replace(b"model.safetensors", b"model.safetensorz").replace(b"the", b"eht")
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    for damage in (content[:-9], content + b" ", flipped, swapped, b"", b"{}"):
        if damage == content or (name == "model.json" and _is_another_manifest(damage)):
            continue
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(LakeError, match="train it anew"):
            read_artefact(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(LakeError, match="no usable word2vec model"):
        read_artefact(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(LakeError):
        read_artefact(tmp_path)


def _is_another_manifest(content: bytes) -> bool:
    """Whether the damage left a manifest that could have been written for the same files."""
    try:
        return "model.safetensors" in json.loads(content)["files"]
    except (ValueError, KeyError):
        return False
