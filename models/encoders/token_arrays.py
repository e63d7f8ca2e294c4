"""The tokeniser over many texts at once: the same words as `tokens.tokenise`, as Arrow arrays.

ASCII texts become words by one translation of their bytes and one split. Others are brought to
their normal form one by one, as Python's C code does it, and are then cut by a table over code
points. Arrow stands here for its kernels over strings; no table is read or written.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.encoders.tokens import is_ideograph, is_word_character

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPACE: Final = 0x20
_SEPARATOR, _LETTER, _IDEOGRAPH = range(3)

# Every ASCII character that separates is a space; bytes of other characters stay as they are.
_BYTES: Final = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() else _SPACE for code in range(128)
) + bytes(range(128, 256))

# Unicode has assigned neither letters nor digits beyond the ideographs of plane 3.
_CODES: Final = 0x40000


def split_words(texts: Sequence[str]) -> pa.ListArray:
    """Split each text into its words, as `tokens.tokenise` does.

    Returns:
        (len(texts),) lists of strings.
    """
    spaced = list(texts)
    others = [at for at, text in enumerate(spaced) if not text.isascii()]
    for at, text in zip(others, _spaced([spaced[at] for at in others]), strict=True):
        spaced[at] = text
    array = pa.array(spaced, pa.large_string())
    _, offsets, data = array.buffers()
    lowered = pa.py_buffer((data.to_pybytes() if data else b"").translate(_BYTES))
    plain = pa.LargeStringArray.from_buffers(len(array), offsets, lowered)
    return _without_empty(pc.ascii_split_whitespace(pc.ascii_trim_whitespace(plain)))


def _without_empty(words: pa.ListArray) -> pa.ListArray:
    """Drop the empty string that a split makes of a text without words."""
    held = np.asarray(pc.binary_length(words.values)) > 0
    if held.all():
        return words
    ends = np.concatenate([[0], np.cumsum(held)])
    offsets = pa.array(ends[np.asarray(words.offsets)])
    return pa.ListArray.from_arrays(offsets, words.values.filter(pa.array(held)))


def _spaced(texts: Sequence[str]) -> list[str]:
    """Write texts so that a split at ASCII spaces gives their words."""
    normal = [unicodedata.normalize("NFKC", text).lower() for text in texts]
    ends = np.cumsum([len(text) for text in normal], dtype=np.int64)
    codes = np.frombuffer("".join(normal).encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[np.minimum(codes, _CODES)]
    codes = np.where(kinds == _SEPARATOR, np.uint32(_SPACE), codes)
    if (kinds == _IDEOGRAPH).any():
        codes, ends = _apart(codes, kinds == _IDEOGRAPH, ends)
    text = codes.tobytes().decode("utf-32-le")
    return [text[start:end] for start, end in pairwise([0, *ends.tolist()])]


def _apart(
    codes: npt.NDArray[np.uint32], alone: npt.NDArray[np.bool_], ends: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Put a space to each side of some characters; return the new codes, and the texts' ends."""
    widths = np.where(alone, 3, 1)
    reach = np.cumsum(widths)
    spread = np.repeat(codes, widths)
    spread[reach[alone] - 3] = _SPACE
    spread[reach[alone] - 1] = _SPACE
    return spread, np.concatenate([[0], reach])[ends]


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Tell separator, letter and ideograph apart, by code point; the last stands for all beyond."""
    kinds: npt.NDArray[Any] = np.full(_CODES + 1, _SEPARATOR, np.uint8)
    for code in range(_CODES):
        if is_word_character(chr(code)):
            kinds[code] = _IDEOGRAPH if is_ideograph(chr(code)) else _LETTER
    return kinds
