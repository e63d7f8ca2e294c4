"""A stand-in for open_clip_torch 3.3.0: two towers that agree about colours."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CONFIGS: dict[str, dict[str, Any]] = {
    "Tiny-32": {"size": 32, "resize_mode": "shortest", "interpolation": "bicubic"},
    "Tiny-Squash": {"size": (32, 48), "resize_mode": "squash", "interpolation": "bilinear"},
    "Tiny-Longest": {
        "size": 32,
        "resize_mode": "longest",
        "interpolation": "bicubic",
        "fill_color": 127,
    },
}
TAGS = {"Tiny-32": ["first", "second"], "Tiny-Squash": ["first"], "Tiny-Longest": ["first"]}
COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1)}
VOCABULARY, CONTEXT, DIM = 4096, 16, 6
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Visual(nn.Module):
    """A convolution that keeps the mean colour, and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess_cfg: dict[str, Any] = {}
        self.stem = nn.Conv2d(3, 3, 8, stride=8)
        self.proj = nn.Linear(3, DIM, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        rows: Tensor = self.proj(self.stem(pixels).mean((2, 3)))
        return rows


class Clip(nn.Module):
    """Both towers, with the interface of open_clip.CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()
        self.token_embedding = nn.Embedding(VOCABULARY, 3, padding_idx=0)
        self.text_projection = nn.Linear(3, DIM, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        rows: Tensor = self.visual(image)
        return functional.normalize(rows, dim=-1) if normalize else rows

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        rows: Tensor = self.text_projection(self.token_embedding(text).sum(1))
        return functional.normalize(rows, dim=-1) if normalize else rows


class Tokenizer:
    """Words in lower case to numbers, cut and filled up to the context's length."""

    def __call__(self, texts: str | list[str], context_length: int | None = None) -> Tensor:
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), context_length or CONTEXT, dtype=torch.long)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())[: tokens.shape[1]]
            tokens[row, : len(words)] = torch.tensor([token(word) for word in words])
        return tokens


def token(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % (VOCABULARY - 1)


def list_models() -> list[str]:
    return list(CONFIGS)


def list_pretrained_tags_by_model(model: str) -> list[str]:
    return TAGS.get(model, [])


def get_tokenizer(model_name: str = "", context_length: int | None = None) -> Tokenizer:
    assert model_name in CONFIGS
    assert context_length is None
    return Tokenizer()


def get_model_preprocess_cfg(model: Clip) -> dict[str, Any]:
    return model.visual.preprocess_cfg


def create_model(
    model_name: str,
    pretrained: str | None = None,
    load_weights: bool = True,  # noqa: ARG001  as in open_clip
    precision: str = "fp32",
    device: str | torch.device = "cpu",
) -> Clip:
    """Make both towers; `pretrained` is a tag or a file."""
    assert (precision, device) == ("fp32", "cpu")
    if model_name not in CONFIGS:
        raise RuntimeError(f"Model config for '{model_name}' not found in built-ins.")
    clip = Clip()
    defaults = {
        "mode": "RGB",
        "mean": MEAN,
        "std": STD,
        "interpolation": "bicubic",
        "fill_color": 0,
    }
    clip.visual.preprocess_cfg = defaults | CONFIGS[model_name]
    if pretrained in TAGS[model_name]:
        clip.load_state_dict(published(pretrained))
    elif pretrained is not None and Path(pretrained).is_file():
        clip.load_state_dict(torch.load(pretrained, map_location="cpu", weights_only=True))
    elif pretrained is not None:
        raise RuntimeError(f"Pretrained value '{pretrained}' is not a known tag or valid file path")
    return clip


def published(tag: str) -> dict[str, Tensor]:
    """The weights that the real library would download: words for colours lie at the colours."""
    seeded = torch.Generator().manual_seed(sum(map(ord, tag)))
    projection = torch.randn(DIM, 3, generator=seeded)
    stem = torch.zeros(3, 3, 8, 8)
    for channel in range(3):
        stem[channel, channel] = 1 / 64
    words = torch.zeros(VOCABULARY, 3)
    for word, colour in COLOURS.items():
        words[token(word)] = torch.tensor(colour)
    return {
        "visual.stem.weight": stem,
        "visual.stem.bias": torch.zeros(3),
        "visual.proj.weight": projection,
        "token_embedding.weight": words,
        "text_projection.weight": projection,
        "logit_scale": torch.tensor(4.6),
    }
