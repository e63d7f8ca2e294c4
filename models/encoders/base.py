"""What an encoder is: the protocol that every stage, test and plug-in goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from models.types import Matrix, Metric, Modality

Item_contra = TypeVar("Item_contra", contravariant=True)
Prepared = TypeVar("Prepared")


class EncoderOptions(BaseModel):
    """Base of an encoder's own options: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """The recipe of a live encoder; it travels to workers, weights do not.

    Attributes:
        name: the registered name.
        options: the encoder's own options as canonical JSON, so that a spec is hashable.
        device: "auto", "cpu" or "cuda".
        artefact: the folder of a trained model, for encoders that are trained in the lake.
        threads: how many threads the encoder's engine may use.
        engine: "auto", "openvino" or "torch": what computes a network.
        cache: the folder where converted networks are kept; None keeps none.
    """

    name: str
    options: str = "{}"
    device: str = "auto"
    artefact: str | None = None
    threads: int = 1
    engine: str = "auto"
    cache: str | None = None


class Encoder(Protocol[Item_contra, Prepared]):
    """Turns items into one float32 row each.

    Work is split so that a pool of threads can prepare while the engine computes: `prepare` is
    thread-safe and takes one item, `encode` takes a batch of what `prepare` returned. A row must
    not depend on the other rows of its batch.
    """

    modality: Modality
    dim: int
    metric: Metric
    fingerprint: str
    """Hex digest over weights, preprocessing, pooling, precision class and options."""
    batch_size: int
    """How many items at once suit the device."""

    # More members are used where an encoder has them: `min_side: int | None`, the pixels that the
    # shorter side of a photo must keep when it is decoded, so that a large one may be decoded
    # smaller; `truncated: int`, how many of the items prepared so far were cut; and
    # `prepare_all(items)`, `prepare` for many items in one call, where that is faster: a list of
    # what `prepare` returns, or of the EncodeError that it raises. An encoder with a vector of its
    # `dim` for each word has `words() -> WordVectors`: they become a space of their own.

    def prepare(self, item: Item_contra) -> Prepared:
        """Bring one item into the engine's form.

        Args:
            item: an `Image` (height, width, 3) uint8 RGB, a `str`, or a vector (dim,) float32.

        Raises:
            EncodeError: this encoder has no vector for the item.
        """
        ...

    def encode(self, batch: Sequence[Prepared]) -> Matrix:
        """Return (len(batch), dim) float32, not normalised.

        Raises:
            EncodeError: there is an item in it that cannot be encoded. Which one is found out by
                smaller batches.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder: options, weights' hash, libraries."""
        ...


class ReadsQueries(Protocol):
    """What an encoder of images also is where words can be looked for among its vectors."""

    def encode_query(self, text: str) -> Matrix:
        """Return the vector of some words, (1, dim) float32, in the space of the images.

        Raises:
            EncodeError: there are no words.
        """
        ...


class EncoderType(Protocol):
    """What the registry finds under a name: a class with these members."""

    options_type: ClassVar[type[EncoderOptions]]
    trainable: ClassVar[bool]

    @classmethod
    def load(cls, spec: EncoderSpec) -> Encoder[Any, Any]:
        """Build the live encoder."""
        ...

    @classmethod
    def train(
        cls,
        contents: Iterable[Any],
        options: EncoderOptions,
        artefact: Path,
        progress: Callable[[str, float], None],
    ) -> None:
        """Train on a stream of texts or vectors and write into the empty folder `artefact`.

        Only called where `trainable` is true. `progress` takes a step's name and the fraction done.
        """
        ...


class Pretrained:
    """Base of encoders whose weights are given: there is nothing to train."""

    trainable: ClassVar[bool] = False

    @classmethod
    def train(
        cls,
        contents: Iterable[Any],  # noqa: ARG003 - the protocol's signature
        options: EncoderOptions,  # noqa: ARG003
        artefact: Path,  # noqa: ARG003
        progress: Callable[[str, float], None],  # noqa: ARG003
    ) -> None:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{cls.__name__} comes with its weights, there is nothing to train.")
