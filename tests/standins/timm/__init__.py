"""A stand-in for timm 1.0.31: two tiny networks behind its factory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_COMMON = {"num_classes": 10, "mean": (0.48, 0.45, 0.40), "std": (0.22, 0.23, 0.21)}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny_cnn": {
        **_COMMON,
        "input_size": (3, 64, 64),
        "crop_pct": 0.875,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "classifier": "fc",
    },
    "tiny_wide": {
        **_COMMON,
        "input_size": (3, 48, 80),
        "crop_pct": 0.9,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "classifier": "fc",
    },
    "tiny_squash": {
        **_COMMON,
        "input_size": (3, 56, 56),
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "classifier": ("fc",),
    },
    "tiny_border": {
        **_COMMON,
        "input_size": (3, 56, 56),
        "crop_pct": 0.95,
        "crop_mode": "border",
        "interpolation": "bicubic",
        "classifier": "fc",
    },
    "tiny_odd": {
        **_COMMON,
        "input_size": (3, 48, 48),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "classifier": "fc",
    },
    "tiny_lanczos": {
        **_COMMON,
        "input_size": (3, 56, 56),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "lanczos",
        "classifier": "fc",
    },
    "tiny_grey": {
        **_COMMON,
        "input_size": (1, 56, 56),
        "mean": (0.5,),
        "std": (0.5,),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "classifier": "fc",
    },
}
TAGS = ("a1_in1k", "a2_in1k")


class TinyCnn(nn.Module):
    """Two convolutions, pooling and a classifier that `num_classes=0` leaves out."""

    def __init__(self, config: dict[str, Any], num_classes: int, global_pool: str) -> None:
        super().__init__()
        if global_pool not in ("avg", "max"):
            raise ValueError(f"Invalid pool type: {global_pool}")
        self.pretrained_cfg = config
        self.stem = nn.Conv2d(config["input_size"][0], 16, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.global_pool = global_pool
        self.fc = nn.Linear(24, num_classes) if num_classes else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.body(torch.relu(self.norm(self.stem(pixels))))
        if self.pretrained_cfg is CONFIGS["tiny_odd"]:  # by an operator that OpenVINO lacks
            flat = features.flatten(2)
            scaled = flat @ flat.transpose(1, 2) / flat.shape[2]
            values: Tensor = torch.linalg.eigvalsh(scaled)
            return values
        pooled = features.mean((2, 3)) if self.global_pool == "avg" else features.amax((2, 3))
        rows: Tensor = self.fc(pooled)
        return rows


def is_model(model_name: str) -> bool:
    return model_name.partition(".")[0] in CONFIGS


def list_models(filter: str = "", module: str = "", pretrained: bool = False) -> list[str]:  # noqa: A002, ARG001
    return sorted(CONFIGS)


def create_model(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Make a network; a tag chooses among the weights that would be downloaded."""
    name, _, tag = model_name.partition(".")
    if tag and tag not in TAGS:
        raise RuntimeError(f"Invalid pretrained tag ({tag}) for {name}.")
    if name not in CONFIGS:
        raise RuntimeError(f"Unknown model ({name})")
    config = CONFIGS[name]
    classes = kwargs.pop("num_classes", config["num_classes"])
    pool = kwargs.pop("global_pool", "avg")
    if kwargs:
        raise TypeError(f"unexpected keyword arguments: {', '.join(kwargs)}")
    net = TinyCnn(config, classes, pool)
    if pretrained:
        net.load_state_dict(published(name, tag), strict=False)
    return net


def published(name: str, tag: str = "") -> dict[str, Tensor]:
    """The weights that the real library would download."""
    net = TinyCnn(CONFIGS[name], 10, "avg")
    seeded = torch.Generator().manual_seed(len(name) + (TAGS.index(tag) if tag else 0))
    state: dict[str, Tensor] = {}
    for key, part in net.state_dict().items():
        if not part.is_floating_point():
            state[key] = part
        elif key.endswith("running_var"):
            state[key] = torch.rand(part.shape, generator=seeded) + 0.5
        else:
            state[key] = torch.randn(part.shape, generator=seeded) / max(1, part[0].numel()) ** 0.5
    return state
