"""What contents of different bytes have in common when they are the same to a reader or viewer."""

from __future__ import annotations

import struct
import unicodedata
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from data.content import DIGEST_BYTES, content_id

if TYPE_CHECKING:
    import numpy.typing as npt

NORMAL_FORM: Final = "nfkc-casefold-1"
"""Names the rules of `normal_text`; a change of the rules changes the name."""

PIXEL_FORM: Final = "upright-rgb-1"
"""Names what `pixel_digest` is taken of; a change of decoding that changes pixels changes it."""


def normal_text(text: str) -> str:
    """Return a text without what a reader takes for the same.

    It is brought to Unicode's form NFKC (compatibility characters such as ligatures, full-width
    letters and superscripts become plain ones; accents join their letters), case-folded by
    Unicode's full rules ("ß" becomes "ss"), brought to NFKC again because folding can leave it,
    and every run of white space, line ends included, becomes one space; none is left at the ends.
    Punctuation and digits count.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def text_digest(text: str) -> str:
    """Digest a text's normal form: 32 hexadecimal characters."""
    return content_id(normal_text(text))


def pixel_digest(pixels: npt.NDArray[np.uint8]) -> str:
    """Digest a picture's size and pixels as `data.images.decode_image` returns them.

    Args:
        pixels: (height, width, 3) uint8 RGB, whole, upright, on white.

    Returns:
        32 hexadecimal characters.
    """
    digest = blake2b(struct.pack("<3q", *pixels.shape), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
