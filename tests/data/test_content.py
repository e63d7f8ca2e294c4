from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.content import content_id, digest_of_ids, item_id

texts = st.text(st.characters(codec="utf-8"))


@given(texts)
def test_a_text_has_the_id_of_its_utf8_bytes(text: str) -> None:
    expected = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert content_id(text) == content_id(text.encode()) == expected


@given(st.lists(texts))
def test_the_digest_of_ids_is_that_of_the_joined_ids(ids: list[str]) -> None:
    joined = "\n".join(ids).encode()
    assert digest_of_ids(iter(ids)) == hashlib.blake2b(joined, digest_size=16).hexdigest()


places = st.tuples(texts, texts, st.none() | texts)


@given(st.lists(places, min_size=2, unique=True))
def test_different_places_have_different_item_ids(found: list[tuple[str, str, str | None]]) -> None:
    ids = sorted(item_id(*place) for place in found)
    assert all(one != other for one, other in pairwise(ids))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("s", "a#b", None), ("s", "a", "b")),
        (("s", "a", None), ("s", "a", "")),
        (("s", "a", None), ("s", "a", "null")),
        (("sa", "b", None), ("s", "ab", None)),
        (("s", 'a","b', None), ("s", "a", "b")),
    ],
)
def test_look_alikes_have_different_item_ids(
    one: tuple[str, str, str | None], other: tuple[str, str, str | None]
) -> None:
    assert item_id(*one) != item_id(*other)


def test_ids_are_the_same_in_every_release() -> None:
    assert content_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert item_id("photos", "a/b.jpg", None) == item_id("photos", "a/b.jpg", None)
    assert len(item_id("photos", "a/b.jpg", "1")) == 32
