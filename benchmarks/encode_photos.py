"""How fast do JPEG files become committed vectors, and what is the most that is possible?

Over the same files, in rounds that take turns, so that load on the machine hits all alike:

* `ours`: the stage `embed` of a lake, from files to committed shards;
* `decode` and `forward`: our parts alone, on all cores; their sum 1/(1/decode + 1/forward) is the
  bound for one machine that does both;
* `peer`: what people write: torch's DataLoader (2 workers, Pillow) and the published network in
  eager float32, 32 images at once (`peer_photos.py`, a process of its own);
* `tuned peer`: the same DataLoader with our network in eager float32: batch normalisation folded,
  channels last, bytes instead of floats from the workers, threads that sleep while they wait.

    .venv/bin/pip install -c constraints.txt -e '.[cpu,bench]'
    .venv/bin/python benchmarks/encode_photos.py --photos FOLDER... [--rounds 3]

The folders are searched for .jpg files; without any the bundled samples are taken. Prints the table
and writes benchmarks/results/encode_photos.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from encode_lake import embed_seconds, machine
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from data.images import decode_image
from latentlake.errors import BadInputError
from models.encoders.base import EncoderSpec
from models.encoders.efficientnet_lite import EfficientNetLite0, features_module

if TYPE_CHECKING:
    import numpy.typing as npt

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "data" / "samples" / "photos"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
"""


class Photos(Dataset[torch.Tensor]):
    """Files as (224, 224, 3) uint8 tensors, by Pillow, as torchvision's usual transforms do it."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as opened:
            photo = opened.convert("RGB")
        scale = 256 / min(photo.size)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
        left, top = (photo.width - 224) // 2, (photo.height - 224) // 2
        square = photo.crop((left, top, left + 224, top + 224))
        return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(224, 224, 3)


def decode_all(encoder: EfficientNetLite0, paths: list[Path]) -> list[npt.NDArray[Any]]:
    """Read, decode and prepare the files on all cores."""

    def work(path: Path) -> npt.NDArray[Any]:
        return encoder.prepare(decode_image(path.read_bytes(), encoder.min_side))

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(work, paths))


def forward_all(encoder: EfficientNetLite0, prepared: list[npt.NDArray[Any]]) -> None:
    """Compute the features of prepared images on all cores."""
    for start in range(0, len(prepared), encoder.batch_size):
        encoder.encode(prepared[start : start + encoder.batch_size])


def peer_seconds(paths: list[Path]) -> float:
    """Return what the published network takes, in an environment that we have not tuned."""
    ours = {"OMP_WAIT_POLICY", "OPENBLAS_CORETYPE"}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, HERE / "peer_photos.py"],
        input="\n".join(map(str, paths)),
        env={name: value for name, value in os.environ.items() if name not in ours},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout))


def tuned_peer_all(paths: list[Path]) -> None:
    """DataLoader and our network in eager float32."""
    module = features_module()
    with torch.inference_mode():
        for batch in DataLoader(Photos(paths), batch_size=32, num_workers=2):
            module(batch)


def usable(folders: list[Path]) -> list[Path]:
    """List the .jpg files that can be decoded, one of each content."""
    found: dict[bytes, Path] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*.jpg")):
        payload = path.read_bytes()
        try:
            decode_image(payload)
        except BadInputError:
            continue
        found.setdefault(payload, path)
    return list(found.values())


def measure(paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Return images a second of each way, one figure a round."""
    encoder = EfficientNetLite0.load(EncoderSpec("efficientnet-lite0", threads=CORES))
    prepared = decode_all(encoder, paths)
    forward_all(encoder, prepared[: encoder.batch_size])
    ways = ("ours", "decode", "forward", "peer", "tuned peer")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        (project / "latentlake.toml").write_text(CONFIG, encoding="utf-8")
        (project / "photos").mkdir()
        for number, path in enumerate(paths):
            (project / "photos" / f"{number}.jpg").symlink_to(path.resolve())
        for _ in range(rounds):
            seconds = {"ours": embed_seconds(project, "photos", "cnn")}
            for way, call in (
                ("decode", lambda: decode_all(encoder, paths)),
                ("forward", lambda: forward_all(encoder, prepared)),
                ("tuned peer", lambda: tuned_peer_all(paths)),
            ):
                began = time.monotonic()
                call()
                seconds[way] = time.monotonic() - began
            seconds["peer"] = peer_seconds(paths)
            for way, taken in seconds.items():
                rates[way].append(len(paths) / taken)
    return rates


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, nargs="+", default=[SAMPLES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "encode_photos.json")
    asked = parser.parse_args()
    paths = usable(asked.photos)
    rates = measure(paths, asked.rounds)
    bounds = [1 / (1 / d + 1 / f) for d, f in zip(rates["decode"], rates["forward"], strict=True)]
    ratios = {
        name: statistics.median(o / other for o, other in zip(rates["ours"], others, strict=True))
        for name, others in (
            ("bound", bounds),
            ("peer", rates["peer"]),
            ("tuned peer", rates["tuned peer"]),
        )
    }
    for way, found in {**rates, "bound": bounds}.items():
        print(f"{way:10} {statistics.median(found):8.1f} images a second")
    for name, ratio in ratios.items():
        print(f"ours / {name} {ratio:.2f}")
    result = {
        "photos": len(paths),
        "images_a_second": rates,
        "bound": bounds,
        "ours_of": ratios,
        "machine": machine(),
    }
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
