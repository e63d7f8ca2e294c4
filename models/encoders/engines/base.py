"""What an engine is, what it runs, and the contract that lets engines share a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from models.types import Matrix

Precision = Literal["half", "float32"]
"""The class of precision a network is computed in, and a part of its space's fingerprint.

"half" is 16-bit floats (bfloat16 or float16) where the engine and the machine have them, and
float32 where they do not. Vectors of one class may meet in one space, because every engine is held
to the same contract: the cosine to float32 is at least `HALF_MEAN_COSINE` on average and
`HALF_WORST_COSINE` at worst (tests/contracts/test_engines.py).
"""

HALF_MEAN_COSINE = 0.998
HALF_WORST_COSINE = 0.995

Inputs = tuple[npt.NDArray[Any], ...]
"""What a network takes in one go: arrays whose first axis counts the rows."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as an engine gets it.

    Attributes:
        build: makes the torch module, in evaluation mode and float32. Only called where the engine
            has no converted copy, so that what it imports is not paid for in vain.
        example: arrays of the shapes and dtypes that the module takes; two rows or more.
        identity: a digest of weights, code and whatever else decides what the network computes.
        fixed_shape: whether every call brings arrays of exactly the example's shapes, which
            compiles to something faster.
        keep_float32: parts of layers' names; these layers stay in float32, because rounding them
            would break the contract of half precision.
    """

    build: Callable[[], nn.Module]
    example: Inputs
    identity: str
    fixed_shape: bool = False
    keep_float32: tuple[str, ...] = ()


class Engine(Protocol):
    """A network that is ready to run. Calls may come from any thread; they take turns."""

    @property
    def label(self) -> str:
        """Engine, version, device and precision, for people: "openvino 2026.4 bfloat16"."""
        ...

    def compute(self, slices: Sequence[Inputs]) -> list[Matrix]:
        """Run the network over each slice.

        Args:
            slices: the inputs of one pass each. They are read while the call lasts.

        Returns:
            One (rows, dim) float32 matrix a slice, in the order of the slices.
        """
        ...
