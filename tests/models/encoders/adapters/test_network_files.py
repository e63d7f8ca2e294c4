"""ONNX and TorchScript files: against ONNX's reference evaluator, torch and Pillow."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image as PillowImage

from latentlake.errors import ConfigError
from models.encoders.adapters.onnx_graph import external_files
from models.encoders.base import EncoderSpec
from models.encoders.registry import forget_encoders, load_encoder
from tests.standins.network_files import write_onnx, write_torchscript

if TYPE_CHECKING:
    from models.encoders.base import Encoder
    from models.types import Image, Matrix

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def spec(name: str, path: Path, **options: Any) -> EncoderSpec:
    given_options = {"path": str(path), "precision": "float32", "mean": MEAN, "std": STD} | options
    return EncoderSpec(name, json.dumps(given_options), device="cpu")


def load(name: str, path: Path, **options: Any) -> Encoder[Any, Any]:
    return load_encoder(spec(name, path, **options))


def encode(made: Encoder[Any, Any], shown: list[Image]) -> Matrix:
    return made.encode([made.prepare(one) for one in shown])


def pixels(shown: list[Image], side: int = 32, channels: int = 1) -> Matrix:
    """Squash and normalise by Pillow and NumPy, (n, 3, side, side) float32."""
    resized = [
        np.asarray(PillowImage.fromarray(one).resize((side, side), PillowImage.Resampling.BICUBIC))[
            ..., ::channels
        ]
        for one in shown
    ]
    normal = (np.stack(resized) / 255 - np.array(MEAN)) / np.array(STD)
    found: Matrix = normal.transpose(0, 3, 1, 2).astype(np.float32)
    return found


def computed(model: Any, shown: Matrix) -> Matrix:
    """By ONNX's own reference, one picture at a time."""
    evaluator = ReferenceEvaluator(model)
    rows: list[Any] = [evaluator.run(None, {"pictures": one[None]}) for one in shown]
    found: Matrix = np.concatenate([outputs[0] for outputs in rows])
    return found


def assert_near(found: Matrix, expected: Matrix) -> None:
    """Two levels of 255, which resizing may be off, and no more."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.02)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(axis=1) / lengths > 0.9999).all()


@pytest.mark.parametrize("form", ["plain", "one", "nhwc"])
def test_an_onnx_file_gives_what_its_reference_does(
    tmp_path: Path, photos: list[Image], form: str
) -> None:
    model = write_onnx(tmp_path / "net.onnx", form)
    made = load("onnx", tmp_path / "net.onnx", fit="squash")
    shown = pixels(photos)
    expected = computed(model, shown.transpose(0, 2, 3, 1) if form == "nhwc" else shown)
    assert_near(encode(made, photos), expected)
    assert made.dim == 8
    half = load("onnx", tmp_path / "net.onnx", fit="squash", precision="half")
    assert half.fingerprint != made.fingerprint
    near = encode(half, photos)
    lengths = np.linalg.norm(near, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((near * expected).sum(axis=1) / lengths).min() >= 0.995


@pytest.mark.parametrize(
    ("form", "pooling", "pooled"),
    [
        ("maps", "auto", lambda maps: maps.mean((2, 3))),
        ("maps", "max", lambda maps: maps.max((2, 3))),
        ("tokens", "mean", lambda tokens: tokens.mean(1)),
        ("tokens", "max", lambda tokens: tokens.max(1)),
        ("tokens", "first", lambda tokens: tokens[:, 0]),
    ],
)
def test_maps_and_tokens_are_pooled(
    tmp_path: Path, photos: list[Image], form: str, pooling: str, pooled: Any
) -> None:
    model = write_onnx(tmp_path / "net.onnx", form)
    made = load("onnx", tmp_path / "net.onnx", fit="squash", pooling=pooling)
    assert_near(encode(made, photos), pooled(computed(model, pixels(photos))))


def test_channels_size_and_output_are_as_told(tmp_path: Path, photos: list[Image]) -> None:
    path = tmp_path / "net.onnx"
    model = write_onnx(path, side="side")
    made = load("onnx", path, fit="squash", size=40, channels="bgr")
    assert_near(encode(made, photos), computed(model, pixels(photos, 40, -1)))
    both = write_onnx(path, "two outputs")
    chosen = load("onnx", path, fit="squash", output="maps", pooling="max")
    evaluator = ReferenceEvaluator(both)
    outputs: Any = evaluator.run(["maps"], {"pictures": pixels(photos)})
    maps = outputs[0]
    assert_near(encode(chosen, photos), maps.max((2, 3)))


def test_weights_beside_the_file_are_in_the_fingerprint(
    tmp_path: Path, photos: list[Image]
) -> None:
    path = tmp_path / "net.onnx"
    model = write_onnx(path, external=True)
    assert external_files(path) == [tmp_path / "net.onnx.data"]
    made = load("onnx", path, fit="squash")
    assert_near(encode(made, photos), computed(model, pixels(photos)))
    data = tmp_path / "net.onnx.data"
    content = bytearray(data.read_bytes())
    content[2] ^= 1
    data.write_bytes(content)
    assert load("onnx", path, fit="squash", resize_to=32).fingerprint != made.fingerprint
    content[2] ^= 1
    data.write_bytes(content)
    forget_encoders()
    assert load("onnx", path, fit="squash", resize_to=32).fingerprint == made.fingerprint
    data.unlink()
    with pytest.raises(ConfigError, match=r"'net\.onnx\.data', which is not beside it"):
        external_files(path)


def test_the_place_is_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    seen = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_onnx(tmp_path / name / "net.onnx")
        seen.add(load("onnx", tmp_path / name / "net.onnx").fingerprint)
    assert len(seen) == 1
    assert load("onnx", tmp_path / "one" / "net.onnx", mean=(0, 0, 0)).fingerprint not in seen


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "a/b", ""])
def test_weights_elsewhere_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(4000))
    path = tmp_path / "models" / "net.onnx"
    path.parent.mkdir()
    write_onnx(path, external=True)
    content = path.read_bytes()
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = place
    path.write_bytes(model.SerializeToString())
    assert path.read_bytes() != content
    with pytest.raises(ConfigError, match="which is not beside it"):
        load("onnx", path)


def test_weights_within_a_branch_are_found(tmp_path: Path) -> None:
    """A graph in an attribute of a node, and a tensor in another's."""

    def outside(name: str) -> Any:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{name}.bin")
        (tmp_path / f"{name}.bin").write_bytes(bytes(4))
        return tensor

    branch = helper.make_graph([], "branch", [], [], [outside("inner")])
    node = helper.make_node("If", ["condition"], ["x"], then_branch=branch, else_branch=branch)
    constant = helper.make_node("Constant", [], ["y"], value=outside("constant"))
    graph = helper.make_graph([node, constant], "net", [], [], [])
    (tmp_path / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    found = external_files(tmp_path / "net.onnx")
    assert [path.name for path in found] == ["constant.bin", "inner.bin"]


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("two inputs", {}, "has 2 inputs (pictures, mask), not one"),
        ("two outputs", {}, "say which output: output = one of vectors, maps"),
        ("plain", {"output": "vektors"}, "say which output: output = one of vectors"),
        ("plain", {"size": 64}, "size = (64, 64), but the file takes (32, 32)"),
        ("plain", {"layout": "nhwc"}, "cannot be run"),
        ("tokens", {}, "of which pooling = 'auto' makes no vectors"),
    ],
)
def test_a_file_that_does_not_fit_is_told(
    tmp_path: Path, form: str, options: dict[str, Any], message: str
) -> None:
    write_onnx(tmp_path / "net.onnx", form)
    with pytest.raises(ConfigError) as caught:
        load("onnx", tmp_path / "net.onnx", **options)
    assert message in str(caught.value)


def test_an_open_size_is_to_be_told(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx", side="side")
    with pytest.raises(ConfigError, match="the file takes any size; say one: size = 224"):
        load("onnx", tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match="no such file"):
        load("onnx", tmp_path / "none.onnx")


def test_only_openvino_runs_onnx(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx")
    plain = spec("onnx", tmp_path / "net.onnx")
    for other in (replace(plain, engine="torch"), replace(plain, device="cuda")):
        with pytest.raises(ConfigError, match="by OpenVINO on the processor"):
            load_encoder(other)


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a network" * 50, b"PK\x03\x04" * 9])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "net.file"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"net\.file: "):
        load(name, path, size=32)


@hypothesis_settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_graph_is_read_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    if not (folder / "whole.onnx").exists():
        write_onnx(folder / "whole.onnx", external=True)
    content = bytearray((folder / "whole.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "net.onnx"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(ConfigError):
        assert {found.parent for found in external_files(path)} <= {folder}


# TorchScript.


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_torchscript_file_gives_what_its_network_does(
    tmp_path: Path, photos: list[Image], engine: str, pooled: bool
) -> None:
    net = write_torchscript(tmp_path / "net.pt", pooled)
    given_spec = replace(spec("torchscript", tmp_path / "net.pt", size=32, fit="squash"))
    made = load_encoder(replace(given_spec, engine=engine))
    with torch.inference_mode():
        expected = net(torch.from_numpy(pixels(photos)))
    expected = expected if pooled else expected.mean((2, 3))
    assert_near(encode(made, photos), expected.numpy())
    assert engine in made.describe()["engine"]


def test_a_torchscript_file_needs_a_size_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    write_torchscript(path)
    with pytest.raises(ConfigError, match="option 'size'"):
        load("torchscript", path)
    with pytest.raises(ConfigError, match=r"net\.pt: cannot be run: .*[Kk]ernel size"):
        load("torchscript", path, size=3)


class Command:
    """Unpickled by Python, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "code ran"))


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_a_torchscript_archive_runs_no_python(tmp_path: Path, member: str) -> None:
    write_torchscript(tmp_path / "net.pt")
    pickled = zip_member(tmp_path / "net.pt", member)
    torch.save(Command(tmp_path / "proof"), tmp_path / "command.pt")
    command = zip_member(tmp_path / "command.pt", "data.pkl")
    assert pickled != command
    with (
        zipfile.ZipFile(tmp_path / "net.pt") as whole,
        zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil,
    ):
        for name in whole.namelist():
            evil.writestr(name, command if name.endswith(f"/{member}") else whole.read(name))
    with pytest.raises(ConfigError, match="cannot load it as TorchScript"):
        load("torchscript", tmp_path / "evil.pt", size=32)
    assert not (tmp_path / "proof").exists()
    torch.load(tmp_path / "command.pt", weights_only=False)  # this is how it would have run
    assert (tmp_path / "proof").exists()


def zip_member(path: Path, member: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(f"/{member}")]
        return archive.read(name)


def test_weights_alone_are_no_torchscript(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match="cannot load it as TorchScript"):
        load("torchscript", tmp_path / "weights.pt", size=32)
