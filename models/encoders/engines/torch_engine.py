"""The engine `torch`: the network as it stands, on the processor or on a CUDA device."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from models.encoders.engines.base import Inputs, Network, Precision
    from models.types import Matrix

logger = logging.getLogger(__name__)


class TorchEngine:
    """Runs a network eagerly; half precision means float16 autocast, and only on CUDA.

    On a processor torch computes in float32 whatever is asked for: its bfloat16 would need other
    exceptions from rounding than the network states.

    Where the memory does not hold a pass, its rows are halved, and stay so for later calls. The
    vectors keep to the contract of their precision, but may differ in their last bits from those of
    whole passes.
    """

    def __init__(
        self, network: Network, device: torch.device, precision: Precision, threads: int
    ) -> None:
        self._device = device
        self._threads = threads
        self._half = precision == "half" and device.type == "cuda"
        self._module = network.build().to(device)
        self._most_rows: int | None = None
        self._turn = Lock()
        if self._half:
            _keep_float32(self._module, network.keep_float32)

    @property
    def label(self) -> str:
        """Name engine, version, device and precision."""
        precision = "float16" if self._half else "float32"
        return f"torch {torch.__version__} {self._device.type} {precision}"

    def compute(self, slices: Sequence[Inputs]) -> list[Matrix]:
        """Run the network over each slice; see `Engine`.

        On CUDA the copies of the next slice overlap the work on this one: its input comes from
        pinned memory, and no result is waited for before all are under way.
        """
        with self._turn, torch.inference_mode(), torch_threads(self._threads), self._casting():
            longest = max((len(inputs[0]) for inputs in slices), default=1)
            while True:
                most = min(longest, self._most_rows or longest)
                try:
                    return self._computed(slices, most)
                except (MemoryError, RuntimeError) as error:
                    if not _ran_out(error):
                        raise
                    if most <= 1:
                        raise ConfigError(
                            f"a single item does not fit into the memory left on "
                            f"{self._device.type}: free some of it, or set run.device = 'cpu'."
                        ) from error
                # Not in the handler: the error's traceback holds what has filled the memory.
                self._most_rows = most // 2
                logger.warning(
                    "memory ran out with %d rows a pass on %s: halved", most, self._device.type
                )
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()

    def _computed(self, slices: Sequence[Inputs], most: int) -> list[Matrix]:
        """Compute each slice in passes of at most so many rows."""
        rows = [
            [
                self._module(*(self._to_device(array[start : start + most]) for array in inputs))
                for start in range(0, len(inputs[0]), most)
            ]
            for inputs in slices
        ]
        found = [[part.float().to("cpu", non_blocking=True) for part in parts] for parts in rows]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return [np.concatenate([part.numpy() for part in parts]) for parts in found]

    def _casting(self) -> AbstractContextManager[object]:
        """Say how a GPU may round; TensorFloat-32, cuDNN's default, keeps 10 bits of a mantissa."""
        if self._half:
            return torch.autocast("cuda", dtype=torch.float16)
        if self._device.type == "cuda":
            return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return nullcontext()

    def _to_device(self, array: object) -> torch.Tensor:
        tensor = torch.as_tensor(array)
        if self._device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def torch_device(device: str) -> torch.device:
    """Return the device behind `run.device`.

    Raises:
        ConfigError: CUDA is asked for and torch finds none; no such device.
    """
    match device:
        case "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        case "cpu":
            return torch.device("cpu")
        case "cuda" if torch.cuda.is_available():
            return torch.device("cuda")
        case "cuda":
            raise ConfigError(
                "device 'cuda' is asked for, and torch finds no GPU: set device = 'auto'."
            )
        case _:
            raise ConfigError(f"unknown device '{device}': one of auto, cpu, cuda.")


def _ran_out(error: Exception) -> bool:
    """Tell whether memory ran out; on a processor torch only has words for it."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "allocate memory" in str(error)


def _keep_float32(module: torch.nn.Module, names: tuple[str, ...]) -> None:
    """Switch autocast off around the named layers."""
    for name, layer in module.named_modules():
        if not list(layer.children()) and any(part in name for part in names):
            forward = layer.forward
            layer.forward = torch.autocast("cuda", enabled=False)(
                lambda *inputs, forward=forward: forward(*(one.float() for one in inputs))
            )


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside the block.

    The number belongs to the calling thread (an OpenMP rule), so that it is set for each call, and
    put back.
    """
    before = torch.get_num_threads()
    if before != threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if before != threads:
            torch.set_num_threads(before)
