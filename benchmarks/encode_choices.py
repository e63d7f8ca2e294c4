"""What the ways that were considered for decision 0012 cost, and how far they move the vectors.

Speed is that of one thread, by processor time; faithfulness is the cosine of efficientnet-lite0's
float32 features to those of the first row of each table.

    .venv/bin/python benchmarks/encode_choices.py --photos FOLDER

OpenCV's row is left out where OpenCV is not installed.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
import torch
from PIL import Image as PillowImage

from models.encoders.base import EncoderSpec
from models.encoders.efficientnet_lite import CROP_SHARE, EfficientNetLite0, network
from models.encoders.engines.openvino_engine import OpenVinoEngine
from models.encoders.engines.torch_engine import TorchEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.encoders.engines.base import Engine
    from models.types import Image, Matrix

SAMPLES = Path(__file__).parents[1] / "data" / "samples" / "photos"
REFERENCE = EncoderSpec(
    "efficientnet-lite0", '{"precision": "float32"}', device="cpu", threads=1, engine="torch"
)


def by_pillow(payload: bytes) -> Image:
    """Decode by Pillow, and crop and resize by it."""
    photo = np.asarray(PillowImage.open(io.BytesIO(payload)).convert("RGB"))
    square = PillowImage.fromarray(_square(photo))
    return np.asarray(square.resize((224, 224), PillowImage.Resampling.BICUBIC))


def by_turbo(encoder: EfficientNetLite0, how: dict[str, Any], payload: bytes) -> Image:
    """Decode by libjpeg-turbo, and prepare as the encoder does."""
    return encoder.prepare(simplejpeg.decode_jpeg(payload, "RGB", **how))


def by_opencv(payload: bytes) -> Image:
    """Decode by libjpeg-turbo, and resize linearly without smoothing."""
    import cv2  # type: ignore[import-not-found, unused-ignore]

    cv2.setNumThreads(1)
    square = _square(simplejpeg.decode_jpeg(payload, "RGB"))
    return np.asarray(cv2.resize(square, (224, 224), interpolation=cv2.INTER_LINEAR), np.uint8)


def _square(photo: Image) -> Image:
    """The encoder's crop: what it would resize to a square of the same size."""
    side = max(1, round(min(photo.shape[:2]) * CROP_SHARE))
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def timed(call: Callable[..., Any], *inputs: Any) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returned."""
    began = time.process_time()
    found = call(*inputs)
    return time.process_time() - began, found


def compare(found: Matrix, expected: Matrix) -> str:
    """Return the mean and the least cosine of two matrices' rows, for the table."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    near = (found * expected).sum(axis=1) / lengths
    return f"{near.mean():.4f} on average, {near.min():.4f} at worst"


def decoding(encoder: EfficientNetLite0, payloads: list[bytes]) -> list[Image]:
    """Print the ways to prepare a JPEG; return what the encoder's own way gives."""
    turbo = partial(partial, by_turbo, encoder)
    ways: dict[str, Callable[[bytes], Image]] = {
        "Pillow": by_pillow,
        "turbo, accurate": turbo({}),
        "turbo, fast DCT and upsampling": turbo({"fastdct": True, "fastupsample": True}),
        "turbo, at least 224 pixels": turbo({"min_height": 224, "min_width": 224}),
        "turbo, at least 896 pixels": turbo({"min_height": 896, "min_width": 896}),
    }
    if find_spec("cv2"):
        ways["turbo, OpenCV linear"] = by_opencv
    vectors: dict[str, Matrix] = {}
    prepared: dict[str, list[Image]] = {}
    for name, way in ways.items():
        seconds, prepared[name] = timed(lambda use: [use(payload) for payload in payloads], way)
        vectors[name] = encoder.encode(prepared[name])
        near = compare(vectors[name], vectors["Pillow"])
        print(f"{name:32} {len(payloads) / seconds:7.0f} a second   cosine {near}")
    return prepared["turbo, accurate"]


def engines(prepared: list[Image]) -> None:
    """Print what each engine and precision makes of prepared photos."""
    rows = len(prepared) // 4 * 4
    slices = [(np.stack(prepared[start : start + 4]),) for start in range(0, rows, 4)]
    plain = replace(network(), keep_float32=())
    made: dict[str, Callable[[], Engine]] = {
        "torch float32": lambda: TorchEngine(network(), torch.device("cpu"), "float32", 1),
        "OpenVINO float32": lambda: OpenVinoEngine(network(), "float32", 1, None),
        "OpenVINO half": lambda: OpenVinoEngine(network(), "half", 1, None),
        "OpenVINO half, every layer": lambda: OpenVinoEngine(plain, "half", 1, None),
    }
    expected: Matrix | None = None
    for name, make in made.items():
        engine = make()
        engine.compute(slices[:2])
        seconds, found = timed(lambda use: np.concatenate(use.compute(slices)), engine)
        expected = found if expected is None else expected
        print(f"{name:32} {rows / seconds:7.0f} a second   cosine {compare(found, expected)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=SAMPLES)
    parser.add_argument("--count", type=int, default=256)
    asked = parser.parse_args()
    encoder = EfficientNetLite0.load(REFERENCE)
    payloads = []
    for path in sorted(asked.photos.rglob("*.jpg"))[: asked.count]:
        try:
            by_pillow(path.read_bytes())
        except OSError:
            continue  # the samples hold broken files on purpose
        payloads.append(path.read_bytes())
    print(f"{len(payloads)} photos, one thread")
    engines(decoding(encoder, payloads))


if __name__ == "__main__":
    main()
