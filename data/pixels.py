"""From Pillow's many pixel modes to 8-bit RGB, and from any orientation to upright.

Large images are converted a strip at a time, so that the peak is the decoded image and the result.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pixels = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float64]

_STRIP_PIXELS = 2**22
_WHITE_8, _WHITE_16 = 255, 65535
_PHOTOMETRIC_TAG = 262  # of a TIFF; 0 says that 0 is white
_TURNED = (5, 6, 7, 8)
_MIRRORED_LEFT_RIGHT = (2, 3, 6, 7)
_MIRRORED_TOP_BOTTOM = (3, 4, 7, 8)


def rgb_pixels(image: Image.Image) -> Pixels:
    """Convert a loaded image to RGB; what is transparent shows white.

    Grey of 16 bits keeps the upper 8. CMYK is converted without its colour profile. Integers of 32
    bits and floats have no fixed white: values within 0..1 are taken as fractions of it, within
    0..255 and 0..65535 as 8 and 16 bits, all others are stretched from the lowest to the highest.

    Returns:
        (height, width, 3) uint8.
    """
    convert = _converter(image)
    width, height = image.size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    top = 0
    for strip in _strips(image):
        pixels[top : top + strip.height] = convert(strip)
        top += strip.height
    return pixels


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror stored pixels as an EXIF orientation asks (EXIF 2.32, tag 0x0112).

    Args:
        pixels: (height, width, 3).
        orientation: 1 to 8.

    Returns:
        A view of (height, width, 3) or, for 5 to 8, of (width, height, 3).
    """
    if orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _MIRRORED_LEFT_RIGHT:
        pixels = pixels[:, ::-1]
    if orientation in _MIRRORED_TOP_BOTTOM:
        pixels = pixels[::-1]
    return pixels


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // max(1, width))
    if rows >= height:
        yield image
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(height, top + rows)))


def _converter(image: Image.Image) -> Callable[[Image.Image], Pixels]:
    if image.mode.startswith("I;16"):
        inverted = image.format == "TIFF" and _photometric(image) == 0
        return partial(_from_16_bit, transparent=image.info.get("transparency"), inverted=inverted)
    if image.mode in ("I", "F"):
        # Pillow brings every PGM of more than 8 bits to 16.
        low, high = (0.0, _WHITE_16) if image.format == "PPM" else _white_and_black(image)
        return partial(_from_range, low=low, high=high)
    if image.mode == "LAB":
        return _from_lab
    return _over_white if image.has_transparency_data else _from_opaque


def _from_opaque(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def _over_white(image: Image.Image) -> Pixels:
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > _WHITE_8:
        # A colour of a 16-bit PNG, of which Pillow keeps the upper 8 bits of each pixel.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    colours = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, colours).convert("RGB"))


def _from_16_bit(image: Image.Image, *, transparent: object, inverted: bool) -> Pixels:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if inverted:
        grey = _WHITE_8 - grey
    if isinstance(transparent, int):
        grey[values == transparent] = _WHITE_8
    return _as_rgb(grey)


def _from_range(image: Image.Image, *, low: float, high: float) -> Pixels:
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (np.clip(values, low, high) - low) / ((high - low) or 1.0)
    return _as_rgb(np.rint(scaled * _WHITE_8).astype(np.uint8))


def _white_and_black(image: Image.Image) -> tuple[float, float]:
    """Return the values that become 0 and 255."""
    lows, highs = [], []
    for strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    whites = (1.0,) if image.mode == "F" else ()
    for white in (*whites, float(_WHITE_8), float(_WHITE_16)):
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high


def _from_lab(image: Image.Image) -> Pixels:
    converted = ImageCms.applyTransform(image, _lab_to_srgb())
    return np.asarray(converted)


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _as_rgb(grey: Pixels) -> Pixels:
    return np.broadcast_to(grey[:, :, np.newaxis], (*grey.shape, 3))


def _photometric(image: Image.Image) -> object:
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_TAG)
