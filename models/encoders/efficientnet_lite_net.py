"""EfficientNet-Lite0 as plain convolutions, its batch normalisation folded into them.

The lite variant of Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks" (ICML 2019, https://arxiv.org/abs/1905.11946): ReLU6 for swish, no squeeze-and-excite,
the stem and the head not scaled. 4.65 M parameters, .385 GMAC at 224 x 224.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE_SIDE: Final = 224
"""Pixels a side that the padding of the strided convolutions below is right for."""
FEATURES: Final = 1280
CLASSES: Final = 1000
STEM_CHANNELS: Final = 32

# TensorFlow's value for this family; torch's own default is 1e-5.
_BATCH_NORM_EPSILON: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of inverted bottlenecks; the stride belongs to the first of them."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES: Final = (
    Stage(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)


class SamePaddedConv(nn.Module):
    """A convolution with bias that pads as TensorFlow's "SAME" does.

    With stride 2 on an even side, "SAME" pads one pixel more on the right and the bottom than on
    the left and the top. Torch's symmetric padding would shift the sampling grid by a pixel.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        total = kernel - stride
        self.asymmetric = (total // 2, total - total // 2) * 2 if total % 2 else None
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=0 if self.asymmetric else total // 2,
            groups=groups,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        if self.asymmetric is not None:
            images = functional.pad(images, self.asymmetric)
        convolved: Tensor = self.conv(images)
        return convolved


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel in space, project back; add the input where the shapes allow.

    Sandler et al., "MobileNetV2" (CVPR 2018), without squeeze-and-excite.
    """

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        self.expand = SamePaddedConv(inputs, width) if stage.expansion > 1 else None
        self.depthwise = SamePaddedConv(width, width, stage.kernel, stride=stride, groups=width)
        self.project = SamePaddedConv(width, stage.channels)
        self.is_residual = stride == 1 and inputs == stage.channels

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, channels, h / stride, w / stride)."""
        wide = images
        if self.expand is not None:
            wide = functional.relu6(self.expand(wide), inplace=True)
        wide = functional.relu6(self.depthwise(wide), inplace=True)
        narrow: Tensor = self.project(wide)
        return narrow.add_(images) if self.is_residual else narrow


class EfficientNetLite0Net(nn.Module):
    """The network for inference; `from_checkpoint` fills it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SamePaddedConv(3, STEM_CHANNELS, 3, stride=2)
        blocks: list[InvertedBottleneck] = []
        inputs = STEM_CHANNELS
        for stage in STAGES:
            for position in range(stage.repeats):
                blocks.append(InvertedBottleneck(inputs, stage, 1 if position else stage.stride))
                inputs = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = SamePaddedConv(inputs, FEATURES)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    @classmethod
    def from_checkpoint(cls, state: Mapping[str, Tensor]) -> EfficientNetLite0Net:
        """Build the network from the state dictionary of the published weights.

        Args:
            state: tensors under the names of `efficientnet_lite_pytorch` (`_conv_stem.weight`,
                `_blocks.3._depthwise_conv.weight`, `_bn0.running_mean` and so on).

        Raises:
            KeyError: a tensor is missing.
            ValueError: tensors are left over, so these are weights of another network.
            RuntimeError: a tensor has another shape.
        """
        unread = dict(state)
        net = cls()
        net.load_state_dict(_folded_state(net, unread))
        net.requires_grad_(requires_grad=False).eval()
        left_over = [name for name in unread if not name.endswith("num_batches_tracked")]
        if left_over:
            message = (
                f"not the weights of EfficientNet-Lite0: {sorted(left_over)[:3]} have no place"
            )
            raise ValueError(message)
        # oneDNN and cuDNN run depthwise convolutions fastest over interleaved channels.
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled penultimate layer.

        Args:
            images: (n, 3, 224, 224) float32, normalised.

        Returns:
            (n, 1280) float32, in [0, 6] as ReLU6 leaves them.
        """
        stemmed = functional.relu6(self.stem(images), inplace=True)
        last = functional.relu6(self.head(self.blocks(stemmed)), inplace=True)
        return last.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the (n, 1000) logits of the ImageNet classes."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _folded_state(net: EfficientNetLite0Net, unread: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the checkpoint's names and fold every batch normalisation; empties `unread`."""
    state = {
        "classifier.weight": unread.pop("_fc.weight"),
        "classifier.bias": unread.pop("_fc.bias"),
    }
    for ours, conv, norm in _layer_names(net):
        weight, bias = _fold(unread, conv, norm)
        state[f"{ours}.conv.weight"], state[f"{ours}.conv.bias"] = weight, bias
    return state


def _layer_names(net: EfficientNetLite0Net) -> list[tuple[str, str, str]]:
    """List (our layer, checkpoint's convolution, checkpoint's batch normalisation)."""
    names = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for number, block in enumerate(net.blocks):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if isinstance(block, InvertedBottleneck) and block.expand is not None:
            names.append((f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"))
        names.append((f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
        names.append((f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"))
    return names


def _fold(unread: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that equals convolution + batch normalisation.

    y = gamma (W x - mean) / sqrt(var + eps) + beta, per output channel; in float64, so that
    folding costs no digit.
    """
    weight = unread.pop(f"{conv}.weight").double()
    gamma, beta, mean, variance = (
        unread.pop(f"{norm}.{name}").double()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / torch.sqrt(variance + _BATCH_NORM_EPSILON)
    folded_weight = weight * scale[:, None, None, None]
    return folded_weight.float(), (beta - mean * scale).float()
