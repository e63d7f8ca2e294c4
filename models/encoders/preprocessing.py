"""What is done to a picture before a network sees it, as numbers; pixels come out as Pillow's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from latentlake.errors import ConfigError, EncodeError
from models.encoders.engines.torch_engine import torch_threads

if TYPE_CHECKING:
    from models.types import Image

Fit = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear"]

LONGEST_RATIO = 8
"""Of a longer picture only the middle is resized: 1 x 100,000 pixels would become gigabytes."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, take the middle, normalise: the numbers in which each library of models says it.

    Attributes:
        size: (height, width) of what the network takes.
        scale: (height, width) of the box that the picture is resized to, before the middle of
            `size` is taken.
        fit: "shortest": keep proportions, cover the box; "longest": keep them, stay within the
            box; "squash": fill the box exactly.
        interpolation: how pixels are resized, always antialiased.
        mean: of each channel, where black is 0 and white is 1.
        std: deviation of each channel.
        channels: their order, which `mean`, `std` and the network share.
        fill: (red, green, blue) where the picture ends before `size` does.
    """

    size: tuple[int, int]
    scale: tuple[int, int]
    fit: Fit = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    fill: tuple[int, ...] = (0, 0, 0)
    channels: Literal["rgb", "bgr"] = "rgb"

    @property
    def min_side(self) -> int:
        """How many pixels of the shorter side a photo must keep when it is decoded smaller."""
        return 4 * max(self.scale)

    def prepare(self, item: Image, encoder: str) -> Image:
        """Bring a picture into the network's size; normalising is the network's first layer.

        Args:
            item: (height, width, 3) uint8 RGB.
            encoder: who asks, for the message.

        Returns:
            (*size, 3) uint8, its channels in the network's order.

        Raises:
            EncodeError: the array is no RGB image or has no pixel.
        """
        pixels = self._middle(checked_image(item, encoder))
        height, width = self._scaled(*pixels.shape[:2])
        shown = _cropped(resized(pixels, height, width, self.interpolation), self.size, self.fill)
        return shown if self.channels == "rgb" else np.ascontiguousarray(shown[..., ::-1])

    def _middle(self, pixels: Image) -> Image:
        if self.fit != "shortest":
            return pixels
        height, width = pixels.shape[:2]
        longest = LONGEST_RATIO * min(height, width) * -(-max(self.scale) // min(self.scale))
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        return pixels[top : top + longest, left : left + longest]

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return the size after resizing, rounded as torchvision and timm do."""
        box_height, box_width = self.scale
        if self.fit == "squash":
            return self.scale
        if self.fit == "shortest" and box_height == box_width:
            longer = int(box_height * max(height, width) / min(height, width))
            return (box_height, longer) if height <= width else (longer, box_height)
        ratios = (height / box_height, width / box_width)
        ratio = max(ratios) if self.fit == "longest" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def checked_image(item: Image, encoder: str) -> Image:
    """Return an array that is a picture.

    Raises:
        EncodeError: it is not (height, width, 3) uint8, or has no pixel.
    """
    if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or item.size == 0:  # noqa: PLR2004
        raise EncodeError(
            f"'{encoder}' takes (height, width, 3) uint8 arrays, not {item.shape} {item.dtype}"
        )
    return item


def resized(pixels: Image, height: int, width: int, interpolation: Interpolation) -> Image:
    """Resize with antialiasing, (height, width, 3) uint8, within 2 of what Pillow makes of it.

    Torch's kernel for interleaved uint8 does as Pillow does, faster. One thread, for the pool that
    prepares has all cores: a team of OpenMP would cost ten times the work.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if not pixels.flags.writeable:  # torch warns of sharing it
        pixels = pixels.copy()
    with torch_threads(1):
        found = functional.interpolate(
            torch.from_numpy(pixels).permute(2, 0, 1)[None],
            (height, width),
            mode=interpolation,
            antialias=True,
        )
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())


def as_interpolation(name: str, encoder: str) -> Interpolation:
    """Return a library's name of a resizing method as ours.

    Raises:
        ConfigError: it is none of those that are implemented.
    """
    match name:
        case "bicubic" | "bilinear":
            return name
        case _:
            raise ConfigError(
                f"encoder '{encoder}' wants its pictures resized by '{name}'; "
                "known are bicubic and bilinear."
            )


def _cropped(pixels: Image, size: tuple[int, int], fill: tuple[int, ...]) -> Image:
    """Take the middle; what a picture lacks is filled, half of it on each side."""
    missing = [max(0, wanted - had) for wanted, had in zip(size, pixels.shape, strict=False)]
    if any(missing):
        top, left = missing[0] // 2, missing[1] // 2
        height, width = pixels.shape[:2]
        padded = np.empty((height + missing[0], width + missing[1], 3), np.uint8)
        padded[:] = fill
        padded[top : top + height, left : left + width] = pixels
        pixels = padded
    # Halves go to the even side, as in torchvision.
    top, left = (round((had - wanted) / 2) for wanted, had in zip(size, pixels.shape, strict=False))
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])
