"""Images: their size from the header, and their pixels as RGB, whatever they are stored as.

Pillow reads every header and decodes all formats but plain JPEGs, which libjpeg-turbo decodes three
times as fast (simplejpeg) and to the same pixels.

Everything that Pillow raises on a damaged or hostile file comes out as `BadInputError`. Pillow's
warnings about such files are silenced for good: `warnings.catch_warnings` swaps a global list and
cannot be used by the threads of a decode pool.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile, UnidentifiedImageError

from data.pixels import rgb_pixels, upright
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
"""The decoders that are tried (JPEG includes MPO, the format of many phones' .jpg files).

Formats of games, faxes and desktop publishing (DDS, BLP, FLI, SGI, PSD, TGA, EPS ...) are left out:
each is one more decoder for hostile bytes, and TGA has no mark that it could be told by.
"""

MAX_PIXELS: Final = 178_956_970
"""The most pixels an image may have: Pillow's own limit for decompression bombs, 0.5 GB of RGB."""

# All that Pillow's plugins were seen, or can be expected, to raise on bad bytes.
_PILLOW_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)

_PILLOW_MODULES = r"PIL\."
_PILLOW_IGNORED = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)  # as warnings has it
_TURBO_FORMATS = ("JPEG", "MPO")
_TURBO_MODES = ("RGB", "L")  # no CMYK
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = range(1, 9)
_SIDEWAYS = (5, 6, 7, 8)
# A PNG without any of these has no orientation; looking for one would decode all of it.
_PNG_ORIENTATION_MARKS = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image's header says.

    Attributes:
        width: pixels from left to right, orientation applied.
        height: pixels from top to bottom, orientation applied.
        format: Pillow's name, e.g. "JPEG", "PNG", "MPO".
    """

    width: int
    height: int
    format: str


def probe_image(payload: bytes) -> ImageInfo:
    """Read an image's size and format from its header; only a PNG with EXIF data is decoded.

    Args:
        payload: an encoded image.

    Raises:
        BadInputError: no image in one of `FORMATS`, a damaged header, more than `MAX_PIXELS`.
    """
    with _opened(payload) as image:
        width, height = image.size
        # A TIFF's size is the upright one already.
        if image.format != "TIFF" and _orientation(image, payload) in _SIDEWAYS:
            width, height = height, width
        return ImageInfo(width, height, image.format or "")


def decode_image(payload: bytes, min_side: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode an image as a viewer would show it: upright, its first frame, on white.

    Args:
        payload: an encoded image.
        min_side: where given, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, to be faster, as
            long as its smaller side keeps this many pixels.

    Returns:
        (height, width, 3) uint8 RGB, C-contiguous and writable.

    Raises:
        BadInputError: as `probe_image`, and damaged or truncated pixels.
    """
    with _opened(payload) as image:
        # Pillow turns a TIFF as it loads it. Others are asked before, as in `probe_image`: a PNG
        # may have another opinion behind its pixels.
        orientation = 1 if image.format == "TIFF" else _orientation(image, payload)
        pixels = _turbo_pixels(image, payload, min_side)
        if pixels is None:
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            image.load()
            pixels = rgb_pixels(image)
        return np.ascontiguousarray(upright(pixels, orientation))


@contextmanager
def _opened(payload: bytes) -> Iterator[ImageFile.ImageFile]:
    _silence_pillow()
    try:
        if not payload:
            raise BadInputError("empty: 0 bytes")
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            _refuse_bomb(image.size)
            yield image
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise BadInputError(f"no image, or a damaged header; known formats: {known}") from error
    except _PILLOW_ERRORS as error:
        raise BadInputError(f"cannot be decoded: {error}") from error


def _turbo_pixels(
    image: Image.Image, payload: bytes, min_side: int | None
) -> npt.NDArray[np.uint8] | None:
    """Decode a plain JPEG by libjpeg-turbo: the accurate DCT and smooth chroma, as Pillow has them.

    Measured on 400 photos of half a megapixel: 1250 a core and second, Pillow 450; the fast DCT
    would give 1340 and move the features of a network by .021 in cosine at worst.

    Returns:
        (height, width, 3) uint8 RGB, or None where Pillow has to decode, or to say what is wrong.
    """
    if image.format not in _TURBO_FORMATS or image.mode not in _TURBO_MODES:
        return None
    width, height = image.size
    shrink = next((n for n in (8, 4, 2) if min_side and min(width, height) >= n * min_side), 1)
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            payload, "RGB", min_height=-(-height // shrink), min_width=-(-width // shrink)
        )
    except ValueError:
        return None
    return pixels


def _refuse_bomb(size: tuple[int, int]) -> None:
    # Pillow refuses as well, but by a limit that any library of the process may have switched off.
    width, height = size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(
            f"{width} x {height} pixels; an image may have {MAX_PIXELS}"
        )


def _orientation(image: Image.Image, payload: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; broken EXIF data does not make an image unusable."""
    if image.format == "PNG" and not any(mark in payload for mark in _PNG_ORIENTATION_MARKS):
        return 1
    try:
        found = image.getexif().get(_ORIENTATION_TAG, 1)
    except _PILLOW_ERRORS:
        return 1
    return found if isinstance(found, int) and found in _ORIENTATIONS else 1


def _silence_pillow() -> None:
    # Put in front again where something (a test runner, an application) has reset the filters.
    if not warnings.filters or warnings.filters[0] != _PILLOW_IGNORED:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)
