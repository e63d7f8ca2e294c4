"""`timm:<model>`: any image model of the library timm, without its classifier."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from latentlake.errors import ConfigError, nearest_hint
from models.encoders.adapters.options import TimmOptions
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
    from models.encoders.preprocessing import Fit

REVISION: Final = 1
_FITS: Final[dict[str, Fit]] = {"center": "shortest", "squash": "squash", "border": "longest"}
"""timm's crop modes."""


class TimmEncoder(ImageEncoder):
    """Pictures to the pooled features that timm's model gives with `num_classes=0`."""

    options_type: ClassVar[type[EncoderOptions]] = TimmOptions

    @classmethod
    def load(cls, spec: EncoderSpec) -> TimmEncoder:
        """Make the model, by its published weights or by those in a file.

        Raises:
            ConfigError: timm has no such model, its weights cannot be had or do not fit.
        """
        import timm
        from timm.data import resolve_model_data_config

        options = options_from_json(spec.name, TimmOptions, spec.options)
        name = spec.name.partition(":")[2]
        # A name with a colon is a place ("hf-hub:timm/resnet18.a1_in1k"), which timm looks up.
        if ":" not in name and not timm.is_model(name):
            raise ConfigError(
                f"timm has no model '{name}'.{nearest_hint(name, timm.list_models())}"
            )
        pooling = {} if options.pooling == "auto" else {"global_pool": options.pooling}
        with fetching(spec.name):
            net = timm.create_model(
                name, pretrained=options.path is None, num_classes=0, **pooling
            ).eval()
        if options.path is not None:
            load_weights(net, Path(options.path), _heads(net))
        preprocessing = _preprocessing(resolve_model_data_config(net), spec.name)
        digest = module_digest(net)
        return cls(
            spec,
            ImageModel(
                name=spec.name,
                family="timm",
                revision=REVISION,
                weights=digest,
                preprocessing=preprocessing,
                options=options,
                precision=options.precision,
                open_engine=engine_opener(net, preprocessing, spec, digest),
                libraries={name: metadata.version(name) for name in ("timm", "torch")},
            ),
        )


def _heads(net: Any) -> tuple[str, ...]:
    """Name the classifier's layers: one, or several where a model was distilled."""
    heads = net.pretrained_cfg.get("classifier") or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


def _preprocessing(config: dict[str, Any], encoder: str) -> Preprocessing:
    """Read timm's numbers; as `timm.data.create_transform` does for evaluation."""
    channels, height, width = config["input_size"]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if channels != len(mean) or channels != 3:  # noqa: PLR2004
        raise ConfigError(f"encoder '{encoder}' takes {channels} channels, and pictures have 3.")
    if config["crop_mode"] not in _FITS:
        raise ConfigError(f"encoder '{encoder}': unknown crop mode '{config['crop_mode']}'.")
    fit = _FITS[config["crop_mode"]]
    return Preprocessing(
        size=(height, width),
        scale=(
            math.floor(height / config["crop_pct"]),
            math.floor(width / config["crop_pct"]),
        ),
        fit=fit,
        interpolation=as_interpolation(config["interpolation"], encoder),
        mean=mean,
        std=std,
        fill=tuple(round(255 * part) for part in mean) if fit == "longest" else (0, 0, 0),
    )
