"""Local features against what was done to a picture: the transform is the oracle."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data.images import decode_image
from models.analysis.local_features import (
    MOST_FEATURES,
    LocalFeatures,
    gradient_correlation,
    local_features,
    shared_inliers,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLEARLY = 40
"""Most copies share more inliers than this, different photos fewer."""


@pytest.fixture(scope="module")
def photos(samples: Path) -> list[Image.Image]:
    """Twelve photos of different things."""
    folders = sorted((samples / "photos").iterdir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:2]]
    return [Image.fromarray(decode_image(path.read_bytes())) for path in paths[:12]]


def features(photo: Image.Image) -> LocalFeatures:
    return local_features(np.array(photo.convert("RGB")))


def recompressed(photo: Image.Image) -> Image.Image:
    held = io.BytesIO()
    photo.save(held, "JPEG", quality=25)
    return Image.open(io.BytesIO(held.getvalue()))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda photo: photo,
    "mirrored": lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda photo: photo.crop(
        (photo.width // 8, photo.height // 8, photo.width, photo.height)
    ),
    "smaller": lambda photo: photo.resize((photo.width * 2 // 3, photo.height * 2 // 3)),
    "turned": lambda photo: photo.rotate(12, expand=True),
    "grey": lambda photo: photo.convert("L").convert("RGB"),
    "brighter": lambda photo: photo.point(lambda value: min(255, value * 5 // 4)),
    "recompressed": recompressed,
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_shares_many_inliers(name: str, photos: list[Image.Image]) -> None:
    shared = [shared_inliers(features(COPIES[name](one)), features(one)) for one in photos]
    assert min(shared) > 10
    assert np.median(shared) > CLEARLY


def test_different_photos_share_few(photos: list[Image.Image]) -> None:
    described = [features(photo) for photo in photos]
    shared = [
        shared_inliers(one, other)
        for at, one in enumerate(described)
        for other in described[at + 1 :]
    ]
    assert max(shared) < CLEARLY
    assert np.median(shared) < 8


def test_the_mirror_images_features_are_those_of_the_mirrored_picture(
    photos: list[Image.Image],
) -> None:
    for photo in photos[:4]:
        derived = features(photo).mirrored()
        found = features(COPIES["mirrored"](photo))
        one = derived.descriptors.astype(np.float32) / 255
        other = found.descriptors.astype(np.float32) / 255
        best = (one @ other.T).argmax(axis=1)
        apart = np.linalg.norm(derived.points - found.points[best], axis=1)
        assert np.mean(apart < 2) > 0.6, "most features lie where the mirror puts them"


def test_a_picture_without_texture_has_no_features_and_resembles_nothing() -> None:
    plain = local_features(np.full((80, 120, 3), 200, np.uint8))
    assert plain.points.shape == (0, 2)
    assert plain.descriptors.shape == (0, 128)
    assert shared_inliers(plain, plain) == 0


def test_descriptors_are_of_length_one_and_bounded_in_number(photos: list[Image.Image]) -> None:
    for photo in photos[:4]:
        found = features(photo)
        assert 0 < len(found.points) <= MOST_FEATURES
        lengths = np.linalg.norm(found.descriptors.astype(np.float64) / 255, axis=1)
        np.testing.assert_allclose(lengths, 1, atol=0.02)
        assert (found.points[:, 0] < found.width).all()


def test_features_come_back_from_bytes(photos: list[Image.Image]) -> None:
    for found in (features(photos[0]), features(Image.new("RGB", (50, 40), "white"))):
        again = LocalFeatures.from_bytes(found.to_bytes())
        np.testing.assert_array_equal(again.points, found.points)
        np.testing.assert_array_equal(again.descriptors, found.descriptors)
        np.testing.assert_array_equal(again.small, found.small)
        assert again.width == found.width


def tiny(photo: Image.Image) -> Image.Image:
    """A picture that keeps too few features to be told by them."""
    return photo.resize((24, 24)).filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize("name", ["the same", "mirrored", "smaller", "grey", "brighter"])
def test_slopes_of_a_tiny_copy_correlate(name: str, photos: list[Image.Image]) -> None:
    found = []
    for photo in photos:
        one, other = features(tiny(photo)), features(COPIES[name](tiny(photo)))
        found.append(gradient_correlation(one, other))
    told = [one for one in found if one is not None]
    assert len(told) > 6, "some have features enough all the same"
    assert min(told) > 0.9


def test_slopes_of_different_tiny_pictures_do_not(photos: list[Image.Image]) -> None:
    described = [features(tiny(photo)) for photo in photos]
    found = [
        gradient_correlation(one, other)
        for at, one in enumerate(described)
        for other in described[at + 1 :]
    ]
    told = [one for one in found if one is not None]
    assert len(told) > 20
    assert max(told) < 0.8


def test_slopes_are_not_asked_where_features_are_enough_and_say_nothing_where_there_are_none(
    photos: list[Image.Image],
) -> None:
    full = features(photos[0])
    assert gradient_correlation(full, full) is None
    plain = features(Image.new("RGB", (80, 60), "blue"))
    assert gradient_correlation(plain, plain) == 0
    assert gradient_correlation(full, plain) == 0


def test_many_features_that_match_a_single_one_count_once(samples: Path) -> None:
    # A black hat has 23 features: 20 of the other's 300 were carried to one and the same of them.
    hats = samples / "photos" / "hat"
    plain = hats / "5ddedf0c-2cfa-4285-b384-d39505a815a4.jpg"
    rich = hats / "7ed099ea-7a28-4b95-97a5-aac86e19cdbd.jpg"
    one, other = (local_features(decode_image(path.read_bytes())) for path in (plain, rich))
    assert max(shared_inliers(one, other), shared_inliers(other, one)) < 12
