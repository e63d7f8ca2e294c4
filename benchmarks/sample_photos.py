"""The photos of data/samples, from the clothing-dataset-small collection (CC0)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sample_truth import Planted, spread

if TYPE_CHECKING:
    from pathlib import Path

MAX_SIDE_PX = 288
QUALITY = 80
PHOTOS_PER_CLASS = 24

Change = Callable[[Image.Image], Image.Image]


def _cropped(photo: Image.Image) -> Image.Image:
    dx, dy = photo.width // 20, photo.height // 20
    return photo.crop((dx, dy, photo.width - dx, photo.height - dy))


def _bordered(photo: Image.Image) -> Image.Image:
    return ImageOps.expand(photo, border=6, fill=(255, 255, 255))


def _watermarked(photo: Image.Image) -> Image.Image:
    marked = photo.copy()
    ImageDraw.Draw(marked).text((8, 8), "sample", fill=(255, 255, 255))
    return marked


def _brightness(factor: float) -> Change:
    return lambda photo: ImageEnhance.Brightness(photo).enhance(factor)


def _resized(scale: float) -> Change:
    return lambda photo: photo.resize(
        (round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC
    )


CHANGES: dict[str, tuple[Change, int]] = {
    "recompressed": (lambda photo: photo, 45),
    "smaller": (_resized(0.7), QUALITY),
    "cropped": (_cropped, QUALITY),
    "brighter": (_brightness(1.2), QUALITY),
    "darker": (_brightness(0.8), QUALITY),
    "grey": (ImageOps.grayscale, QUALITY),
    "bordered": (_bordered, QUALITY),
    "watermarked": (_watermarked, QUALITY),
    "cropped-brighter": (lambda photo: _brightness(1.15)(_cropped(photo)), QUALITY),
    "smaller-recompressed": (_resized(0.8), 50),
}
"""What was done to a photo for its planted near-duplicate, and the JPEG quality it was saved at."""


def save_jpeg(photo: Image.Image, path: Path, quality: int = QUALITY) -> None:
    """Write a JPEG without metadata; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, "JPEG", quality=quality, optimize=True)


def load_photo(path: Path) -> Image.Image:
    """Read a photo upright, as RGB, at most MAX_SIDE_PX a side."""
    with Image.open(path) as file:
        photo = ImageOps.exif_transpose(file).convert("RGB")
    photo.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    return photo


def make_photos(source: Path, out: Path) -> Planted:
    """Write photos/<class>/*.jpg and plant copies, near copies, broken files and outliers."""
    planted = Planted()
    chosen: list[Path] = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for path in spread(sorted(folder.glob("*.jpg")), PHOTOS_PER_CLASS):
            save_jpeg(load_photo(path), out / folder.name / path.name)
            chosen.append(path)
    plant_near_photos(chosen, out, planted)
    plant_exact_photos(chosen, out, planted)
    plant_broken_photos(chosen, out, planted)
    draw_outliers(out, planted)
    planted.items = sum(path.is_file() for path in out.rglob("*"))
    return planted


def plant_near_photos(chosen: Sequence[Path], out: Path, planted: Planted) -> None:
    """Add one changed copy of a photo of each class, made from the full-size original."""
    bases = [chosen[i * PHOTOS_PER_CLASS + 5] for i in range(len(chosen) // PHOTOS_PER_CLASS)]
    for base, (change, (apply, quality)) in zip(bases, CHANGES.items(), strict=True):
        copy = f"{base.parent.name}/{base.stem}-{change}.jpg"
        save_jpeg(apply(load_photo(base)), out / copy, quality)
        original = f"{base.parent.name}/{base.name}"
        planted.near.append({"original": original, "copy": copy, "change": change})


def plant_exact_photos(chosen: Sequence[Path], out: Path, planted: Planted) -> None:
    """Add the same bytes under another name: beside the original, and in another folder."""
    places = ("hat/IMG_2041.jpg", "pants/IMG_2042.jpg", "shoes/new folder/IMG_2043.jpg")
    for base, copy in zip(spread(chosen[11:], len(places)), places, strict=True):
        original = f"{base.parent.name}/{base.name}"
        (out / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / original, out / copy)
        planted.exact.append({"original": original, "copy": copy})


def plant_broken_photos(chosen: Sequence[Path], out: Path, planted: Planted) -> None:
    """Add a JPEG that ends half-way, and a text that is only called .jpg."""
    base = next(path for path in chosen if path.parent.name == "shirt")
    whole = (out / "shirt" / base.name).read_bytes()
    (out / "shirt" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (out / "dress" / "notes.jpg").write_text("sizes: 36, 38, 40\nphotos to follow\n")
    planted.quarantined = [
        {"path": "dress/notes.jpg", "reason": "not an image"},
        {"path": "shirt/broken.jpg", "reason": "truncated"},
    ]


def draw_outliers(out: Path, planted: Planted) -> None:
    """Add pictures that show no clothing: a bar chart, noise, a logo with an alpha channel."""
    chart = Image.new("RGB", (MAX_SIDE_PX, 216), (255, 255, 255))
    pen = ImageDraw.Draw(chart)
    for position, height in enumerate((40, 95, 70, 150, 120, 180)):
        left = 30 + 40 * position
        pen.rectangle((left, 200 - height, left + 26, 200), fill=(30, 90, 200))
    pen.line((20, 10, 20, 200, 275, 200), fill=(0, 0, 0), width=2)
    save_jpeg(chart, out / "skirt" / "chart.jpg")
    rng = np.random.default_rng(2041)
    grain = rng.integers(0, 256, size=(48, 48, 3), dtype=np.uint8)
    noise = Image.fromarray(grain).resize((192, 192), Image.Resampling.NEAREST)
    save_jpeg(noise, out / "shorts" / "noise.jpg")
    logo = Image.new("RGBA", (192, 192), (0, 0, 0, 0))
    pen = ImageDraw.Draw(logo)
    pen.ellipse((16, 16, 176, 176), fill=(200, 30, 60, 255))
    pen.polygon((96, 36, 150, 140, 42, 140), fill=(255, 255, 255, 128))
    logo.save(out / "outwear" / "logo.png", "PNG", optimize=True)
    planted.outliers = ["outwear/logo.png", "shorts/noise.jpg", "skirt/chart.jpg"]
