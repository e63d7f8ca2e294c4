"""Photos are decided on by their pixels: against brute force, in batches, when some are gone."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from data.images import decode_image
from models.analysis.evidence import LEAST_BACKGROUND, MOST_BACKGROUND
from models.analysis.local_features import gradient_correlation, local_features, shared_inliers
from tasks.stages.builds import last_build
from tasks.stages.candidates import LEAST_EXCESS
from tasks.stages.edges import stored_edges
from tasks.stages.features import describe_photos
from tasks.stages.spaces import known_space, space_vectors
from tests.tasks.conftest import Project, age

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "{uri}"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
neighbours = 8
duplicates = {{ {duplicates} }}
[run]
threads = 2
"""


def jpeg(photo: Image.Image, quality: int = 90) -> bytes:
    held = io.BytesIO()
    photo.convert("RGB").save(held, "JPEG", quality=quality)
    return held.getvalue()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "mirrored": lambda photo: jpeg(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "cropped": lambda photo: jpeg(photo.crop((30, 30, photo.width, photo.height))),
    "small": lambda photo: jpeg(photo.resize((photo.width * 2 // 3, photo.height * 2 // 3))),
    "rough": lambda photo: jpeg(photo, 20),
}


@pytest.fixture(scope="module")
def photos(samples: Path) -> dict[str, bytes]:
    """Sixteen photos, and two copies each of four of them."""
    folders = sorted(path for path in (samples / "photos").iterdir() if path.is_dir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:3]][:16]
    made = {f"{n:02}.jpg": path.read_bytes() for n, path in enumerate(paths)}
    for n, raw in enumerate(list(made.values())[:4]):
        photo = Image.fromarray(decode_image(raw))
        for name in list(CHANGES)[n % 2 :: 2]:
            made[f"{n:02}-{name}.jpg"] = CHANGES[name](photo)
    return made


class Photos(Project):
    """A project whose only source is a folder of photos, or a tar of them."""

    def configure(self, uri: str = "photos", duplicates: str = "") -> None:
        (self.folder / "photos").mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(uri=uri, duplicates=duplicates)
        (self.folder / "latentlake.toml").write_text(text, "utf-8")

    def put(self, photos: dict[str, bytes]) -> None:
        for name, raw in photos.items():
            path = self.folder / "photos" / name
            path.write_bytes(raw)
            age(path)

    def details(self, stage: str) -> dict[str, Any]:
        build = last_build(self.lake, stage, known_space(self.lake, "cnn"))
        assert build is not None
        found: dict[str, Any] = json.loads(build["details"])
        return found

    def evidence(self) -> dict[frozenset[str], tuple[float, int, float | None]]:
        rows = self.lake.read("verified_pairs").to_pylist()
        return {
            frozenset((row["first"], row["second"])): (
                round(row["similarity"], 5),
                row["inliers"],
                row["correlation"],
            )
            for row in rows
        }

    def decisions(self) -> set[tuple[str, str, str]]:
        """Return (removed, kept, kind) by the names of the files."""
        names = {row["item_id"]: row["uri"] for row in self.lake.read("items").to_pylist()}
        return {
            (names[row["item_id"]], names[row["twin_id"]], row["kind"])
            for row in self.lake.read("duplicates").to_pylist()
        }


@pytest.fixture
def album(tmp_path: Path) -> Photos:
    made = Photos(tmp_path / "album")
    made.configure()
    return made


def expected_scores(album: Photos) -> dict[frozenset[str], tuple[float, float, int]]:
    """Compute similarity, score and inliers of all candidates by brute force."""
    lake, settings = album.lake, album.settings
    vectors = space_vectors(lake, settings, known_space(lake, "cnn"))
    ids = vectors.content_ids.to_pylist()
    matrix = np.concatenate(list(vectors.batches(1000))).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = matrix @ matrix.T
    np.fill_diagonal(cosines, -1)
    lists = np.argsort(-cosines, axis=1)[:, :8]
    near = np.sort(cosines, axis=1)[:, ::-1][:, 4:8].mean(axis=1)
    background = np.clip(near, LEAST_BACKGROUND, MOST_BACKGROUND)
    files = {row["content_id"]: row["uri"] for row in lake.read("items").to_pylist()}
    folder = album.folder / "photos"
    features = {
        one: local_features(decode_image((folder / name).read_bytes(), 320))
        for one, name in files.items()
    }
    found = {}
    for a, b in combinations(range(len(ids)), 2):
        over = cosines[a, b] - (background[a] + background[b]) / 2
        linked = b in lists[a] or a in lists[b] or cosines[a, b] >= 0.9
        if linked and over >= LEAST_EXCESS:
            left, right = (features[one] for one in sorted((ids[a], ids[b])))
            inliers = shared_inliers(left, right)
            slopes = gradient_correlation(left, right)
            seen = min(np.log1p(inliers), 5) / 10
            if slopes is not None:
                seen = max(seen, min(max(slopes - 0.8, 0), 0.2) * 2.5)
            found[frozenset((ids[a], ids[b]))] = (cosines[a, b], over + seen, inliers)
    return found


def test_the_edges_are_what_brute_force_and_the_pixels_say(
    album: Photos, photos: dict[str, bytes]
) -> None:
    album.put(photos)
    assert not album.run().errors
    expected = expected_scores(album)
    assert len(expected) > 12
    lake, settings, space = album.lake, album.settings, known_space(album.lake, "cnn")
    vectors = space_vectors(lake, settings, space)
    edges, ids = stored_edges(lake, settings, space, vectors), vectors.content_ids.to_pylist()
    assert edges.count == len(expected)
    told = zip(edges.first, edges.second, edges.similarities, edges.scores, strict=True)
    for first, second, similarity, score in told:
        wanted = expected[frozenset((ids[first], ids[second]))]
        assert similarity == pytest.approx(wanted[0], abs=1e-5)
        assert score == pytest.approx(wanted[1], abs=3e-4)
    stored = {pair: row[1] for pair, row in album.evidence().items()}
    assert stored == {pair: inliers for pair, (_, _, inliers) in expected.items()}
    for row in lake.read("duplicates").to_pylist():
        assert (row["kind"], row["threshold"]) == ("perceptual", np.float32(0.48))
        assert row["score"] >= row["threshold"]
    found = {removed[:2] for removed, _, _ in album.decisions()}
    assert {(removed[:2], kept[:2]) for removed, kept, _ in album.decisions()} == {
        (one, one) for one in found
    }, "each copy goes with its original"
    assert len(album.decisions()) == 8


def test_a_batch_is_compared_with_what_is_there_and_nothing_twice(
    album: Photos, photos: dict[str, bytes], tmp_path: Path
) -> None:
    names, details = list(photos), {}
    for start, stop in ((0, 14), (14, 20), (20, len(names))):
        album.put({name: photos[name] for name in names[start:stop]})
        before = album.evidence() if start else {}
        assert not album.run().errors
        details = album.details("verified")
        assert details["looked_at"] == len(album.evidence().keys() - before.keys())
        assert details["looked_at"] > 0
    assert details["looked_at"] < details["pairs"] / 2
    (album.folder / "photos" / names[0]).unlink()
    album.run()
    assert album.details("verified")["looked_at"] <= 3, "lists that had it as neighbour"
    whole = Photos(tmp_path / "whole")
    whole.configure()
    whole.put({name: raw for name, raw in photos.items() if name != names[0]})
    whole.run()
    assert whole.evidence() == album.evidence()
    assert whole.decisions() == album.decisions()
    assert not album.run().changed


def test_photos_in_a_tar_are_read_where_they_are(
    album: Photos, photos: dict[str, bytes], tmp_path: Path
) -> None:
    album.put(photos)
    album.run()
    other = Photos(tmp_path / "other")
    other.configure(uri="photos.tar")
    with tarfile.open(other.folder / "photos.tar", "w") as tar:
        for name, raw in photos.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    assert not other.run().errors
    assert other.evidence() == album.evidence()
    assert len(other.decisions()) == len(album.decisions())


def test_a_photo_that_has_gone_leaves_its_pairs_to_the_vectors(
    album: Photos, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    album.put(photos)
    place = album.folder / "photos" / "00.jpg"

    def late(*arguments: Any) -> Any:
        place.unlink()
        return describe_photos(*arguments)

    monkeypatch.setattr("tasks.stages.photo_pairs.describe_photos", late)
    summary = album.run()
    monkeypatch.undo()
    (receipt,) = [one for one in summary.receipts if one.stage == "duplicates"]
    assert receipt.counts["unread"] == 1
    assert "1 photos could not be read again" in " ".join(receipt.notes)
    kinds = {kind for removed, kept, kind in album.decisions() if "00" in (removed[:2], kept[:2])}
    assert "near" in kinds or not kinds
    album.put({"00.jpg": photos["00.jpg"]})
    album.run()
    assert album.details("verified")["unread"] == 0
    assert {kind for removed, _, kind in album.decisions() if removed[:2] == "00"} == {"perceptual"}
    assert not album.run().changed


def test_without_verification_the_similarity_decides(
    album: Photos, photos: dict[str, bytes]
) -> None:
    album.put(photos)
    album.run()
    verified = album.decisions()
    album.configure(duplicates="verify = false, threshold = 0.8")
    album.run()
    rows = album.lake.read("duplicates").to_pylist()
    assert album.evidence() == {}
    assert rows
    assert {row["kind"] for row in rows} == {"perceptual"}
    assert all(row["score"] == row["similarity"] >= 0.8 for row in rows)
    album.configure()
    album.run()
    assert album.decisions() == verified
