"""What all encoders by an image network share: fixed slices, a checked engine, one fingerprint."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from models.encoders.base import Pretrained
from models.encoders.engines.base import HALF_MEAN_COSINE, HALF_WORST_COSINE
from models.encoders.engines.torch_engine import torch_device
from models.types import Image, Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec
    from models.encoders.engines.base import Engine, Precision
    from models.encoders.preprocessing import Preprocessing

logger = logging.getLogger(__name__)

CPU_SLICE: Final = 4
"""Images in one pass on a processor: more leave its caches (benchmarks/encode_photos.py)."""

CUDA_SLICE: Final = 128
CPU_SLICES, CUDA_SLICES = 16, 4
"""Passes in one call of `encode`, which the engine may run at the same time."""


@dataclass(frozen=True, slots=True)
class ImageModel:
    """A network for images, as an adapter found it.

    Attributes:
        name: the encoder's registered name.
        family: what the fingerprint calls it; where the weights came from does not count.
        revision: counts up with every change of the adapter that changes vectors.
        weights: a digest over weights and structure.
        preprocessing: what is done to a picture before.
        options: the encoder's own options.
        precision: the class to compute in.
        open_engine: makes the network, from (rows, *size, 3) uint8 to (rows, dim), ready to run in
            passes of so many rows.
        libraries: versions, for the shards' footers.
        origins: options that say where weights come from, and are no part of the fingerprint.
    """

    name: str
    family: str
    revision: int
    weights: str
    preprocessing: Preprocessing
    options: EncoderOptions
    precision: Precision
    open_engine: Callable[[int, Precision], Engine]
    libraries: dict[str, str]
    origins: frozenset[str] = frozenset({"path"})


class ImageEncoder(Pretrained):
    """Images to (n, dim) float32, by a network that was given.

    Every row is computed in slices of one fixed size, so that a row is the same whatever the length
    of the batch it comes in.
    """

    options_type: ClassVar[type[EncoderOptions]]
    modality: Modality = Modality.IMAGE
    metric: Metric = Metric.COSINE

    def __init__(self, spec: EncoderSpec, model: ImageModel) -> None:
        # What made the engine is let go of: it holds the network once more.
        self._name = model.name
        self._preprocessing = model.preprocessing
        self._slice, self.batch_size = slice_and_batch(spec)
        probe = _probe(self._slice, model.preprocessing.size)
        self._engine, self.dim = _checked_engine(model, probe)
        self.min_side = model.preprocessing.min_side
        self.fingerprint = _fingerprint(model)
        self._about = {
            "encoder": model.name,
            "revision": model.revision,
            "weights_sha256": model.weights,
            "preprocessing": asdict(model.preprocessing),
            "options": model.options.model_dump(mode="json"),
            "engine": self._engine.label,
            "libraries": model.libraries,
        }

    def prepare(self, item: Image) -> Image:
        """Resize and crop one (height, width, 3) uint8 RGB picture to the network's size.

        Raises:
            EncodeError: the array is no RGB image or has no pixel.
        """
        return self._preprocessing.prepare(item, self._name)

    def encode(self, batch: Sequence[Image]) -> Matrix:
        """Return the features of prepared images, (len(batch), dim) float32, not normalised."""
        return encode_in_slices(self._engine, batch, self._slice, self.dim)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return self._about


def _fingerprint(model: ImageModel) -> str:
    """Digest everything that decides the vectors; names, places and devices do not."""
    recipe = {
        "encoder": model.family,
        "revision": model.revision,
        "weights": model.weights,
        "preprocessing": asdict(model.preprocessing),
        "options": model.options.model_dump(mode="json", exclude=set(model.origins)),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def slice_and_batch(spec: EncoderSpec) -> tuple[int, int]:
    """Return how many images one pass and one call of `encode` take on a spec's device."""
    if torch_device(spec.device).type == "cuda":
        return CUDA_SLICE, CUDA_SLICE * CUDA_SLICES
    return CPU_SLICE, CPU_SLICE * CPU_SLICES


def encode_in_slices(engine: Engine, batch: Sequence[Image], rows: int, dim: int) -> Matrix:
    """Run prepared images of one size through an engine, `rows` of them in each pass.

    Returns:
        (len(batch), dim) float32.
    """
    if not batch:
        return np.empty((0, dim), np.float32)
    slices = []
    for start in range(0, len(batch), rows):
        images = np.stack(batch[start : start + rows])
        if len(images) < rows:
            images = np.concatenate(
                [images, np.zeros((rows - len(images), *images.shape[1:]), np.uint8)]
            )
        slices.append((images,))
    return np.concatenate(engine.compute(slices))[: len(batch)]


def _checked_engine(model: ImageModel, probe: Image) -> tuple[Engine, int]:
    """Open the engine; where 16 bits would break the contract of half precision, in float32.

    The networks that come with latentlake are held to that contract by tests, on photos. What a
    user brings is measured here, on made pictures.

    Returns:
        The engine, and the length of its vectors.
    """
    rows = len(probe)
    engine = model.open_engine(rows, model.precision)
    (found,) = engine.compute([(probe,)])
    if model.precision == "float32" or engine.label.endswith("float32"):
        return engine, found.shape[1]
    exact_engine = model.open_engine(rows, "float32")
    (exact,) = exact_engine.compute([(probe,)])
    cosines = _cosines(found, exact)
    if cosines.mean() >= HALF_MEAN_COSINE and cosines.min() >= HALF_WORST_COSINE:
        return engine, found.shape[1]
    logger.warning(
        "encoder '%s' is computed in float32: in 16 bits its vectors have a cosine of %.4f on "
        "average and %.4f at worst to the exact ones",
        model.name,
        cosines.mean(),
        cosines.min(),
    )
    return exact_engine, found.shape[1]


def _cosines(found: Matrix, exact: Matrix) -> Matrix:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
    cosines: Matrix = (found * exact).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return cosines


def _probe(rows: int, size: tuple[int, int]) -> Image:
    """Make pictures: coarse blocks of colour of different widths under a finer noise.

    Returns:
        (rows, *size, 3) uint8.
    """
    random = np.random.default_rng(7)
    height, width = size
    shown = np.empty((rows, height, width, 3), np.uint8)
    for row in range(rows):
        blocks = 2 + row % 7
        coarse = random.integers(0, 256, (blocks, blocks, 3), dtype=np.int16)
        down = np.arange(height) * blocks // height
        across = np.arange(width) * blocks // width
        noise = random.integers(-24, 25, (height, width, 3), dtype=np.int16)
        shown[row] = np.clip(coarse[down][:, across] + noise, 0, 255)
    return shown
