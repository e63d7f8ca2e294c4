"""Altered copies of contents, as people and machines make them: known duplicates to learn from."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from models.types import Image as Pixels

IMAGES: Final = ("crop", "recompress", "resize", "flip", "blur", "caption")
TEXTS: Final = ("typo", "case", "cut", "reorder")

_KEPT: Final = 0.85
"""Of each side that a crop keeps, and of the words that a cut keeps."""
_TYPOS: Final = 0.02
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def altered_image(pixels: Pixels, way: str, generator: np.random.Generator) -> bytes:
    """Return an altered copy of a picture, encoded.

    Args:
        pixels: (height, width, 3) uint8.
        way: one of `IMAGES`. "crop" keeps .85 of each side, anywhere; "recompress" is JPEG of
            quality 30 to 60; "resize" halves both sides; "flip" mirrors; "blur" is Gaussian, 1 %
            of the shorter side; "caption" writes words on a dark bar over the lowest tenth.
        generator: of what is drawn by lot.
    """
    picture = Image.fromarray(pixels)
    made = _IMAGE_WAYS[way](picture, generator)
    stream = io.BytesIO()
    if way == "recompress":
        made.save(stream, "JPEG", quality=int(generator.integers(30, 61)))
    else:
        made.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def altered_text(text: str, way: str, generator: np.random.Generator) -> str:
    """Return an altered copy of a text; a text that a way cannot alter comes back as it is.

    Args:
        text: any.
        way: one of `TEXTS`. "typo" replaces, drops or doubles 2 % of the letters, at least one;
            "case" makes everything upper or lower case; "cut" keeps the first .85 of the words;
            "reorder" moves the first sentences to the end, or the first words of a single one.
        generator: of what is drawn by lot.
    """
    return _TEXT_WAYS[way](text, generator)


def _crop(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    width, height = (max(1, round(side * _KEPT)) for side in picture.size)
    left = int(generator.integers(0, picture.width - width + 1))
    upper = int(generator.integers(0, picture.height - height + 1))
    return picture.crop((left, upper, left + width, upper + height))


def _same(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    return picture


def _resize(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))


def _flip(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _blur(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(max(0.5, min(picture.size) / 100)))


def _caption(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    made, bar = picture.copy(), max(1, picture.height // 10)
    drawing = ImageDraw.Draw(made)
    drawing.rectangle((0, made.height - bar, made.width, made.height), fill=(20, 20, 20))
    drawing.text((bar // 3, made.height - bar), "a caption", fill=(240, 240, 240))
    return made


def _typo(text: str, generator: np.random.Generator) -> str:
    letters = [place for place, letter in enumerate(text) if letter.isalpha()]
    if not letters:
        return text
    count = max(1, round(_TYPOS * len(letters)))
    chosen = dict.fromkeys(generator.choice(letters, count, replace=False).tolist())
    made = []
    for place, letter in enumerate(text):
        fault = generator.integers(3) if place in chosen else None
        other = _LETTERS[int(generator.integers(len(_LETTERS)))] if fault == 0 else letter * 2
        made.append(letter if fault is None else "" if fault == 1 else other)
    return "".join(made)


def _case(text: str, generator: np.random.Generator) -> str:
    return text.upper() if generator.integers(2) else text.lower()


def _cut(text: str, _: np.random.Generator) -> str:
    words = text.split()
    return " ".join(words[: max(1, int(len(words) * _KEPT))])


def _reorder(text: str, generator: np.random.Generator) -> str:
    parts = re.split(r"(?<=[.!?])\s+", text.strip())
    if len(parts) == 1:
        parts = text.split()
    if len(parts) < 2:  # noqa: PLR2004 - nothing to move
        return text
    turn = int(generator.integers(1, len(parts)))
    return " ".join(parts[turn:] + parts[:turn])


_IMAGE_WAYS: Final[dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]]] = {
    "crop": _crop,
    "recompress": _same,
    "resize": _resize,
    "flip": _flip,
    "blur": _blur,
    "caption": _caption,
}
_TEXT_WAYS: Final[dict[str, Callable[[str, np.random.Generator], str]]] = {
    "typo": _typo,
    "case": _case,
    "cut": _cut,
    "reorder": _reorder,
}
