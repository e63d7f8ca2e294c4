"""Two tiny classifiers behind torchvision's registry of models."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

CLASSES = [f"class {number}" for number in range(7)]


class InterpolationMode(Enum):
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class ImageClassification:
    """The preset that classifiers' weights carry."""

    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 256,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias


@dataclass(frozen=True)
class Weights:
    url: str
    transforms: Callable[[], ImageClassification]
    meta: dict[str, Any] = field(default_factory=lambda: {"categories": CLASSES})


class WeightsEnum(Enum):
    @property
    def transforms(self) -> Callable[[], ImageClassification]:
        found: Callable[[], ImageClassification] = self.value.transforms
        return found

    @property
    def meta(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value.meta
        return found


class TinyNetWeights(WeightsEnum):
    IMAGENET1K_V1 = Weights("seed:1", partial(ImageClassification, crop_size=56, resize_size=64))
    IMAGENET1K_V2 = Weights(
        "seed:2",
        partial(
            ImageClassification,
            crop_size=56,
            resize_size=60,
            interpolation=InterpolationMode.BICUBIC,
        ),
    )
    DEFAULT = IMAGENET1K_V2


class TinyNet(nn.Module):
    """A convolution and a head of two layers, the last of which gives the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 12, 7, stride=4), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(12, 20), nn.Hardswish(), nn.Linear(20, 7))

    def forward(self, pixels: Tensor) -> Tensor:
        rows: Tensor = self.classifier(self.features(pixels).mean((2, 3)))
        return rows


class AllConvolutions(nn.Module):
    """As SqueezeNet does, it gets its classes from a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 7, 7, stride=4)

    def forward(self, pixels: Tensor) -> Tensor:
        rows: Tensor = self.features(pixels).mean((2, 3))
        return rows


BUILDERS: dict[str, type[nn.Module]] = {"tiny_net": TinyNet, "all_convolutions": AllConvolutions}


def list_models(module: ModuleType | None = None) -> list[str]:
    return sorted(BUILDERS) + ([] if module else ["detector"])


def get_model_weights(name: str) -> type[TinyNetWeights]:
    if name not in BUILDERS:
        raise ValueError(f"Unknown model {name}")
    return TinyNetWeights


def get_model(name: str, *, weights: TinyNetWeights | None = None) -> nn.Module:
    net = BUILDERS[name]()
    if weights is not None:
        net.load_state_dict(published(name, weights))
    return net


def published(name: str, weights: TinyNetWeights) -> dict[str, Tensor]:
    """The weights that the real library would download."""
    seeded = torch.Generator().manual_seed(int(weights.value.url.partition(":")[2]))
    return {
        key: torch.randn(part.shape, generator=seeded) / max(1, part[0].numel()) ** 0.5
        for key, part in BUILDERS[name]().state_dict().items()
    }
