"""`python:module:function`: a user's function is an encoder, and what it refuses is set apart."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from data.catalog import connect
from latentlake.errors import ConfigError, EncodeError
from models.encoders.base import EncoderSpec
from models.encoders.plug_ins import ENTRY_POINT_GROUP
from models.encoders.registry import find_encoder, forget_encoders, load_encoder, parse_options
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.encoders.base import Encoder
    from models.types import Image

MODULE = """
import numpy as np

CALLS = []


def colours(pictures):
    CALLS.append(len(pictures))
    for picture in pictures:
        if picture.getpixel((0, 0)) == (13, 13, 13):
            raise ValueError("unlucky picture")
    return np.stack([np.asarray(p.resize((1, 1)), float).ravel() / 255 for p in pictures])


def means(arrays):
    return [array.mean(axis=(0, 1)) for array in arrays]


class Lengths:
    factor = 2

    def __call__(self, texts):
        return np.array([[len(text), self.factor * text.count(" ") + 1] for text in texts])


lengths = Lengths()
NOT_CALLABLE = 3


def ranks(texts):
    return np.argsort([len(text) for text in texts])[:, None] + 1.0


def fails(texts):
    raise RuntimeError("no model here")


def flat(texts):
    return np.ones(len(texts))


def infinite(texts):
    return np.full((len(texts), 2), np.inf)


def moody(texts):
    rows = np.array([[len(text), 1.0] for text in texts])
    if any("short" in text for text in texts):
        return rows[:-1]
    return np.where(["nan" in text for text in texts], np.nan, rows.T).T
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, found on sys.path."""
    path = tmp_path / "mine" / "my_model.py"
    path.parent.mkdir()
    path.write_text(MODULE, "utf-8")
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    forget_encoders()
    yield path
    forget_encoders()
    sys.modules.pop("my_model", None)


def load(function: str, **options: Any) -> Encoder[Any, Any]:
    name = f"python:my_model:{function}"
    parse_options(name, options)
    return load_encoder(EncoderSpec(name, json.dumps(options)))


def reload(function: str, **options: Any) -> Encoder[Any, Any]:
    forget_encoders()
    sys.modules.pop("my_model", None)
    return load(function, **options)


@pytest.mark.usefixtures("module")
def test_pictures_come_as_pil_images_or_arrays(photos: list[Image]) -> None:
    made = load("colours", modality="image")
    found = made.encode([made.prepare(photo) for photo in photos])
    expected = [
        np.asarray(PillowImage.fromarray(photo).resize((1, 1))).ravel() / 255 for photo in photos
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    arrays = load("means", modality="image", form="array")
    found = arrays.encode([arrays.prepare(photo) for photo in photos])
    np.testing.assert_allclose(found, [photo.mean(axis=(0, 1)) for photo in photos], rtol=1e-5)
    assert (arrays.dim, found.dtype.name) == (3, "float32")


@pytest.mark.usefixtures("module")
def test_texts_come_as_they_are_and_any_callable_does() -> None:
    made = load("lengths", modality="text", metric="l2", dim=2)
    assert made.encode([made.prepare("a b c")]).tolist() == [[5, 5]]
    assert (str(made.modality), str(made.metric), made.dim) == ("text", "l2", 2)
    assert made.encode([]).shape == (0, 2)


@pytest.mark.usefixtures("module")
def test_no_call_is_longer_than_asked_for(photos: list[Image]) -> None:
    made = load("colours", modality="image", batch_size=3)
    calls = sys.modules["my_model"].CALLS
    calls.clear()
    made.encode([made.prepare(photo) for photo in photos])
    assert calls == [3, 3, 1]


def test_the_code_or_a_version_is_in_the_fingerprint(module: Path) -> None:
    plain = load("lengths", modality="text").fingerprint
    versioned = load("lengths", modality="text", version="1").fingerprint
    recipe = find_encoder("python:my_model:lengths").recipe()
    assert load("lengths", modality="text", batch_size=5).fingerprint == plain
    assert load("lengths", modality="text", dim=2).fingerprint == plain
    assert len({plain, versioned, load("lengths", modality="text", metric="l2").fingerprint}) == 3
    module.write_text(MODULE.replace("factor = 2", "factor = 33"), "utf-8")
    assert reload("lengths", modality="text").fingerprint != plain
    assert find_encoder("python:my_model:lengths").recipe() != recipe
    assert reload("lengths", modality="text", version="1").fingerprint == versioned
    assert reload("lengths", modality="text", version="2").fingerprint != versioned


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("lenghts", {}, "has no 'lenghts'. Did you mean 'lengths'?"),
        ("NOT_CALLABLE", {}, "is a int, not a function"),
        ("fails", {}, "tried on two items: 'python:my_model:fails' raised RuntimeError: no model"),
        ("flat", {}, "returned shape (2,) for 2 items"),
        ("infinite", {}, "numbers that are not finite"),
        ("ranks", {}, "row depends on its batch"),
        ("lengths", {"dim": 3}, "returned shape (2, 2) for 2 items, not 3 numbers for each"),
    ],
)
def test_a_function_that_is_no_encoder_is_told(
    function: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(function, modality="text", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["python:no_such_module:f", "python:no.such:f", "python:json"])
def test_a_module_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=r"PYTHONPATH|write python:module:function"):
        load_encoder(EncoderSpec(name, '{"modality": "text"}'))


def test_a_modality_is_needed() -> None:
    with pytest.raises(ConfigError, match="option 'modality'"):
        parse_options("python:my_model:lengths", {})


@pytest.mark.usefixtures("module")
def test_what_it_raises_or_returns_for_a_batch_is_an_encode_error() -> None:
    made = load("moody", modality="text")
    with pytest.raises(EncodeError, match=r"returned shape \(1, 2\) for 2 items"):
        made.encode(["fine", "short"])
    with pytest.raises(EncodeError, match="not finite"):
        made.encode(["fine", "nan"])


@pytest.mark.usefixtures("module")
def test_a_package_announces_a_plain_function(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [metadata.EntryPoint("my-lengths", "my_model:lengths", ENTRY_POINT_GROUP)]
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: entries if group else [])
    entry = find_encoder("my-lengths")
    options = parse_options("my-lengths", {"modality": "text"})
    assert entry.modality_with(options) == "text"
    assert "code=" in entry.recipe()
    made = load_encoder(EncoderSpec("my-lengths", '{"modality": "text"}'))
    assert made.encode(["a b"]).tolist() == [[3, 3]]
    assert made.fingerprint == load("lengths", modality="text").fingerprint


# A whole run, with pictures that the function refuses among the others.

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[spaces]]
name = "mine"
encoder = "python:my_model:colours"
sources = ["photos"]
neighbours = 3
options = { modality = "image", dim = 3, batch_size = 8 }
[run]
threads = 2
batch_size = BATCH
"""


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("batch", ['"auto"', "3"])
def test_a_run_sets_apart_what_the_function_refuses(tmp_path: Path, batch: str) -> None:
    made = Project(tmp_path / "project")
    (made.folder / "photos").mkdir(parents=True)
    for number in range(20):
        colour = (13, 13, 13) if number in (4, 11) else (10 * number + 20, 99, 255 - 12 * number)
        picture = PillowImage.new("RGB", (6 + number, 9), colour)
        picture.save(made.folder / "photos" / f"{number}.png")
    config = made.folder / "latentlake.toml"
    config.write_text(CONFIG.replace("BATCH", batch), "utf-8")
    assert made.run().errors == ()
    with connect(made.lake) as connection:
        rows = connection.sql(
            "SELECT uri, vector::FLOAT[] FROM items JOIN embeddings_mine USING (content_id)"
        ).fetchall()
        refused = connection.sql("SELECT uri, stage, message FROM quarantine").fetchall()
    assert sorted(uri for uri, *_ in refused) == ["11.png", "4.png"]
    assert {stage for _, stage, _ in refused} == {"encode"}
    assert "raised ValueError: unlucky picture" in refused[0][2]
    assert len(rows) == 18
    for uri, vector in rows:
        number = int(uri.partition(".")[0])
        expected = np.array([10 * number + 20, 99, 255 - 12 * number]) / 255
        np.testing.assert_allclose(vector, expected, atol=1e-5)
