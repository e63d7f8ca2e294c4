"""Linear heads: centre, project and scale the vectors of any encoder.

A head's folder holds two files, none of them a pickle:

    head.safetensors    origin (dim,) and projection (dim, out), float64, as far as there are any
    head.json           what it does, what it was fitted on, what it loses, the other file's SHA-256
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.encoders.base import Encoder
    from models.types import Matrix, Metric, Modality

REVISION: Final = 1
"""Raise it when the same head should give other vectors."""
_TENSORS: Final = "head.safetensors"
_MANIFEST: Final = "head.json"

Float64 = npt.NDArray[np.float64]


class HeadManifest(BaseModel):
    """What `head.json` says.

    Attributes:
        revision: of this code.
        input_dim: length of the encoder's vectors.
        dim: length of the head's.
        centre: whether the mean is taken off.
        pca: how many components are kept; None where nothing is projected.
        whiten: whether the components are scaled to variance 1.
        normalise: whether rows are scaled to length 1 in the end.
        fitted: contents that mean and components were computed from.
        held_back: contents that the loss was measured on.
        lost: share of the held-back contents' variance that the components do not have (of their
            squared length, where the mean is not taken off); None where nothing was held back.
        kept: share of the fitted contents' variance that the components have.
        floored: components with so little variance that whitening scales them by the floor's root.
        files: SHA-256 of the tensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int = REVISION
    input_dim: int
    dim: int
    centre: bool
    pca: int | None = None
    whiten: bool = False
    normalise: bool = False
    fitted: int = 0
    held_back: int = 0
    lost: float | None = None
    kept: float | None = None
    floored: int = 0
    files: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head.

    Attributes:
        origin: (input_dim,) float64 that is taken off first, or None.
        projection: (input_dim, dim) float64, the scale of whitening included, or None.
        manifest: what it does.
    """

    origin: Float64 | None
    projection: Float64 | None
    manifest: HeadManifest

    def apply(self, vectors: Matrix) -> Matrix:
        """Return (rows, dim) float32 of (rows, input_dim) float32; rows of zeros stay zeros."""
        made: Float64 = vectors.astype(np.float64)
        if self.origin is not None:
            made -= self.origin
        if self.projection is not None:
            made = made @ self.projection
        if self.manifest.normalise:
            lengths = np.linalg.norm(made, axis=1, keepdims=True)
            made /= np.where(lengths > 0, lengths, 1.0)
        return made.astype(np.float32)


class HeadedEncoder:
    """An encoder whose vectors go through a head; all else is the encoder's own."""

    def __init__(self, encoder: Encoder[Any, Any], head: Head) -> None:
        if head.manifest.input_dim != encoder.dim:
            raise LakeError(
                f"the space's head takes vectors of {head.manifest.input_dim} numbers, its encoder "
                f"gives {encoder.dim}: run 'latentlake embed --retrain'."
            )
        self._encoder, self._head = encoder, head
        self.modality: Modality = encoder.modality
        self.metric: Metric = encoder.metric
        self.dim: int = head.manifest.dim
        self.batch_size: int = encoder.batch_size
        self.fingerprint: str = _fingerprint(encoder.fingerprint, head.manifest)

    def __getattr__(self, name: str) -> Any:
        """Return what only some encoders have, `min_side` or `truncated`, where this one has it."""
        return getattr(self.__dict__["_encoder"], name)

    def prepare(self, item: Any) -> Any:
        """Do what the encoder does."""
        return self._encoder.prepare(item)

    def encode(self, batch: Sequence[Any]) -> Matrix:
        """Return (len(batch), dim) float32."""
        return self._head.apply(self._encoder.encode(batch))

    def encode_query(self, text: str) -> Matrix:
        """Return the vector of some words, for encoders that are a `ReadsQueries`."""
        encoder: Any = self._encoder
        return self._head.apply(encoder.encode_query(text))

    def describe(self) -> dict[str, Any]:
        """Return what the encoder says of itself, and `head`."""
        return self._encoder.describe() | {"head": self._head.manifest.model_dump(mode="json")}


def write_head(folder: Path, head: Head) -> None:
    """Write a head into a new folder; the same head gives the same bytes."""
    tensors = {"origin": head.origin, "projection": head.projection}
    content = save_tensors(
        {
            name: np.ascontiguousarray(tensor)
            for name, tensor in tensors.items()
            if tensor is not None
        }
    )
    digest = hashlib.sha256(content).hexdigest()
    manifest = head.manifest.model_copy(update={"files": {_TENSORS: digest}})
    text = json.dumps(manifest.model_dump(mode="json"), sort_keys=True, indent=0)
    folder.mkdir()
    (folder / _TENSORS).write_bytes(content)
    (folder / _MANIFEST).write_text(f"{text}\n", "utf-8")


def read_head(folder: Path) -> Head:
    """Read a head and check every byte of it against its manifest.

    Raises:
        LakeError: a file is missing, damaged, or not of this format.
    """
    try:
        manifest = HeadManifest.model_validate_json((folder / _MANIFEST).read_bytes())
        content = (folder / _TENSORS).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.files.get(_TENSORS):
            raise LakeError(_unusable(folder, f"{_TENSORS} is not the file that was written"))
        tensors = load_tensors(content)
    except (OSError, ValidationError, SafetensorError, ValueError) as error:
        raise LakeError(_unusable(folder, str(error))) from error
    return Head(tensors.get("origin"), tensors.get("projection"), manifest)


def _unusable(folder: Path, reason: str) -> str:
    return f"{folder}: no usable head ({reason}). 'latentlake embed --retrain' fits it anew."


def _fingerprint(encoder: str, manifest: HeadManifest) -> str:
    """Digest the encoder's fingerprint, the head's tensors and what is done with them."""
    recipe = {
        "encoder": encoder,
        "revision": REVISION,
        "files": manifest.files,
        "normalise": manifest.normalise,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
