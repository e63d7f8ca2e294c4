"""The options of the adapters; no library of models is imported to check them."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

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


class NetworkFileOptions(EncoderOptions):
    """Options of `onnx`, and of `torchscript`: a file, and what it does not say of its pictures.

    Attributes:
        path: the file.
        precision: "half" computes in 16-bit floats where the machine has them and the network
            stands it (a cosine of .998 on average, .995 at worst), and in float32 elsewhere.
        size: the pixels of a side, or (height, width), that the network takes; None where the
            file says it.
        resize_to: the pixels that the picture is resized to before its middle is taken; by
            default `size`, which takes all of the shorter side.
        fit: what `resize_to` is: the "shortest" side, the "longest" (the rest is black), or both
            ("squash").
        interpolation: how pixels are resized, always antialiased.
        mean: of each channel, where black is 0 and white is 1.
        std: deviation of each channel.
        channels: the order of the channels.
        pooling: how a map or a list of tokens becomes a vector: "mean", "max", "first"; "auto" is
            the mean of a map.
    """

    path: str
    precision: Literal["half", "float32"] = "half"
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    resize_to: PositiveInt | None = None
    fit: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    channels: Literal["rgb", "bgr"] = "rgb"
    pooling: Literal["auto", "mean", "max", "first"] = "auto"


class TorchScriptOptions(NetworkFileOptions):
    """Options of `torchscript`; `size` is needed."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt]


class OnnxOptions(NetworkFileOptions):
    """Options of `onnx`.

    Attributes:
        layout: the axes of the network's input: "nchw", "nhwc"; "auto" looks where the 3 is.
        output: the name of the output to take; needed where there are several.
    """

    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    output: str | None = None
