from __future__ import annotations

import io
import warnings
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from data.images import MAX_PIXELS, ImageInfo, decode_image, probe_image
from data.sources.records import bad_record
from latentlake.errors import BadInputError

Pixels = npt.NDArray[np.uint8]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """A picture whose every corner and colour differs."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([255 * x, 255 * y, 128 + 100 * np.sin(6 * x * y)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def close(one: Pixels, other: Image.Image | Pixels, most: int) -> bool:
    expected = np.asarray(other).astype(int)
    return one.shape == expected.shape and bool(np.abs(one.astype(int) - expected).max() <= most)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000", "DIB"])
def test_lossless_formats_come_back_as_they_are(kind: str) -> None:
    image = photo().quantize(64).convert("RGB")
    payload = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert close(decode_image(payload), image, 0)
    expected = "BMP" if kind == "DIB" else kind
    assert probe_image(payload) == ImageInfo(48, 32, "DIB" if kind == "DIB" else expected)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_formats_come_back_nearly(kind: str) -> None:
    assert close(decode_image(encoded(photo(), kind, quality=95)), photo(), 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_as_pillow_does(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    payload = encoded(photo(), kind, exif=exif, **options)
    with Image.open(io.BytesIO(payload)) as stored:
        expected = ImageOps.exif_transpose(stored)
        assert expected.size == ((32, 48) if orientation > 4 else (48, 32))
        assert close(decode_image(payload), expected.convert("RGB"), 0)
    info = probe_image(payload)
    assert (info.width, info.height) == expected.size


def test_the_pixels_can_be_written_to_and_lie_in_rows() -> None:
    pixels = decode_image(encoded(photo()))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_grey_becomes_three_equal_channels() -> None:
    grey = photo().convert("L")
    for kind in ("PNG", "TIFF", "BMP"):
        assert close(decode_image(encoded(grey, kind)), np.stack([np.asarray(grey)] * 3, 2), 0)
    bits = photo().convert("1")
    expected = np.where(np.asarray(bits), 255, 0).astype(np.uint8)
    assert close(decode_image(encoded(bits)), np.stack([expected] * 3, 2), 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_brightness(kind: str) -> None:
    grey = np.asarray(photo().convert("L"))
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    assert close(decode_image(encoded(sixteen, kind)), np.stack([grey] * 3, 2), 0)


def test_a_pgm_of_sixteen_bits_keeps_its_brightness() -> None:
    grey = np.asarray(photo().convert("L"))
    payload = b"P5 48 32 65535\n" + (grey.astype(">u2") * 257).tobytes()
    assert close(decode_image(payload), np.stack([grey] * 3, 2), 0)


def test_a_tiff_whose_zero_is_white_is_inverted() -> None:
    grey = np.asarray(photo().convert("L"))
    payload = encoded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0})
    assert close(decode_image(payload), np.stack([255 - grey] * 3, 2), 0)


@pytest.mark.parametrize(
    ("low", "high", "black", "white"), [(0, 1, 0, 255), (0, 255, 0, 255), (-3, 5e5, 0, 255)]
)
def test_floating_point_grey_is_scaled(low: float, high: float, black: int, white: int) -> None:
    values = np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)
    pixels = decode_image(encoded(Image.fromarray(values), "TIFF"))[:, :, 0].ravel()
    assert (pixels[0], pixels[-1]) == (black, white)
    np.testing.assert_allclose(pixels, np.linspace(0, 255, 64), atol=0.51)


def test_floats_that_are_no_numbers_do_not_spoil_the_rest() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = decode_image(encoded(Image.fromarray(values), "TIFF"))[:, :, 0]
    assert list(pixels[0, :3]) == [0, 255, 0]
    assert abs(int(pixels[7, 0]) - round(56 / 63 * 255)) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_has_its_colours_and_not_their_opposites(kind: str) -> None:
    cmyk = photo().convert("CMYK")
    payload = encoded(cmyk, kind, **({"quality": 98} if kind == "JPEG" else {}))
    assert close(decode_image(payload), photo(), 24)


def test_transparency_shows_white() -> None:
    image = photo().convert("RGBA")
    alpha = np.linspace(0, 255, 48).astype(np.uint8)
    image.putalpha(Image.fromarray(np.broadcast_to(alpha, (32, 48)).copy()))
    share = (alpha / 255)[np.newaxis, :, np.newaxis]
    expected = np.rint(np.asarray(photo()) * share + 255 * (1 - share)).astype(np.uint8)
    assert close(decode_image(encoded(image)), expected, 1)
    assert close(decode_image(encoded(image, "WEBP", lossless=True, exact=True)), expected, 1)
    grey = image.convert("LA")
    expected_grey = np.rint(np.asarray(grey)[:, :, :1] * share + 255 * (1 - share))
    assert close(decode_image(encoded(grey)), np.repeat(expected_grey, 3, 2).astype(np.uint8), 1)


def test_a_transparent_palette_colour_shows_white() -> None:
    image = photo().quantize(8)
    index = image.getpixel((0, 0))
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == index] = 255
    for kind in ("PNG", "GIF"):
        assert close(decode_image(encoded(image, kind, transparency=index)), expected, 0)


def test_the_transparent_value_of_sixteen_bit_grey_shows_white() -> None:
    values = np.array([[0, 256, 257], [65535, 514, 257]], dtype=np.uint16)
    payload = encoded(Image.fromarray(values), transparency=257)
    assert decode_image(payload)[:, :, 0].tolist() == [[0, 1, 255], [255, 2, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind: str) -> None:
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    payload = encoded(first, kind, save_all=True, append_images=[second])
    assert close(decode_image(payload), first, 2)


def test_lab_is_converted_by_its_definition() -> None:
    lab = Image.merge("LAB", [Image.new("L", (4, 4), v) for v in (138, 208, 195)])  # L* 54, red
    red, green, blue = decode_image(encoded(lab, "TIFF"))[0, 0].tolist()
    assert red > 200
    assert green < 60
    assert blue < 60


def test_large_images_are_converted_in_strips_without_seams() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2100, 2100), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.putpalette(np.random.default_rng(2).integers(0, 256, 768, dtype=np.uint8).tolist())
    assert close(decode_image(encoded(image, compress_level=0)), image.convert("RGB"), 0)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 300))
@settings(max_examples=30)
def test_min_side_is_kept_and_never_costs_more_than_half(
    width: int, height: int, min_side: int
) -> None:
    pixels = decode_image(encoded(photo(width, height), "JPEG"), min_side=min_side)
    assert min(pixels.shape[:2]) >= min(width, height, min_side)
    assert min(pixels.shape[:2]) < max(2 * min_side, min(width, height) / 8) + 1 or (
        pixels.shape[:2] == (height, width)
    )


def test_min_side_decodes_a_large_jpeg_smaller() -> None:
    payload = encoded(photo(1600, 1200), "JPEG")
    assert decode_image(payload, min_side=224).shape == (300, 400, 3)
    assert decode_image(payload, min_side=700).shape == (1200, 1600, 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some libraries do
    for side in (20_000, 2**31 - 1):
        for read in (probe_image, decode_image):
            with pytest.raises(BadInputError) as refused:
                read(bomb(side, side))
            assert bad_record("f", None, "decode", refused.value).error == "DecompressionBombError"
            assert str(MAX_PIXELS) in str(refused.value)
    assert probe_image(bomb(13_000, 13_000)).width == 13_000


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, kept: float) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    payload = encoded(Image.fromarray(noise), kind)
    with pytest.raises(BadInputError):
        decode_image(payload[: int(len(payload) * kept)])


def test_the_reason_is_the_same_in_every_run() -> None:
    reasons = set()
    for _ in range(3):
        with pytest.raises(BadInputError) as refused:
            decode_image(b"not an image at all" + bytes(50))
        reasons.add(str(refused.value))
    assert len(reasons) == 1
    assert "0x" not in reasons.pop()


@given(st.binary(max_size=300))
def test_any_bytes_are_an_image_or_refused(payload: bytes) -> None:
    for read in (probe_image, decode_image):
        with suppress(BadInputError):
            read(payload)


SEEDS = [encoded(photo(16, 12), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM")]


@given(st.data())
@settings(max_examples=300)
def test_damaged_images_decode_to_their_probed_size_or_are_refused(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_image(bytes(payload))
    except BadInputError:
        return
    info = probe_image(bytes(payload))
    assert pixels.shape == (info.height, info.width, 3)


def test_pillows_warnings_stay_inside() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0"
    payload = encoded(photo(), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="EXIF"), Image.open(io.BytesIO(payload)) as image:
            image.getexif().get(0x0112)
        assert decode_image(payload).shape == (32, 48, 3)
        assert probe_image(payload).width == 48
