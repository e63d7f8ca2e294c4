"""Contact sheets: small pictures in strips with a caption, as one JPEG or PNG."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

TILE: Final = 180
"""Side of the square that a picture is fitted into, in pixels."""
_GAP: Final = 8
_TEXT: Final = 11
_LINE: Final = 14
_ACROSS: Final = 6
"""Pictures side by side, if a strip has no more."""
_GREY: Final = (224, 224, 224)
FORMATS: Final = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
"""Of a sheet, by the suffix of its file."""


@dataclass(frozen=True, slots=True)
class PictureStrip:
    """Pictures that belong together.

    Attributes:
        pictures: (height, width, 3) uint8 each; None where one could not be had: a grey square.
        lines: what is written below, shortened to fit.
    """

    pictures: tuple[Pixels | None, ...]
    lines: tuple[str, ...]


def sheet_of(strips: Sequence[PictureStrip], suffix: str) -> bytes:
    """Draw strips from left to right and downwards.

    Args:
        strips: at least one, all with as many pictures and lines as the first.
        suffix: of the file, one of `FORMATS`.
    """
    count, lines = len(strips[0].pictures), len(strips[0].lines)
    width = count * TILE + (count - 1) * _GAP
    height = TILE + lines * _LINE
    columns = min(len(strips), max(1, _ACROSS // count))
    rows = -(-len(strips) // columns)
    size = (columns * (width + 2 * _GAP) + _GAP, rows * (height + 2 * _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    for number, strip in enumerate(strips):
        row, column = divmod(number, columns)
        _draw(sheet, strip, (_GAP + column * (width + 2 * _GAP), _GAP + row * (height + 2 * _GAP)))
    stream = BytesIO()
    sheet.save(stream, FORMATS[suffix.lower()], quality=88)
    return stream.getvalue()


def _draw(sheet: Image.Image, strip: PictureStrip, corner: tuple[int, int]) -> None:
    left, top = corner
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    width = len(strip.pictures) * (TILE + _GAP) - _GAP
    for number, line in enumerate(strip.lines):
        place = (left, top + TILE + number * _LINE)
        draw.text(place, _fitted(line, width, font), fill="black", font=font)
    for picture in strip.pictures:
        box = (left, top, left + TILE - 1, top + TILE - 1)
        if picture is None:
            draw.rectangle(box, fill=_GREY)
        else:
            small = Image.fromarray(picture)
            small.thumbnail((TILE, TILE))
            sheet.paste(small, (left + (TILE - small.width) // 2, top + TILE - small.height))
        left += TILE + _GAP


def _fitted(text: str, width: int, font: Any) -> str:
    """Leave out the beginning of what is too long: names differ at their end."""
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType knows Latin 1 only
        text = text.encode("ascii", "backslashreplace").decode()
    shortened = text
    while shortened and font.getlength(shortened) > width:
        text = text[max(1, len(text) // 20) :]
        shortened = f"...{text}"
    return shortened
