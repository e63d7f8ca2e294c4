"""Texts and pictures that are the same to a reader or viewer, and those that are not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.images import decode_image
from data.normal_forms import normal_text, pixel_digest, text_digest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello  world", "hello world\n"),
        ("STRASSE", "straße"),
        ("ﬁne print", "fine print"),
        ("cafe\u0301", "CAFÉ"),
        ("\uff21\uff22\uff23\uff11", "abc1"),
        ("a\u00a0b\u2003c", "a b c"),
        ("\u0345\u0301", "\u0301\u03b9"),
        ("", " \t\r\n"),
    ],
)
def test_texts_that_are_the_same_to_a_reader(one: str, other: str) -> None:
    assert normal_text(one) == normal_text(other)
    assert text_digest(one) == text_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a b", "ab"), ("well-known", "well known"), ("1", "2"), ("Ende.", "Ende"), ("é", "e")],
)
def test_texts_that_are_not(one: str, other: str) -> None:
    assert text_digest(one) != text_digest(other)


@given(st.text())
def test_a_normal_form_is_its_own_normal_form_and_that_of_any_spacing(text: str) -> None:
    normal = normal_text(text)
    assert normal_text(normal) == normal
    assert normal_text("  " + text.replace(" ", " \t ") + "\n") == normal


def encoded(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **options)
    return stream.getvalue()


def test_the_container_of_pixels_is_of_no_account(samples: Path) -> None:
    photo = next(iter(sorted((samples / "photos" / "hat").glob("*.jpg")))).read_bytes()
    pixels = decode_image(photo)
    turned = Image.Exif()
    turned[0x0112] = 6  # a viewer turns it by 90 degrees clockwise
    copies = [
        photo,
        encoded(pixels, format="PNG", compress_level=1),
        encoded(pixels, format="PNG", compress_level=9),
        encoded(pixels, format="BMP"),
        encoded(pixels, format="WEBP", lossless=True),
        encoded(np.ascontiguousarray(np.rot90(pixels)), format="TIFF", exif=turned),
    ]
    assert len({pixel_digest(decode_image(copy)) for copy in copies}) == 1


def test_one_other_pixel_or_another_shape_is_another_picture() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    other = pixels.copy()
    other[3, 5, 2] = 1
    assert len({pixel_digest(p) for p in (pixels, other, pixels.reshape(6, 4, 3))}) == 3
