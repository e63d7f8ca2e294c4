"""Word vectors and their artefact, the folder of a trained model.

An artefact is a folder of three files, none of them a pickle:

    model.safetensors    vectors (words, dim) float32, component (dim,) float32
    vocabulary.json      words in the vectors' order, counts or null where they are not known
    model.json           options, corpus, libraries, and the SHA-256 of the other two
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from latentlake.errors import LakeError
from models.encoders.options import Word2VecOptions
from models.encoders.sif import Frequencies, zipf_frequencies

if TYPE_CHECKING:
    from pathlib import Path

    from models.types import Matrix

_TENSORS: Final = "model.safetensors"
_VOCABULARY: Final = "vocabulary.json"
_MANIFEST: Final = "model.json"


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Words with a vector each, the most frequent first.

    Attributes:
        words: the vocabulary.
        vectors: (words, dim) float32.
        counts: (words,) int64 occurrences in the training corpus, None where not known.
    """

    words: tuple[str, ...]
    vectors: Matrix
    counts: npt.NDArray[np.int64] | None

    def frequencies(self) -> Frequencies:
        """Return p(word): counted, or estimated from the rank."""
        if self.counts is None:
            return zipf_frequencies(len(self.words))
        shares: Frequencies = self.counts / self.counts.sum()
        return shares

    def lookup(self) -> dict[str, int]:
        """Map each word as the tokeniser writes it to its row.

        Published vocabularies hold "apple" and "Apple". The lower-case form stands for the word
        where there is one, else the most frequent of the others does.
        """
        rows: dict[str, int] = {}
        for row, word in enumerate(self.words):
            rows.setdefault(word.lower(), row)
        rows.update((word, row) for row, word in enumerate(self.words) if word == word.lower())
        return rows


class Manifest(BaseModel):
    """What `model.json` says of an artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: Literal["word2vec"] = "word2vec"
    revision: int
    tokeniser: str
    options: Word2VecOptions
    epochs: int
    texts: int
    words: int
    libraries: dict[str, str]
    files: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class WordModel:
    """A trained model: word vectors and the component that all documents share, (dim,) float32."""

    words: WordVectors
    component: npt.NDArray[np.float32]
    manifest: Manifest


def write_artefact(folder: Path, model: WordModel) -> None:
    """Write a model into an existing folder; the same model gives the same bytes."""
    counts = model.words.counts
    tensors = {
        "vectors": np.ascontiguousarray(model.words.vectors, dtype=np.float32),
        "component": np.ascontiguousarray(model.component, dtype=np.float32),
    }
    contents = {
        _TENSORS: save_tensors(tensors),
        _VOCABULARY: _json_bytes(
            {
                "words": list(model.words.words),
                "counts": None if counts is None else counts.tolist(),
            }
        ),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = model.manifest.model_copy(update={"files": digests})
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / _MANIFEST).write_bytes(_json_bytes(manifest.model_dump(mode="json")))


def read_artefact(folder: Path) -> WordModel:
    """Read a model and check every byte of it against the manifest.

    Raises:
        LakeError: a file is missing, damaged, or not of this format.
    """
    try:
        manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
        tensors = load_tensors(_read_checked(folder, _TENSORS, manifest))
        vocabulary = json.loads(_read_checked(folder, _VOCABULARY, manifest))
        counts = vocabulary["counts"]
        words = WordVectors(
            tuple(vocabulary["words"]),
            tensors["vectors"],
            None if counts is None else np.asarray(counts, dtype=np.int64),
        )
        return WordModel(words, tensors["component"], manifest)
    except (OSError, ValidationError, SafetensorError, ValueError, KeyError) as error:
        raise LakeError(
            f"{folder}: no usable word2vec model ({error}). Remove the folder and run again to "
            "train it anew."
        ) from error


def _read_checked(folder: Path, name: str, manifest: Manifest) -> bytes:
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        message = f"{name} is not the file that was written"
        raise ValueError(message)
    return content


def _json_bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=0).encode() + b"\n"
