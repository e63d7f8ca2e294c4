"""`--sheet`: the pictures of a report's rows, as a user asks for them."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from data.sheets import TILE, PictureStrip, sheet_of
from latentlake.cli.sheets import duplicate_strip

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tests.cli.conftest import Invoke
    from tests.tasks.conftest import Project

GAP = 8


def tile(sheet: Image.Image, column: int) -> npt.NDArray[np.int16]:
    left = GAP + column * (TILE + GAP)
    return np.asarray(sheet.crop((left, GAP, left + TILE, GAP + TILE)), np.int16)


def fitted(path: Path) -> npt.NDArray[np.int16]:
    """Return a picture as a tile shows it, by Pillow alone."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((TILE, TILE))
    square = Image.new("RGB", (TILE, TILE), "white")
    square.paste(small, ((TILE - small.width) // 2, TILE - small.height))
    return np.asarray(square, np.int16)


def test_what_goes_is_drawn_beside_what_stays(
    invoke: Invoke, world: Project, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.png"
    done = invoke("duplicates", "--space", "cnn", "--limit", "1", "--sheet", str(path))
    assert done.exit_code == 0, done.stderr
    assert f"{path}: 1 of 1 rows drawn." in done.stdout
    shown = invoke("duplicates", "--space", "cnn", "--limit", "1", "--format", "json")
    row = json.loads(shown.stdout)[0]
    assert duplicate_strip(row).items == (row["item_id"], row["twin_id"])
    with Image.open(path) as sheet:
        assert sheet.width == 2 * TILE + 4 * GAP
        for column, name in enumerate((row["removed"], row["kept"])):
            true = fitted(world.folder / "photos" / name)
            assert np.abs(tile(sheet, column) - true).mean() < 6  # scaled as it was decoded


def test_a_plan_is_drawn_as_the_report_is(invoke: Invoke, tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert invoke("duplicates", "--space", "cnn", "--sheet", str(one)).exit_code == 0
    done = invoke("duplicates", "--space", "cnn", "--dry-run", "--sheet", str(other))
    assert f"{other}: 1 of 1 rows drawn." in done.stdout
    assert other.read_bytes() == one.read_bytes()


def test_odd_pictures_are_drawn_by_rank(invoke: Invoke, world: Project, tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    done = invoke(
        "anomalies", "--space", "cnn", "-n", "3", "--sheet", str(path), "--format", "json"
    )
    rows = json.loads(done.stdout)  # what is drawn is not told among the rows
    with Image.open(path) as sheet:
        assert sheet.format == "JPEG"
        for column, row in enumerate(rows):
            left = 2 * GAP * column + column * TILE + GAP
            square = sheet.crop((left, GAP, left + TILE, GAP + TILE))
            true = fitted(world.folder / "photos" / row["uri"])
            assert np.abs(np.asarray(square, np.int16) - true).mean() < 10


def test_what_cannot_be_drawn_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "texts.png"
    texts = invoke("duplicates", "--space", "words", "--sheet", str(path))
    assert texts.exit_code == 1
    assert "none of these rows is about pictures" in texts.stderr
    page = invoke("duplicates", "--sheet", str(tmp_path / "page.html"))
    assert page.exit_code == 2
    assert "ends with .jpg or .png" in page.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["", "short", "x" * 5000, "Grüße/写真.jpg", "\x1b[31m\u202e\n", "\ud800"]
)
def test_any_name_is_written_below_a_picture(line: str) -> None:
    black = np.zeros((180, 360, 3), np.uint8)
    drawn = sheet_of([PictureStrip((black, None), (line,))] * 4, ".png")
    with Image.open(BytesIO(drawn)) as sheet:
        assert sheet.size == (3 * (2 * TILE + 3 * GAP) + GAP, 2 * (TILE + 14 + 2 * GAP) + GAP)
        assert (tile(sheet, 0)[-90:] == 0).all()  # as wide as a tile
        assert (tile(sheet, 0)[:90] == 255).all()
        assert (tile(sheet, 1) == 224).all()
