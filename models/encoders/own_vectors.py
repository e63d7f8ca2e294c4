"""The encoder `vectors`: vectors that somebody else has made, taken as they are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from latentlake.errors import ConfigError, EncodeError, LakeError
from models.encoders.options import OwnVectorsOptions, options_from_json
from models.types import Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from models.encoders.base import EncoderOptions, EncoderSpec

NAME: Final = "vectors"
REVISION: Final = 1
BATCH: Final = 4096
LOOK_AT: Final = 10_000
"""Vectors whose lengths are counted where `dim` is not set."""
_MANIFEST: Final = "model.json"


class OwnVectors:
    """Vectors to themselves, (n, dim) float32; those of another length are refused.

    What it is "trained" on is one number, the length that most of the vectors have. It is kept, so
    that a space's dimension does not change with what comes later.
    """

    options_type: ClassVar[type[EncoderOptions]] = OwnVectorsOptions
    trainable: ClassVar[bool] = True
    modality: Modality = Modality.VECTOR
    batch_size = BATCH

    def __init__(self, options: OwnVectorsOptions, dim: int) -> None:
        self.dim = dim
        self.metric = Metric(options.metric)
        self.fingerprint = _fingerprint(options, dim)
        self._options = options

    @classmethod
    def load(cls, spec: EncoderSpec) -> OwnVectors:
        """Read the length that `train` left in the spec's artefact.

        Raises:
            ConfigError: there is no artefact in the spec, or it is for vectors of another length.
            LakeError: the artefact is damaged.
        """
        options = options_from_json(NAME, OwnVectorsOptions, spec.options)
        if spec.artefact is None:
            raise ConfigError(f"encoder '{NAME}' has seen no vectors yet: run 'latentlake embed'.")
        dim = _read_dim(Path(spec.artefact))
        if options.dim not in (None, dim):
            raise ConfigError(
                f"'{spec.artefact}' is for vectors of {dim} numbers, not of {options.dim}."
            )
        return cls(options, dim)

    @classmethod
    def train(
        cls,
        contents: Iterable[npt.NDArray[np.float32]],
        options: EncoderOptions,
        artefact: Path,
        progress: Callable[[str, float], None],
    ) -> None:
        """Find out how long the vectors are, unless `dim` says so.

        Args:
            contents: (dim,) float32 each; the first `LOOK_AT` are looked at, and no more read.
            options: `OwnVectorsOptions`.
            artefact: an existing folder.
            progress: takes "count" with the fraction done.

        Raises:
            ConfigError: there are no vectors.
        """
        if not isinstance(options, OwnVectorsOptions):
            message = f"vectors takes OwnVectorsOptions, not {type(options).__name__}"
            raise TypeError(message)
        dim = options.dim or _usual_length(contents)
        progress("count", 1.0)
        content = {"encoder": NAME, "revision": REVISION, "dim": dim}
        (artefact / _MANIFEST).write_text(json.dumps(content, sort_keys=True) + "\n", "utf-8")

    def prepare(self, item: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the vector itself, (dim,) float32.

        Raises:
            EncodeError: it has another length.
        """
        (found,) = self.prepare_all([item])
        if isinstance(found, EncodeError):
            raise found
        return found

    def prepare_all(
        self, items: Sequence[npt.NDArray[np.float32]]
    ) -> list[npt.NDArray[np.float32] | EncodeError]:
        """Do what `prepare` does for many vectors; the error stands in a refused one's place."""
        return [item if item.size == self.dim else self._refusal(item.size) for item in items]

    def _refusal(self, size: int) -> EncodeError:
        return EncodeError(
            f"a vector of {size} numbers, this space has {self.dim}: vectors of another model need "
            "a space of their own"
        )

    def encode(self, batch: Sequence[npt.NDArray[np.float32]]) -> Matrix:
        """Return (len(batch), dim) float32, not normalised."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        return np.stack(batch).astype(np.float32, copy=False)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return {
            "encoder": NAME,
            "revision": REVISION,
            "options": self._options.model_dump(mode="json"),
            "dim": self.dim,
        }


def _usual_length(contents: Iterable[npt.NDArray[np.float32]]) -> int:
    lengths = Counter(content.size for content in islice(contents, LOOK_AT))
    if not lengths:
        raise ConfigError("its sources hold no vector yet, so nobody knows how long they are.")
    return lengths.most_common(1)[0][0]


def _read_dim(artefact: Path) -> int:
    try:
        dim = json.loads((artefact / _MANIFEST).read_bytes())["dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{artefact}: no usable {_MANIFEST} ({error}).") from error
    if type(dim) is not int or dim < 1:
        raise LakeError(f"{artefact}: {_MANIFEST} is damaged: dim = {dim!r}.")
    return dim


def _fingerprint(options: OwnVectorsOptions, dim: int) -> str:
    recipe = {
        "encoder": NAME,
        "revision": REVISION,
        "dim": dim,
        "metric": options.metric,
        "model": options.model,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
