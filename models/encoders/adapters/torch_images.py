"""Image networks of torch: weights from files, a digest of what they are, and their engine."""

from __future__ import annotations

import hashlib
import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from latentlake.errors import ConfigError, LatentlakeError
from models.encoders.engines.base import Network
from models.encoders.engines.choice import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from models.encoders.base import EncoderSpec
    from models.encoders.engines.base import Engine, Precision
    from models.encoders.preprocessing import Preprocessing

logger = logging.getLogger(__name__)

Pooling = Literal["auto", "mean", "max", "first"]

_SPATIAL, _TOKENS, _PLAIN = 4, 3, 2
"""Axes of (rows, channels, height, width), (rows, tokens, dim) and (rows, dim)."""


class PixelsToVectors(nn.Module):
    """A network, its normalisation before and its pooling after: uint8 pictures to vectors."""

    def __init__(self, net: nn.Module, preprocessing: Preprocessing, pooling: Pooling) -> None:
        super().__init__()
        self.net = net
        self.pooling = pooling
        mean = torch.tensor(preprocessing.mean, dtype=torch.float32)
        std = torch.tensor(preprocessing.std, dtype=torch.float32)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * std.reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, height, width, 3) uint8, which is channels-last already, to (n, dim)."""
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return pooled(self.net(pixels), self.pooling)


def pooled(features: Tensor, pooling: Pooling) -> Tensor:
    """Bring what a network returns to one row an image.

    Args:
        features: (n, dim), (n, channels, height, width) or (n, tokens, dim).
        pooling: "auto" is the mean over height and width; tokens need a choice.

    Raises:
        ConfigError: no single tensor, or none of these shapes.
    """
    if not isinstance(features, Tensor):
        raise ConfigError(f"the network returns {type(features).__name__}, not one tensor.")
    if features.ndim == _PLAIN:
        return features
    if features.ndim == _SPATIAL and pooling != "first":
        return features.amax((2, 3)) if pooling == "max" else features.mean((2, 3))
    if features.ndim == _TOKENS and pooling != "auto":
        if pooling == "first":
            return features[:, 0]
        return features.amax(1) if pooling == "max" else features.mean(1)
    raise ConfigError(
        f"the network returns {tuple(features.shape)}, of which pooling = '{pooling}' makes no "
        "vectors: 'mean' and 'max' take (n, channels, height, width), and with 'first' also "
        "(n, tokens, dim)."
    )


def engine_opener(
    net: nn.Module,
    preprocessing: Preprocessing,
    spec: EncoderSpec,
    digest: str,
    pooling: Pooling = "auto",
) -> Callable[[int, Precision], Engine]:
    """Return what makes a network ready to run; see `ImageModel.open_engine`.

    Where OpenVINO cannot convert a network and was not asked for by name, torch runs it.

    Args:
        net: from normalised (n, 3, height, width) float32 pictures to features.
        preprocessing: its numbers.
        spec: says engine, device and threads.
        digest: over the network's weights and structure.
        pooling: see `pooled`.
    """
    module = PixelsToVectors(net, preprocessing, pooling).float().eval()
    decides = f"{digest} {preprocessing} {pooling}"

    def open_it(rows: int, precision: Precision) -> Engine:
        network = Network(
            build=lambda: module,
            example=(np.zeros((rows, *preprocessing.size, 3), np.uint8),),
            identity=f"images-{hashlib.sha256(decides.encode()).hexdigest()[:16]}-{rows}",
            fixed_shape=True,
        )
        try:
            return open_engine(network, spec, precision)
        except LatentlakeError:
            raise
        except Exception as error:
            if spec.engine != "auto":
                raise ConfigError(
                    f"engine '{spec.engine}' cannot run this network: {one_line(error)}"
                ) from error
            logger.warning(
                "torch runs '%s': OpenVINO cannot convert it (%s)", spec.name, one_line(error)
            )
            return open_engine(network, replace(spec, engine="torch"), precision)

    return open_it


def module_digest(module: nn.Module) -> str:
    """Digest a network's structure (as it prints itself) and every weight; hex SHA-256."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a torch file by `weights_only`, which runs no code.

    Raises:
        ConfigError: no such file, another format, a pickle of more than tensors.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read as weights: {one_line(error)}") from error
    except Exception as error:  # UnpicklingError, whose module is not to be imported
        raise ConfigError(f"{path}: more than tensors is in it, and is not loaded.") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(part, Tensor) for part in found.values()):
        raise ConfigError(
            f"{path}: no state dict (names to tensors); torch.save(net.state_dict())."
        )
    return {str(name): part for name, part in found.items()}


def load_weights(module: nn.Module, path: Path, heads: tuple[str, ...]) -> None:
    """Put a file's weights into a network without its classifier.

    Args:
        module: the network.
        path: a state dict of the same network, with or without classifier.
        heads: names of classifier layers, which the file may have and the network has not.

    Raises:
        ConfigError: the file is not of this network.
    """
    state = read_weights(path)
    try:
        found = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ConfigError(f"{path}: weights of another network: {one_line(error)}") from error
    foreign = [
        name for name in found.unexpected_keys if not name.startswith(tuple(f"{h}." for h in heads))
    ]
    if found.missing_keys or foreign:
        wrong = [f"lacks {name}" for name in found.missing_keys] + [f"has {n}" for n in foreign]
        raise ConfigError(f"{path}: weights of another network: it {', '.join(wrong[:3])}.")


def one_line(error: Exception) -> str:
    """Return what an error says without line ends, or its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def fetching(encoder: str) -> Iterator[None]:
    """Turn whatever a library raises while it makes a model into a `ConfigError` with a way out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are initialised and then replaced
            yield
    except LatentlakeError:
        raise
    except Exception as error:
        raise ConfigError(
            f"encoder '{encoder}': the model cannot be had: {one_line(error)}. "
            'Without a network connection give its weights as options = { path = "..." }.'
        ) from error
