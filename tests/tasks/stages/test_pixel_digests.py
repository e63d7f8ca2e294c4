"""Pictures of equal pixels, whatever they are stored as, against decoding all of them."""

from __future__ import annotations

import io
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from data.content import content_id
from data.images import decode_image
from tasks.stages import pixel_digests
from tasks.stages.indexing import index_space
from tasks.stages.maintaining import CompactionOptions, compact_lake
from tasks.stages.neighbours import link_neighbours
from tasks.stages.reporting import report_space
from tasks.stages.spaces import known_space, space_vectors
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
neighbours = 3
[run]
threads = 2
"""


def stored_as(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture(scope="module")
def photos(samples: Path) -> dict[str, bytes]:
    """Four photos; two of them in other containers, one of these so large that it is shrunk."""
    paths = sorted((samples / "photos" / "hat").glob("*.jpg"))[:4]
    made = {path.name: path.read_bytes() for path in paths}
    first, second = (decode_image(payload) for payload in list(made.values())[:2])
    made["first.png"] = stored_as(first, format="PNG", compress_level=1)
    made["first smaller.png"] = stored_as(first, format="PNG", compress_level=9)
    made["first.webp"] = stored_as(first, format="WEBP", lossless=True)
    made["first turned.png"] = stored_as(np.rot90(first), format="PNG", exif=turned(6))
    one_off = first.copy()
    one_off[0, 0, 0] ^= 1
    made["one bit off.png"] = stored_as(one_off, format="PNG")
    large = np.asarray(Image.fromarray(second).resize((1600, 1200), Image.Resampling.BICUBIC))
    made["large.jpg"] = stored_as(large, format="JPEG", quality=90)
    made["large.png"] = stored_as(decode_image(made["large.jpg"]), format="PNG", compress_level=1)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    (made.folder / "photos").mkdir(parents=True)
    (made.folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    return made


def place(project: Project, photos: dict[str, bytes]) -> None:
    for name, payload in photos.items():
        (project.folder / "photos" / name).write_bytes(payload)


def derive(project: Project) -> None:
    project.ingest("photos")
    project.embed("cnn")
    lake, settings = project.lake, project.settings
    index_space(lake, settings, "cnn", "run")
    link_neighbours(lake, settings, "cnn", "run")
    report_space(lake, settings, "cnn", "duplicates", "run")


def equal(photos: dict[str, bytes]) -> set[frozenset[str]]:
    """Return the pairs of contents whose pixels are equal, by decoding each."""
    pixels = {content_id(payload): decode_image(payload) for payload in photos.values()}
    return {
        frozenset((one, other))
        for one, other in combinations(pixels, 2)
        if np.array_equal(pixels[one], pixels[other])
    }


def found(project: Project) -> set[frozenset[str]]:
    vectors = space_vectors(project.lake, project.settings, known_space(project.lake, "cnn"))
    pairs = pixel_digests.equal_pixels(project.lake, vectors, 1000)
    ids = vectors.content_ids.to_pylist()
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return {frozenset((ids[one], ids[other])) for one, other in rows}


def test_equal_pixels_are_found_in_any_container(
    project: Project, photos: dict[str, bytes]
) -> None:
    place(project, photos)
    derive(project)
    wanted = equal(photos)
    assert len(wanted) == 11  # five stand for the first photo, two for the large one
    assert found(project) == wanted
    rows = project.lake.read("duplicates").to_pylist()
    items = {row["item_id"]: row for row in project.lake.read("items").to_pylist()}
    for row in rows:
        pair = frozenset(items[row[name]]["content_id"] for name in ("item_id", "twin_id"))
        assert (row["kind"] == "pixels") == (pair in wanted)
        if row["kind"] == "pixels":
            assert (row["score"], row["threshold"]) == (1, 1)
    removed = {row["item_id"] for row in rows}
    kept = {row["content_id"] for item, row in items.items() if item not in removed}
    assert not [pair for pair in wanted if pair <= kept]


def test_only_what_may_be_equal_is_decoded_and_only_once(
    project: Project, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(photos)
    plain, later = names[:4], names[4:]
    place(project, {name: photos[name] for name in plain})
    derive(project)
    assert project.lake.read("pixels").num_rows == 0  # four photos unlike each other
    place(project, {name: photos[name] for name in later})
    derive(project)
    assert found(project) == equal(photos)
    digested = project.lake.read("pixels")["content_id"].to_pylist()
    assert len(digested) == len(set(digested)) < len(photos)
    # Nothing is read again when more comes.
    monkeypatch.setattr(pixel_digests._Digester, "prepare", None)
    (project.folder / "photos" / later[0]).unlink()
    derive(project)
    left = {name: payload for name, payload in photos.items() if name != later[0]}
    assert found(project) == equal(left)


def test_digests_of_pictures_that_have_gone_are_dropped_by_compaction(
    project: Project, photos: dict[str, bytes]
) -> None:
    place(project, {name: photos[name] for name in list(photos)[:6]})
    project.run()
    before = project.lake.read("pixels").num_rows
    (project.folder / "photos" / "first.png").unlink()
    project.run()
    compact_lake(project.lake, project.settings, CompactionOptions(drop_unused=True))
    assert project.lake.read("pixels").num_rows == before - 1
