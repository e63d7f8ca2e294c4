"""`timm:` and `torchvision:` against Pillow and float32 torch, with stand-ins for the libraries."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file
from torch import Tensor, nn

from latentlake.errors import ConfigError, EncodeError, UnknownEncoderError
from models.encoders.base import EncoderSpec
from models.encoders.registry import find_encoder, load_encoder, parse_options

if TYPE_CHECKING:
    from pathlib import Path

    from models.encoders.base import Encoder
    from models.types import Image, Matrix

pytestmark = pytest.mark.usefixtures("libraries")

MODELS = (
    "timm:tiny_cnn",
    "timm:tiny_wide",
    "timm:tiny_squash",
    "timm:tiny_border",
    "torchvision:tiny_net",
)
RESAMPLING = {
    "bicubic": PillowImage.Resampling.BICUBIC,
    "bilinear": PillowImage.Resampling.BILINEAR,
}


def spec(name: str, **options: Any) -> EncoderSpec:
    return EncoderSpec(name, json.dumps(options), device="cpu", threads=1)


def load(name: str, **options: Any) -> Encoder[Any, Any]:
    return load_encoder(spec(name, **options))


def encode(made: Encoder[Any, Any], shown: list[Image]) -> Matrix:
    return made.encode([made.prepare(one) for one in shown])


def cosines(found: Matrix, expected: Matrix) -> Matrix:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    near: Matrix = (found * expected).sum(axis=1) / lengths
    return near


# The oracle: the libraries' own transforms, written down with Pillow, and a plain forward pass.


def centred(image: PillowImage.Image, height: int, width: int, fill: Any) -> PillowImage.Image:
    """Pad, the odd pixel after, then take the middle, halves to the even side."""
    more = max(0, width - image.width), max(0, height - image.height)
    padded = PillowImage.new("RGB", (image.width + more[0], image.height + more[1]), fill)
    padded.paste(image, (more[0] // 2, more[1] // 2))
    left, top = round((padded.width - width) / 2), round((padded.height - height) / 2)
    return padded.crop((left, top, left + width, top + height))


def as_timm(image: PillowImage.Image, config: dict[str, Any]) -> PillowImage.Image:
    _, height, width = config["input_size"]
    boxes = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    ratios = [had / box for had, box in zip((image.height, image.width), boxes, strict=True)]
    fill: Any = (0, 0, 0)
    if config["crop_mode"] == "squash":
        scaled = boxes
    elif config["crop_mode"] == "border":
        scaled = [round(had / max(ratios)) for had in (image.height, image.width)]
        fill = tuple(round(255 * part) for part in config["mean"])
    elif height == width:
        return as_torchvision(image, boxes[0], height, config["interpolation"])
    else:
        scaled = [round(had / min(ratios)) for had in (image.height, image.width)]
    method = RESAMPLING[config["interpolation"]]
    return centred(image.resize((scaled[1], scaled[0]), method), height, width, fill)


def as_torchvision(
    image: PillowImage.Image, shorter: int, crop: int, interpolation: str
) -> PillowImage.Image:
    longer = int(shorter * max(image.size) / min(image.size))
    size = (shorter, longer) if image.width <= image.height else (longer, shorter)
    return centred(image.resize(size, RESAMPLING[interpolation]), crop, crop, (0, 0, 0))


def forward(net: nn.Module, shown: list[PillowImage.Image], mean: Any, std: Any) -> Matrix:
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in shown]).copy())
    pixels = pixels.permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(mean).reshape(1, -1, 1, 1)) / torch.tensor(std).reshape(
        1, -1, 1, 1
    )
    with torch.inference_mode():
        found: Matrix = net.eval()(pixels).numpy()
    return found


def expected_of(name: str, shown: list[Image]) -> tuple[list[PillowImage.Image], Matrix]:
    images = [PillowImage.fromarray(one) for one in shown]
    family, _, model = name.partition(":")
    if family == "timm":
        import timm

        config = timm.CONFIGS[model]
        prepared = [as_timm(image, config) for image in images]
        net = timm.create_model(model, pretrained=True, num_classes=0)
        return prepared, forward(net, prepared, config["mean"], config["std"])
    from torchvision import models as zoo

    weights = zoo.get_model_weights(model).DEFAULT
    preset = weights.transforms()
    prepared = [
        as_torchvision(
            image, preset.resize_size[0], preset.crop_size[0], preset.interpolation.value
        )
        for image in images
    ]
    net = zoo.get_model(model, weights=weights)
    net.classifier = net.classifier[:2]
    return prepared, forward(net, prepared, preset.mean, preset.std)


@pytest.mark.parametrize("name", MODELS)
def test_pictures_are_prepared_as_the_library_would(name: str, photos: list[Image]) -> None:
    made = load(name, precision="float32")
    expected, _ = expected_of(name, photos)
    for photo, wanted in zip(photos, expected, strict=True):
        found = made.prepare(photo)
        assert found.shape == np.asarray(wanted).shape
        away = np.abs(found.astype(int) - np.asarray(wanted))
        assert away.max() <= 2
        assert away.mean() < 0.2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_vectors_are_those_of_the_library(name: str, engine: str, photos: list[Image]) -> None:
    _, expected = expected_of(name, photos)
    exact = load_encoder(replace(spec(name, precision="float32"), engine=engine))
    found = encode(exact, photos)
    assert cosines(found, expected).min() > 0.9999
    np.testing.assert_allclose(found, expected, atol=0.02)
    half = load_encoder(replace(spec(name), engine=engine))
    near = cosines(encode(half, photos), expected)
    assert near.mean() >= 0.998
    assert near.min() >= 0.995
    assert half.fingerprint != exact.fingerprint


def test_engines_share_a_fingerprint_and_models_do_not() -> None:
    seen = {name: load(name).fingerprint for name in MODELS}
    assert len(set(seen.values())) == len(MODELS)
    for name, fingerprint in seen.items():
        assert load_encoder(replace(spec(name), engine="torch")).fingerprint == fingerprint


def test_what_decides_the_vectors_is_in_the_fingerprint() -> None:
    plain = load("timm:tiny_cnn").fingerprint
    assert load("timm:tiny_cnn.a2_in1k").fingerprint != plain  # other weights
    assert load("timm:tiny_cnn", pooling="max").fingerprint != plain
    assert load("timm:tiny_cnn", precision="float32").fingerprint != plain
    first = load("torchvision:tiny_net", weights="IMAGENET1K_V1").fingerprint
    assert first != load("torchvision:tiny_net").fingerprint
    by_name = load("torchvision:tiny_net", weights="IMAGENET1K_V2").fingerprint
    assert by_name == load("torchvision:tiny_net").fingerprint


def test_max_pooling_is_what_timm_makes_of_it(photos: list[Image]) -> None:
    import timm

    config = timm.CONFIGS["tiny_cnn"]
    net = timm.create_model("tiny_cnn", pretrained=True, num_classes=0, global_pool="max")
    prepared = [as_timm(PillowImage.fromarray(one), config) for one in photos]
    expected = forward(net, prepared, config["mean"], config["std"])
    found = encode(load("timm:tiny_cnn", pooling="max", precision="float32"), photos)
    assert cosines(found, expected).min() > 0.999


# Weights from files.


def published(name: str) -> dict[str, Tensor]:
    library = importlib.import_module({"timm": "timm", "torchvision": "torchvision.models"}[name])
    weights: dict[str, Tensor] = (
        library.published("tiny_cnn", "a2_in1k")
        if name == "timm"
        else library.published("tiny_net", library.TinyNetWeights.IMAGENET1K_V2)
    )
    return weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".wrapped.pt"])
@pytest.mark.parametrize(
    ("family", "by_name", "by_file"),
    [
        ("timm", "timm:tiny_cnn.a2_in1k", "timm:tiny_cnn"),
        ("torchvision", "torchvision:tiny_net", "torchvision:tiny_net"),
    ],
)
def test_the_same_weights_from_a_file_are_the_same_space(
    tmp_path: Path, photos: list[Image], family: str, by_name: str, by_file: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    state = published(family)
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if "wrapped" in suffix else state, path)
    named, filed = load(by_name), load(by_file, path=str(path))
    assert named.fingerprint == filed.fingerprint
    np.testing.assert_array_equal(encode(named, photos), encode(filed, photos))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    state = published("timm")
    path = tmp_path / "weights.safetensors"
    save_file({key: part for key, part in state.items() if key != "body.bias"}, path)
    with pytest.raises(ConfigError, match=r"another network: it lacks body\.bias"):
        load("timm:tiny_cnn", path=str(path))
    save_file(state | {"extra.weight": torch.ones(2)}, path)
    with pytest.raises(ConfigError, match=r"another network: it has extra\.weight"):
        load("timm:tiny_cnn", path=str(path))
    save_file(state | {"body.bias": torch.ones(2)}, path)
    with pytest.raises(ConfigError, match=r"another network: .*size mismatch"):
        load("timm:tiny_cnn", path=str(path))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 100, b"\x80\x04K\x01."])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name}: "):
        load("timm:tiny_cnn", path=str(path))


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code ran')",))


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"stem.weight": Evil()}, path)
    with pytest.raises(ConfigError, match="more than tensors is in it"):
        load("timm:tiny_cnn", path=str(path))
    torch.save(["a list"], path)
    with pytest.raises(ConfigError, match="no state dict"):
        load("timm:tiny_cnn", path=str(path))


# What a user gets wrong.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:tiny_cn", {}, "timm has no model 'tiny_cn'. Did you mean 'tiny_cnn'?"),
        ("timm:tiny_cnn.in22k", {}, "Invalid pretrained tag"),
        ("timm:tiny_cnn", {"pooling": "sum"}, "Invalid pool type: sum"),
        ("timm:tiny_cnn", {"path": "no/such/file.pth"}, "no such file of weights"),
        ("timm:tiny_lanczos", {}, "resized by 'lanczos'; known are bicubic and bilinear"),
        ("timm:tiny_grey", {}, "takes 1 channels"),
        ("torchvision:tiny_nte", {}, "no image model 'tiny_nte'. Did you mean 'tiny_net'?"),
        ("torchvision:detector", {}, "no image model 'detector'"),
        ("torchvision:tiny_net", {"weights": "V9"}, "no weights 'V9', only: IMAGENET1K_V1"),
        ("torchvision:all_convolutions", {}, "do not come from a linear layer"),
    ],
)
def test_a_wrong_name_or_option_is_told(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(name, **options)
    assert message in str(caught.value)


def test_options_are_checked_without_the_library() -> None:
    with pytest.raises(ConfigError, match=r"has no option 'poling'\. Did you mean 'pooling'"):
        parse_options("timm:anything", {"poling": "avg"})
    with pytest.raises(UnknownEncoderError, match="Did you mean 'timm:resnet50'"):
        find_encoder("timms:resnet50")


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(EncodeError, match="'timm:tiny_cnn' takes"):
        load("timm:tiny_cnn").prepare(np.zeros((5, 5), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (3, 20_000), (20_000, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_any_shape_is_prepared_in_little_memory(name: str, shape: tuple[int, int]) -> None:
    made = load(name)
    prepared = made.prepare(np.full((*shape, 3), 200, np.uint8))
    assert prepared.shape == made.prepare(np.zeros((80, 80, 3), np.uint8)).shape
    assert (prepared == 200).any()


# What half precision promises is measured where a network is opened.


def test_a_network_that_does_not_stand_16_bits_is_computed_in_float32(
    tmp_path: Path, photos: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """Its features are differences of numbers so large that bfloat16 rounds the rest away."""
    state = published("timm")
    state["norm.bias"] = torch.full_like(state["norm.bias"], 1000.0)
    state["body.weight"][:, 8:] = -state["body.weight"][:, :8]
    state["body.bias"] = torch.zeros_like(state["body.bias"])
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    exact = load("timm:tiny_cnn", path=str(path), precision="float32")
    made = load("timm:tiny_cnn", path=str(path))
    assert cosines(encode(made, photos), encode(exact, photos)).min() >= 0.995
    assert made.fingerprint != exact.fingerprint
    assert made.describe()["engine"].endswith("float32")
    if "bfloat16" in load("timm:tiny_cnn").describe()["engine"]:
        assert "'timm:tiny_cnn' is computed in float32" in caplog.text


def test_a_network_that_openvino_cannot_convert_is_run_by_torch(
    photos: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    _, expected = expected_of("timm:tiny_odd", photos)
    made = load("timm:tiny_odd", precision="float32")
    found = encode(made, photos)
    assert cosines(found, expected).min() > 0.9999
    assert made.describe()["engine"].startswith("torch")
    assert "torch runs 'timm:tiny_odd': OpenVINO cannot convert it" in caplog.text
    with pytest.raises(ConfigError, match="engine 'openvino' cannot run"):
        load_encoder(replace(spec("timm:tiny_odd"), engine="openvino"))


def test_describe_is_json_and_names_the_library() -> None:
    said = json.loads(json.dumps(load("timm:tiny_cnn").describe()))
    assert said["libraries"]["timm"] == "1.0.31"
    assert said["preprocessing"]["scale"] == [73, 73]
    assert find_encoder("timm:tiny_cnn").recipe() == "timm:tiny_cnn revision=1 timm==1.0.31"
