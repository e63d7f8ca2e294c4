"""A project of photos for tests of faults: near copies, equal pixels, and a batch of both."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from tests.faults.lakes import SAMPLES, Sources
from tests.tasks.stages.test_photo_pairs import Photos, jpeg

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tasks.conftest import Project


def make_album(folder: Path, root: str = "lake") -> Photos:
    """Five photos, one of them mirrored, and one as PNG: equal pixels in other bytes."""
    made = Photos(folder)
    made.configure()
    path = folder / "latentlake.toml"
    # Torch computes seven photos sooner than OpenVINO has made a network of its own.
    text = f'[lake]\nroot = "{root}"\n{path.read_text("utf-8")}engine = "torch"\n'
    path.write_text(text, "utf-8")
    taken = _taken()
    made.put({path.name: path.read_bytes() for path in taken})
    made.put({"mirrored.jpg": _mirrored(taken[0]), "same.png": _as_png(taken[1])})
    return made


def add_batch(project: Project) -> None:
    """A copy goes, and two come."""
    (project.folder / "photos" / "mirrored.jpg").unlink()
    taken = _taken()
    late = {"late.jpg": _mirrored(taken[2]), "late.png": _as_png(taken[3])}
    Photos(project.folder).put(late)


ALBUM = Sources(make_album, add_batch)


def _taken() -> list[Path]:
    return sorted((SAMPLES / "photos" / "hat").glob("*.jpg"))[:5]


def _mirrored(path: Path) -> bytes:
    with Image.open(path) as photo:
        return jpeg(ImageOps.mirror(photo.convert("RGB")))


def _as_png(path: Path) -> bytes:
    held = io.BytesIO()
    with Image.open(path) as photo:
        photo.convert("RGB").save(held, "PNG")
    return held.getvalue()
