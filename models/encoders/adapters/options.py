"""The options of the adapters; no library of models is imported to check them."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from models.encoders.base import EncoderOptions


class GivenNetworkOptions(EncoderOptions):
    """What all adapters for networks take.

    Attributes:
        precision: "half" computes in 16-bit floats where the machine has them and the network
            stands it (a cosine of .998 on average, .995 at worst), and in float32 elsewhere.
        path: a file of weights to take instead of downloading: safetensors, or a state dict
            written by torch.
    """

    precision: Literal["half", "float32"] = "half"
    path: str | None = None


class TimmOptions(GivenNetworkOptions):
    """Options of `timm:<model>`.

    Attributes:
        pooling: timm's `global_pool` ("avg", "max", "avgmax", "token", ...); "auto" is the
            model's own.
    """

    pooling: str = "auto"


class TorchvisionOptions(GivenNetworkOptions):
    """Options of `torchvision:<model>`.

    Attributes:
        weights: which of the model's published weights, and so which preprocessing.
    """

    weights: str = "DEFAULT"


class OpenClipOptions(GivenNetworkOptions):
    """Options of `open_clip:<model>`.

    Attributes:
        pretrained: which of the model's published weights ("laion2b_s34b_b79k"); needed where
            there is no `path`.
    """

    pretrained: str | None = None


class CallableOptions(EncoderOptions):
    """Options of `python:<module>:<function>`, and of a function that a package announces.

    Attributes:
        modality: what the function takes a list of.
        form: pictures as PIL images, or as (height, width, 3) uint8 arrays.
        dim: how many numbers it must return for an item; by default as many as it does.
        metric: how nearness is measured.
        version: a name for the function's present state, in place of a digest of its module's
            file: as long as it stays, vectors are taken to stay.
        batch_size: the most items in one call.
    """

    modality: Literal["image", "text"]
    form: Literal["pil", "array"] = "pil"
    dim: PositiveInt | None = None
    metric: Literal["cosine", "inner_product", "l2"] = "cosine"
    version: str | None = None
    batch_size: PositiveInt = 32
