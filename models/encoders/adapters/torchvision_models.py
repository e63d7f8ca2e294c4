"""`torchvision:<model>`: any image classifier of torchvision, without its last layer."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from torch import nn

from latentlake.errors import ConfigError, nearest_hint
from models.encoders.adapters.options import TorchvisionOptions
from models.encoders.adapters.torch_images import (
    engine_opener,
    fetching,
    load_weights,
    module_digest,
)
from models.encoders.image_encoder import ImageEncoder, ImageModel
from models.encoders.options import options_from_json
from models.encoders.preprocessing import Preprocessing, as_interpolation

if TYPE_CHECKING:
    from models.encoders.base import EncoderOptions, EncoderSpec

REVISION: Final = 1


class TorchvisionEncoder(ImageEncoder):
    """Pictures to what the classifier's last layer takes."""

    options_type: ClassVar[type[EncoderOptions]] = TorchvisionOptions

    @classmethod
    def load(cls, spec: EncoderSpec) -> TorchvisionEncoder:
        """Make the model, by its published weights or by those in a file.

        Raises:
            ConfigError: torchvision has no such model or weights, they cannot be had or do not fit.
        """
        from torchvision import models as zoo

        options = options_from_json(spec.name, TorchvisionOptions, spec.options)
        name = spec.name.partition(":")[2]
        # Of this module alone, which are the classifiers of images.
        known = zoo.list_models(module=zoo)
        if name not in known:
            raise ConfigError(
                f"torchvision has no image model '{name}'.{nearest_hint(name, known)}"
            )
        published = zoo.get_model_weights(name)
        weights = published.__members__.get(options.weights)
        if weights is None:
            raise ConfigError(
                f"encoder '{spec.name}' has no weights '{options.weights}', only: "
                f"{', '.join(published.__members__)}."
            )
        with fetching(spec.name):
            net = zoo.get_model(name, weights=weights if options.path is None else None).eval()
        head = _cut_head(net, len(weights.meta["categories"]), spec.name)
        if options.path is not None:
            load_weights(net, Path(options.path), (head,))
        preprocessing = _preprocessing(weights.transforms(), spec.name)
        digest = module_digest(net)
        return cls(
            spec,
            ImageModel(
                name=spec.name,
                family="torchvision",
                revision=REVISION,
                weights=digest,
                preprocessing=preprocessing,
                options=options,
                precision=options.precision,
                open_engine=engine_opener(net, preprocessing, spec, digest),
                libraries={name: metadata.version(name) for name in ("torchvision", "torch")},
                origins=frozenset({"path", "weights"}),
            ),
        )


def _cut_head(net: nn.Module, classes: int, encoder: str) -> str:
    """Let the layer that gives the classes hand on what it is given; return its name."""
    linear = [
        name
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == classes
    ]
    if not linear:
        raise ConfigError(f"encoder '{encoder}': its classes do not come from a linear layer.")
    head = str(linear[-1])
    owner, _, attribute = head.rpartition(".")
    setattr(net.get_submodule(owner), attribute, nn.Identity())
    return head


def _preprocessing(transforms: Any, encoder: str) -> Preprocessing:
    """Read the numbers of torchvision's preset `ImageClassification`."""
    crop, resize = transforms.crop_size, transforms.resize_size
    return Preprocessing(
        size=(crop[0], crop[-1]),
        scale=(resize[0], resize[-1]),
        fit="shortest" if len(resize) == 1 else "squash",
        interpolation=as_interpolation(transforms.interpolation.value, encoder),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
