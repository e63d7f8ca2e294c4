"""Which engine runs a network on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from latentlake.errors import ConfigError, MissingExtraError
from models.encoders.engines.torch_engine import TorchEngine, torch_device

if TYPE_CHECKING:
    from models.encoders.base import EncoderSpec
    from models.encoders.engines.base import Engine, Network, Precision


def open_engine(network: Network, spec: EncoderSpec, precision: Precision) -> Engine:
    """Make a network ready to run.

    "auto" takes torch on a CUDA device, OpenVINO on the processor where it is installed, and torch
    where it is not.

    Args:
        network: what to run.
        spec: says engine, device, threads and where converted networks are kept.
        precision: the class to compute in.

    Raises:
        ConfigError: the device is not there, or the engine does not run on it.
        MissingExtraError: OpenVINO is asked for and not installed.
    """
    device = torch_device(spec.device)
    installed = find_spec("openvino") is not None
    if spec.engine == "torch" or (
        spec.engine == "auto" and (device.type != "cpu" or not installed)
    ):
        return TorchEngine(network, device, precision, spec.threads)
    if device.type != "cpu":
        raise ConfigError(
            "engine 'openvino' runs on the processor: set run.device = 'cpu', "
            "or run.engine = 'auto'."
        )
    if not installed:
        raise MissingExtraError("engine 'openvino'", "openvino", "openvino")
    from models.encoders.engines.openvino_engine import OpenVinoEngine

    cache = Path(spec.cache) if spec.cache else None
    return OpenVinoEngine(network, precision, spec.threads, cache)
