"""Altered copies: each way does what it says, as often as it is asked, and by lot of its own."""

from __future__ import annotations

import io
from difflib import SequenceMatcher

import numpy as np
import pytest
from PIL import Image

from models.analysis.augmentations import IMAGES, TEXTS, altered_image, altered_text

TEXT = (
    "We measure the mass of galaxies in clusters. The light is bent on its way. "
    "From that bending a map is drawn! Does it agree with the motions?"
)


def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:90, 0:120]
    return np.stack([rows * 2, columns * 2, (rows * columns) % 256], axis=2).astype(np.uint8)


def altered(way: str, seed: int = 0) -> np.ndarray:
    raw = altered_image(picture(), way, np.random.default_rng(seed))
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


@pytest.mark.parametrize("way", IMAGES)
def test_a_way_of_altering_a_picture_is_repeatable_and_changes_it(way: str) -> None:
    one = altered(way)
    np.testing.assert_array_equal(one, altered(way))
    assert one.shape != picture().shape or (one != picture()).any()


def test_pictures_are_altered_as_they_are_said_to_be() -> None:
    original = picture()
    np.testing.assert_array_equal(altered("flip"), original[:, ::-1])
    assert altered("resize").shape == (45, 60, 3)
    cropped = altered("crop")
    assert cropped.shape == (76, 102, 3)
    windows = np.lib.stride_tricks.sliding_window_view(original, cropped.shape)
    assert (windows == cropped).all(axis=(3, 4, 5)).any()
    captioned = altered("caption")
    np.testing.assert_array_equal(captioned[:80], original[:80])
    assert (captioned[82:] == 20).mean() > 0.7
    for way in ("blur", "recompress"):
        difference = np.abs(altered(way).astype(int) - original)
        assert 0 < difference.mean() < 40
    assert (altered("crop", 0) != altered("crop", 1)).any()


@pytest.mark.parametrize("way", TEXTS)
def test_a_way_of_altering_a_text_is_repeatable(way: str) -> None:
    made = [altered_text(TEXT, way, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert made[0] == made[1] != TEXT


def test_texts_are_altered_as_they_are_said_to_be() -> None:
    random = np.random.default_rng(4)
    assert altered_text(TEXT, "case", random).lower() == TEXT.lower()
    cut = altered_text(TEXT, "cut", random)
    assert TEXT.startswith(cut)
    assert len(cut.split()) == int(0.85 * len(TEXT.split()))
    turned = altered_text(TEXT, "reorder", random)
    assert sorted(turned.split()) == sorted(TEXT.split())
    typos = altered_text(TEXT, "typo", random)
    assert 0.95 < SequenceMatcher(None, TEXT, typos, autojunk=False).ratio() < 1


@pytest.mark.parametrize("text", ["", "x", "123", "one two"])
@pytest.mark.parametrize("way", TEXTS)
def test_short_texts_do_no_harm(text: str, way: str) -> None:
    assert isinstance(altered_text(text, way, np.random.default_rng(0)), str)


def test_a_picture_of_one_pixel_is_altered_too() -> None:
    pixel = np.zeros((1, 1, 3), np.uint8)
    for way in IMAGES:
        raw = altered_image(pixel, way, np.random.default_rng(0))
        assert Image.open(io.BytesIO(raw)).size == (1, 1)
