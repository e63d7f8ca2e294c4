"""`--sheet`: the pictures of a report's rows, as a user asks for them."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data.sheets import TILE, PictureStrip, sheet_of
from latentlake.cli.main import cli
from latentlake.cli.sheets import duplicate_strip
from tests.cli.conftest import make_project

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


def squares(path: Path, count: int) -> list[npt.NDArray[np.int16]]:
    """The pictures of a sheet whose strips have one each."""
    with Image.open(path) as sheet:
        return [
            np.asarray(sheet.crop((left, GAP, left + TILE, GAP + TILE)), np.int16)
            for left in range(GAP, GAP + count * (TILE + 2 * GAP), TILE + 2 * GAP)
        ]


def test_what_a_search_finds_is_drawn_by_rank(
    invoke: Invoke, world: Project, tmp_path: Path
) -> None:
    path, photos = tmp_path / "hits.png", world.folder / "photos"
    query = next(photos.rglob("*.jpg"))
    asked = ("search", "--image", str(query), "--space", "cnn", "-k", "3", "--sheet", str(path))
    rows = json.loads(invoke(*asked, "--format", "json").stdout)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row, square in zip(rows, squares(path, 3), strict=True):
        assert np.abs(square - fitted(photos / row["uri"])).mean() < 6
    assert f"{path}: 3 of 3 rows drawn." in invoke(*asked).stdout


def test_clusters_are_drawn_by_their_medoids_and_one_by_its_members(
    invoke: Invoke, world: Project, tmp_path: Path
) -> None:
    path = tmp_path / "clusters.png"
    asked = ("clusters", "--space", "cnn", "--limit", "2", "--sheet", str(path))
    for more, name in (((), "medoid"), (("--id", "0"), "uri")):
        rows = json.loads(invoke(*asked, *more, "--format", "json").stdout)
        assert rows
        for row, square in zip(rows, squares(path, len(rows)), strict=True):
            true = fitted(world.folder / "photos" / row[name])
            assert np.abs(square - true).mean() < 6


def test_words_and_files_of_queries_have_no_sheet(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    words = invoke("search", "--space", "words_vocabulary", "the", "--sheet", str(path))
    assert words.exit_code == 1
    assert "none of these rows is about pictures" in words.stderr
    (tmp_path / "queries.txt").write_text("the\n")
    many = invoke("search", "--file", str(tmp_path / "queries.txt"), "--sheet", str(path))
    assert many.exit_code == 2
    assert "not with --file" in many.stderr
    assert not path.exists()


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


def test_the_least_sure_come_first_where_that_is_asked_for(tmp_path: Path, samples: Path) -> None:
    project = make_project(tmp_path / "project", samples)
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["abstract"] for line in islice(lines, 6)]
    notes = {f"whole-{number}": text for number, text in enumerate(texts)}
    for number, text in enumerate(texts):
        notes[f"cut-{number}"] = " ".join(text.split()[number:])  # fewer triples in common
    project.write_notes(notes | {"copy": texts[0]})
    assert project.run().errors == ()
    asked = ["duplicates", "--config", str(project.folder / "latentlake.toml"), "--format", "json"]

    def listed(*more: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(CliRunner().invoke(cli, [*asked, *more]).stdout)
        return [row for row in rows if row["space"] == "words"]

    rows = listed("--least-sure")
    assert {row["item_id"] for row in rows} == {row["item_id"] for row in listed()}
    doubtful = [row for row in rows if row["kind"] in {"lexical", "semantic"}]
    assert len(doubtful) >= 4
    assert rows[: len(doubtful)] == doubtful  # copies are sure
    margins = [row["score"] - row["threshold"] for row in doubtful]
    assert margins == sorted(margins)
    assert margins[0] < margins[-1]
