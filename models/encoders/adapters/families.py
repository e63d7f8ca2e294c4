"""Encoders named `family:model`: a family is an adapter, the model is for its library to find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.encoders.adapters.options import (
    CallableOptions,
    OpenClipOptions,
    TimmOptions,
    TorchvisionOptions,
)
from models.types import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.encoders.base import EncoderOptions


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of an adapter without importing it, or its library.

    Attributes:
        name: what stands before the colon.
        model: what stands after it, for people.
        target: "module:Class" of the `EncoderType`.
        modality: what kind of item it takes; None where an option says it.
        options_type: its options.
        revision: counts up with every change of its code that changes vectors.
        package: the distribution it needs.
        extra: the extra of latentlake that installs it.
        reads_queries: whether words can be looked for among its vectors of images.
    """

    name: str
    model: str
    target: str
    modality: Modality | None
    options_type: type[EncoderOptions]
    revision: int = 1
    package: str = ""
    extra: str = ""
    reads_queries: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """The distributions it needs."""
        return (self.package,) if self.package else ()


FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family(
            name="timm",
            model="<model>",
            target="models.encoders.adapters.timm_models:TimmEncoder",
            modality=Modality.IMAGE,
            options_type=TimmOptions,
            package="timm",
            extra="timm",
        ),
        Family(
            name="torchvision",
            model="<model>",
            target="models.encoders.adapters.torchvision_models:TorchvisionEncoder",
            modality=Modality.IMAGE,
            options_type=TorchvisionOptions,
            package="torchvision",
            extra="torchvision",
        ),
        Family(
            name="open_clip",
            model="<model>",
            target="models.encoders.adapters.open_clip_models:OpenClipEncoder",
            modality=Modality.IMAGE,
            options_type=OpenClipOptions,
            package="open_clip_torch",
            extra="open-clip",
            reads_queries=True,
        ),
        Family(
            name="python",
            model="<module>:<function>",
            target="models.encoders.adapters.callables:CallableEncoder",
            modality=None,
            options_type=CallableOptions,
        ),
    )
}
"""Families by what stands before the colon."""
