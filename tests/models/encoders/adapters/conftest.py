"""The stand-ins for libraries of models, and some photos of many shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from models.encoders.registry import forget_encoders
from tests.standins.install import standins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.types import Image

SHAPES = ((400, 533), (533, 400), (300, 300), (64, 64), (40, 90), (61, 57), (900, 200))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    forget_encoders()
    with standins(tmp_path_factory.mktemp("dist-info")):
        yield
    forget_encoders()


@pytest.fixture(scope="session")
def photos(samples: Path) -> list[Image]:
    """Photos of many shapes, (height, width, 3) uint8."""
    paths = sorted((samples / "photos" / "hat").glob("*-*.jpg"))[: len(SHAPES)]
    return [
        np.asarray(PillowImage.open(path).convert("RGB").resize(shape[::-1]))
        for path, shape in zip(paths, SHAPES, strict=True)
    ]
