"""Texts to the rows of their words, many texts at once."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.encoders.phrases import PhraseTable
from models.encoders.token_arrays import split_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.encoders.sif import WordIds

UNKNOWN: Final = -1


class WordLookup:
    """Finds the rows of a vocabulary's words in texts.

    Args:
        rows: each word's row, as `WordVectors.lookup` gives them.
        phrases: whether two words are one where the vocabulary has them joined by "_".
    """

    def __init__(self, rows: Mapping[str, int], *, phrases: bool = False) -> None:
        self._numbers = dict(rows)
        self._phrases = PhraseTable(rows) if phrases else None
        if self._phrases:
            self._numbers |= self._phrases.parts

    def documents(self, texts: Sequence[str]) -> list[WordIds]:
        """Return each text's known words, (words,) int32 in their order, repeats included."""
        return self.of_words(split_words(texts))

    def of_words(self, words: pa.ListArray) -> list[WordIds]:
        """Return the known words of texts that are split already, as `documents` does."""
        rows, ends = self.flat_rows(words)
        return [rows[start:end] for start, end in pairwise(ends.tolist())]

    def flat_rows(self, words: pa.ListArray) -> tuple[WordIds, npt.NDArray[np.int64]]:
        """Return the known words of all texts as one array, and the places between texts.

        Returns:
            (words,) int32 and (texts + 1,) int64: text i has the rows from place i to place i + 1.
        """
        numbers, offsets = self.numbers(words.values), np.asarray(words.offsets)
        if self._phrases:
            numbers = self._phrases.join(numbers, offsets)
        known = numbers != UNKNOWN
        return numbers[known], np.concatenate([[0], np.cumsum(known)])[offsets]

    def numbers(self, words: pa.Array) -> npt.NDArray[np.int32]:
        """Return the number of each word, (len(words),) int32, -1 for those that are not known.

        Arrow hashes the whole vocabulary anew at each call, which a few words do not repay.
        """
        if len(words) > len(self._numbers) > 0:
            names, numbers = self._as_arrays
            places = pc.index_in(words, value_set=names)
            found = numbers.take(np.asarray(places.fill_null(0)))
            return np.where(np.asarray(places.is_valid()), found, np.int32(UNKNOWN))
        distinct = words.dictionary_encode()
        spelt = distinct.dictionary.to_pylist()
        each = map(self._numbers.get, spelt, repeat(UNKNOWN))
        return np.fromiter(each, np.int32, len(spelt)).take(np.asarray(distinct.indices))

    @cached_property
    def _as_arrays(self) -> tuple[pa.Array, npt.NDArray[np.int32]]:
        numbers = np.fromiter(self._numbers.values(), np.int32, len(self._numbers))
        return pa.array(self._numbers, pa.large_string()), numbers
