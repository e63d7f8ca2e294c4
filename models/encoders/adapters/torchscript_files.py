"""`torchscript`: images by a network that torch.jit has saved. Such a file is a program."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar, Final

import torch

from latentlake.errors import ConfigError
from models.encoders.adapters.network_files import (
    TOLD,
    files_digest,
    given_file,
    told_preprocessing,
)
from models.encoders.adapters.options import TorchScriptOptions
from models.encoders.adapters.torch_images import engine_opener, one_line
from models.encoders.image_encoder import ImageEncoder, ImageModel
from models.encoders.options import options_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from models.encoders.base import EncoderOptions, EncoderSpec

NAME: Final = "torchscript"
REVISION: Final = 1


class TorchScriptEncoder(ImageEncoder):
    """Pictures to what the saved network makes of (n, 3, height, width) float32."""

    options_type: ClassVar[type[EncoderOptions]] = TorchScriptOptions

    @classmethod
    def load(cls, spec: EncoderSpec) -> TorchScriptEncoder:
        """Load the network by torch.

        Raises:
            ConfigError: no such file, no TorchScript, or a network that takes something else.
        """
        options = options_from_json(NAME, TorchScriptOptions, spec.options)
        path = given_file(options.path)
        net = _loaded(path)
        digest = files_digest([path])
        preprocessing = told_preprocessing(options, None, NAME)
        model = ImageModel(
            name=NAME,
            family=NAME,
            revision=REVISION,
            weights=digest,
            preprocessing=preprocessing,
            options=options,
            precision=options.precision,
            open_engine=engine_opener(net, preprocessing, spec, digest, options.pooling),
            libraries={"torch": torch.__version__},
            origins=TOLD,
        )
        try:
            return cls(spec, model)
        except RuntimeError as error:  # the network does not take what the options tell
            raise ConfigError(f"{path}: cannot be run: {one_line(error)[-200:]}") from error


def _loaded(path: Path) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather see other formats
            net: torch.nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                path, map_location="cpu"
            ).eval()
    except Exception as error:  # torch raises whatever its reader met
        reason = one_line(error)[:200]
        raise ConfigError(f"{path}: torch cannot load it as TorchScript: {reason}") from error
    return net
