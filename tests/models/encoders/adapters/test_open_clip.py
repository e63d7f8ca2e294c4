"""`open_clip:` against its stand-in: pictures, words, what tells two models apart, a whole run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image as PillowImage

from data.lake import Lake
from latentlake.cli.main import cli
from latentlake.errors import ConfigError, EncodeError, QueryError
from models.encoders.base import EncoderSpec
from models.encoders.registry import load_encoder
from tasks.stages.searching import SearchQuery, search
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

    from models.encoders.adapters.open_clip_models import OpenClipEncoder
    from models.types import Image, Matrix

pytestmark = pytest.mark.usefixtures("libraries")

COLOURS = {"red": (230, 20, 25), "green": (15, 200, 40), "blue": (20, 30, 220)}


def load(model: str = "Tiny-32", **options: Any) -> OpenClipEncoder:
    given = {"pretrained": "first"} | options
    spec = EncoderSpec(f"open_clip:{model}", json.dumps(given), device="cpu", threads=1)
    return cast("OpenClipEncoder", load_encoder(spec))


def reference(model: str, shown: list[PillowImage.Image]) -> Matrix:
    import open_clip

    clip = open_clip.create_model(model, pretrained="first").eval()
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in shown]))
    pixels = pixels.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in (open_clip.MEAN, open_clip.STD))
    with torch.inference_mode():
        found: Matrix = clip.encode_image((pixels - mean) / std, normalize=True).numpy()
    return found


def shortest(image: PillowImage.Image) -> PillowImage.Image:
    width, height = image.size
    longer = int(32 * max(image.size) / min(image.size))
    size = (32, longer) if width <= height else (longer, 32)
    image = image.resize(size, PillowImage.Resampling.BICUBIC)
    left, top = round((image.width - 32) / 2), round((image.height - 32) / 2)
    return image.crop((left, top, left + 32, top + 32))


def squashed(image: PillowImage.Image) -> PillowImage.Image:
    return image.resize((48, 32), PillowImage.Resampling.BILINEAR)


def longest(image: PillowImage.Image) -> PillowImage.Image:
    ratio = max(image.size) / 32
    size = (round(image.width / ratio), round(image.height / ratio))
    shown = PillowImage.new("RGB", (32, 32), (127, 127, 127))
    image = image.resize(size, PillowImage.Resampling.BICUBIC)
    shown.paste(image, ((32 - image.width) // 2, (32 - image.height) // 2))
    return shown


@pytest.mark.parametrize(
    ("model", "transform"),
    [("Tiny-32", shortest), ("Tiny-Squash", squashed), ("Tiny-Longest", longest)],
)
def test_pictures_are_those_of_the_library(model: str, transform: Any, photos: list[Image]) -> None:
    made = load(model, precision="float32")
    shown = [transform(PillowImage.fromarray(photo)) for photo in photos]
    prepared = [made.prepare(photo) for photo in photos]
    for found, wanted in zip(prepared, shown, strict=True):
        assert np.abs(found.astype(int) - np.asarray(wanted)).max() <= 2
    np.testing.assert_allclose(made.encode(prepared), reference(model, shown), atol=0.01)


def test_words_are_encoded_by_the_other_tower() -> None:
    import open_clip

    clip = open_clip.create_model("Tiny-32", pretrained="first")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("Tiny-32")(["a red dress"])
        expected = clip.encode_text(tokens, normalize=True).numpy()
    found = load().encode_query("a red dress")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found.shape, found.dtype.name) == ((1, 6), "float32")
    with pytest.raises(EncodeError, match="no word"):
        load().encode_query(" \n")


def test_the_fingerprint_covers_both_towers_and_not_their_origin(tmp_path: Path) -> None:
    import open_clip

    plain = load().fingerprint
    assert load(pretrained="second").fingerprint != plain
    assert load(precision="float32").fingerprint != plain
    weights = open_clip.published("first")
    torch.save(weights, tmp_path / "same.pt")
    assert load(pretrained=None, path=str(tmp_path / "same.pt")).fingerprint == plain
    weights["token_embedding.weight"][7] += 1  # seen by no image
    torch.save(weights, tmp_path / "other.pt")
    assert load(pretrained=None, path=str(tmp_path / "other.pt")).fingerprint != plain


def test_another_tokeniser_is_another_space(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    plain = load().fingerprint
    monkeypatch.setattr(open_clip, "CONTEXT", 8)
    assert load(precision="half").fingerprint != plain


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("Tiny-23", {}, "open_clip has no model 'Tiny-23'. Did you mean 'Tiny-32'?"),
        ("Tiny-32", {"pretrained": None}, 'options = { pretrained = "..." } with one of first, s'),
        ("Tiny-32", {"pretrained": "frist"}, "no weights 'frist'. Did you mean 'first'?"),
        ("Tiny-32", {"pretrained": None, "path": "no/file"}, "is not a known tag or valid file"),
    ],
)
def test_a_wrong_name_is_told(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(model, **options)
    assert message in str(caught.value)


# Search photos by words, as a user does.

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[spaces]]
name = "colours"
encoder = "open_clip:Tiny-32"
sources = ["photos"]
neighbours = 3
options = { pretrained = "first" }
[[spaces]]
name = "shapes"
encoder = "timm:tiny_cnn"
sources = ["photos"]
neighbours = 3
[run]
threads = 2
"""


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Project:
    """A lake of four shades of each colour, in two spaces."""
    del libraries
    made = Project(tmp_path_factory.mktemp("words") / "project")
    (made.folder / "photos").mkdir(parents=True)
    random = np.random.default_rng(3)
    for name, colour in COLOURS.items():
        for number in range(4):
            noise = random.integers(-15, 16, (60, 80, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            PillowImage.fromarray(pixels).save(made.folder / "photos" / f"{name}-{number}.png")
    (made.folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    assert made.run().errors == ()
    return made


def names(made: Project, **query: Any) -> list[str]:
    lake = Lake(made.settings.root)
    found = search(lake, made.settings, SearchQuery(**query))
    return [str(uri) for uri in found.hits["uri"].to_pylist()]


@pytest.mark.parametrize("colour", COLOURS)
def test_words_find_their_pictures(coloured: Project, colour: str) -> None:
    found = names(coloured, text=f"a {colour} dress", space="colours", k=4)
    assert sorted(found) == [f"{colour}-{number}.png" for number in range(4)]
    by_default = names(coloured, text=f"something {colour}", k=4)  # no space of texts is there
    assert sorted(by_default) == sorted(found)


def test_the_command_says_the_same(coloured: Project) -> None:
    config = str(coloured.folder / "latentlake.toml")
    asked = ["search", "--space", "colours", "a", "blue", "hat", "-k", "2", "--format", "json"]
    done = CliRunner().invoke(cli, [*asked, "--config", config], catch_exceptions=False)
    assert done.exit_code == 0
    assert [hit["uri"].partition("-")[0] for hit in json.loads(done.stdout)] == ["blue", "blue"]


def test_a_space_that_does_not_read_words_says_so(coloured: Project) -> None:
    with pytest.raises(QueryError, match="'timm:tiny_cnn' does not read words"):
        names(coloured, text="a red dress", space="shapes")
    photo = (coloured.folder / "photos" / "red-0.png").read_bytes()
    assert names(coloured, image=photo, space="shapes", k=1) == ["red-0.png"]
    with pytest.raises(QueryError, match="no word"):
        names(coloured, text=" ", space="colours")
