"""The tokeniser: rules by example, and the fast path against the slow one."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.tokens import tokenise

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n -- !? ", []),
        ("The QUICK brown fox", ["the", "quick", "brown", "fox"]),
        ("state_of-the-art's", ["state", "of", "the", "art", "s"]),
        ("COVID-19 in 2020.", ["covid", "19", "in", "2020"]),
        ("Straße, ÉCOLE, naïve", ["straße", "école", "naïve"]),
        ("e\u0301cole", ["école"]),  # a combining accent
        ("\ufb01ne \uff21\uff22", ["fine", "ab"]),  # a ligature, full-width letters
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("深層学習のモデル", list("深層学習のモデル")),
        ("GPUで学習", ["gpu", "で", "学", "習"]),
        ("\ud800 lone", ["lone"]),  # half a surrogate pair
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert tokenise(text) == words


@PROPERTY
@given(st.text(st.characters(max_codepoint=127)))
def test_the_ascii_path_agrees_with_the_regular_expression(text: str) -> None:
    assert tokenise(text) == re.findall(r"[^\W_]+", text.lower(), flags=re.ASCII)


@PROPERTY
@given(st.text())
def test_words_are_lower_case_and_split_no_further(text: str) -> None:
    words = tokenise(text)
    assert not any(unicodedata.category(c)[0] in "PZCS" for word in words for c in word if c < "ʰ")
    assert tokenise(" ".join(words)) == words
    "".join(words).encode()  # the corpus file takes them
