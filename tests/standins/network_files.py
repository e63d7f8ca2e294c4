"""Small networks as files: ONNX of many forms, and TorchScript."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

DIM = 8


def convolution(channels: int = 3) -> list[Any]:
    random = np.random.default_rng(21)
    weight = random.normal(size=(DIM, channels, 5, 5)).astype(np.float32) / 9
    bias = random.normal(size=DIM).astype(np.float32)
    return [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]


def write_onnx(
    path: Path, form: str = "plain", side: int | str = 32, external: bool = False
) -> Any:
    """Write a network and return its model.

    Args:
        path: where.
        form: "plain" (n, 8), "maps" (n, 8, h, w), "tokens" (n, tokens, 8), "nhwc", "one" (fits a
            single picture alone), "two outputs", "two inputs".
        side: of the pictures; a name leaves it open.
        external: whether weights lie in a file of their own.
    """
    shape: list[int | str] = ["n", side, side, 3] if form == "nhwc" else ["n", 3, side, side]
    inputs = {"pictures": [1, *shape[1:]] if form == "one" else shape}
    if form == "two inputs":
        inputs["mask"] = ["n", 1]
    nodes, outputs, into = _head(form)
    graph = helper.make_graph(
        _stem(form) + nodes,
        "net",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        [*convolution(), numpy_helper.from_array(np.array(into), "into")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return onnx.load(path)


def _stem(form: str) -> list[Any]:
    turned = helper.make_node("Transpose", ["pictures"], ["turned"], perm=[0, 3, 1, 2])
    pictures = "turned" if form == "nhwc" else "pictures"
    return [
        *([turned] if form == "nhwc" else []),
        helper.make_node("Conv", [pictures, "weight", "bias"], ["convolved"], strides=[4, 4]),
        helper.make_node("Relu", ["convolved"], ["maps"]),
    ]


def _head(form: str) -> tuple[list[Any], dict[str, list[int | str]], list[int]]:
    """Return the last nodes, the outputs with their shapes, and the shape that Reshape makes."""
    maps: dict[str, list[int | str]] = {"maps": ["n", DIM, "h", "w"]}
    if form == "maps":
        return [], maps, [0]
    if form == "tokens":
        rows = helper.make_node("Reshape", ["maps", "into"], ["rows"])
        turned = helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1])
        return [rows, turned], {"tokens": ["n", "t", DIM]}, [0, DIM, -1]
    means = helper.make_node("GlobalAveragePool", ["maps"], ["means"])
    vectors = helper.make_node("Reshape", ["means", "into"], ["vectors"])
    outputs: dict[str, list[int | str]] = {"vectors": ["n", DIM]}
    if form == "two outputs":
        outputs |= maps
    return [means, vectors], outputs, [1 if form == "one" else 0, DIM]


def write_torchscript(path: Path, pooled: bool = True) -> nn.Module:
    """Write a network for pictures of any size and return it."""
    seeded = torch.Generator().manual_seed(22)
    layers: list[nn.Module] = [nn.Conv2d(3, DIM, 5, stride=4), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pooled else []
    net = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for part in net.parameters():
            part.copy_(torch.randn(part.shape, generator=seeded) / 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather see other formats
        torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return net
