"""The tokeniser over many texts: the tokeniser of one text is the oracle."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.token_arrays import split_words
from models.encoders.tokens import tokenise

PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)

# Where words, marks, scripts without spaces and letters that change under lower() meet.
TELLING = st.text(
    st.sampled_from(
        "aZ9_ -\n\t\x00\x1c\u03a3\u03c3\u0391\u0130\u0131\xdf\u017f\xc5\xe9"
        "\u0301\u0308\u093f\u094d\u3099\u304b\u30ac\u6df1\u4e00\u30fb\uff71\ufb01\xb2\xbd\u2167\xa0\u2028\U00020000\ud800"
    )
)


@PROPERTY
@given(st.lists(st.one_of(st.text(), TELLING), max_size=8))
def test_it_splits_as_the_tokeniser_of_one_text_does(texts: list[str]) -> None:
    assert split_words(texts).to_pylist() == [tokenise(text) for text in texts]


@pytest.mark.parametrize("between", [" ", "a", "深"])
def test_every_character_of_unicode_is_of_the_same_kind(between: str) -> None:
    characters = map(chr, range(sys.maxunicode + 1))
    text = between.join(characters)
    assert split_words([text]).to_pylist() == [tokenise(text)]


def test_no_texts_have_no_words() -> None:
    assert split_words([]).to_pylist() == []
    assert split_words(["", "é"]).to_pylist() == [[], ["é"]]
