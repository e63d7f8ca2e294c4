"""What lets engines share a space: whichever computes a network, the vectors are the same."""

from __future__ import annotations

import gzip
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from data.images import decode_image
from latentlake.errors import BadInputError, ConfigError, MissingExtraError
from models.encoders.base import EncoderSpec
from models.encoders.engines import choice
from models.encoders.engines.base import (
    HALF_MEAN_COSINE,
    HALF_WORST_COSINE,
    Engine,
    Network,
    Precision,
)
from models.encoders.engines.choice import open_engine
from models.encoders.registry import find_encoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.types import Matrix

ENCODERS = ("efficientnet-lite0", "minilm")
ENGINES = ("openvino", "torch")
SPEC = EncoderSpec("a network", device="cpu", threads=2)


def real_items(name: str, samples: Path) -> list[Any]:
    """Every sixth of the bundled photos, if it can be decoded, or 30 abstracts."""
    if name == "minilm":
        with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line)["abstract"] for line, _ in zip(lines, range(30), strict=False)]
    shown = []
    for path in sorted((samples / "photos").rglob("*.jpg"))[::6]:
        try:
            shown.append(decode_image(path.read_bytes()))
        except BadInputError:
            continue  # the samples hold broken files on purpose
    return shown


def vectors(name: str, engine: str, precision: str, samples: Path) -> tuple[Matrix, str]:
    options = json.dumps({"precision": precision})
    spec = EncoderSpec(name, options, device="cpu", threads=2, engine=engine)
    encoder = find_encoder(name).load_type().load(spec)
    prepared = [encoder.prepare(item) for item in real_items(name, samples)]
    assert len(prepared) >= 25
    return encoder.encode(prepared), encoder.fingerprint


def cosines(found: Matrix, expected: Matrix) -> Matrix:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    near: Matrix = (found * expected).sum(axis=1) / lengths
    return near


@pytest.mark.parametrize("name", ENCODERS)
def test_every_engine_agrees_with_float32_torch(name: str, samples: Path) -> None:
    reference, exact = vectors(name, "torch", "float32", samples)
    fingerprints = set()
    for made_by in ENGINES:
        rounded, fingerprint = vectors(name, made_by, "half", samples)
        fingerprints.add(fingerprint)
        near = cosines(rounded, reference)
        assert near.mean() >= HALF_MEAN_COSINE
        assert near.min() >= HALF_WORST_COSINE
    full, fingerprint = vectors(name, "openvino", "float32", samples)
    assert cosines(full, reference).min() >= 0.99999
    assert fingerprint == exact
    assert len(fingerprints) == 1
    assert exact not in fingerprints


class Affine(nn.Module):
    """(n, 3) to (n, 2), by numbers that bfloat16 can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.linear.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]])
        self.linear.bias.data = torch.tensor([0.5, -1.0])

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        linear: torch.Tensor = self.linear(rows)
        return linear


def affine(rows: Matrix) -> Matrix:
    module = Affine()
    weight, bias = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    found: Matrix = rows @ weight.T + bias
    return found


def network(build: Callable[[], nn.Module] = Affine, **changes: Any) -> Network:
    example = (np.ones((2, 3), np.float32),)
    return replace(Network(build, example, identity="affine"), **changes)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return open_engine(network(), replace(SPEC, engine=request.param), "float32")


def some_rows(seed: int, count: int) -> Matrix:
    return np.random.default_rng(seed).integers(-8, 8, (count, 3)).astype(np.float32)


def test_slices_come_back_in_their_order(engine: Engine) -> None:
    slices = [some_rows(seed, 1 + seed % 5) for seed in range(40)]
    found = engine.compute([(rows,) for rows in slices])
    for rows, computed in zip(slices, found, strict=True):
        np.testing.assert_array_equal(computed, affine(rows))
        assert computed.dtype == np.float32
    assert engine.compute([]) == []


def test_threads_take_turns(engine: Engine) -> None:
    def compute(seed: int) -> bool:
        slices = [some_rows(100 * seed + number, 3) for number in range(20)]
        found = engine.compute([(rows,) for rows in slices])
        return all(
            np.array_equal(one, affine(rows)) for rows, one in zip(slices, found, strict=True)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(compute, range(32)))


def test_a_converted_network_is_kept_and_found_again(tmp_path: Path) -> None:
    spec = replace(SPEC, engine="openvino", cache=str(tmp_path / "engines"))
    open_engine(network(), spec, "float32")
    (kept,) = (tmp_path / "engines").iterdir()
    assert kept.name.startswith("affine-openvino-")

    def refuse() -> nn.Module:
        raise AssertionError("the network was built again")

    again = open_engine(network(refuse), spec, "float32")
    np.testing.assert_array_equal(again.compute([(some_rows(1, 4),)])[0], affine(some_rows(1, 4)))
    with pytest.raises(AssertionError, match="built again"):  # another network is not this one
        open_engine(network(refuse, identity="other"), spec, "float32")
    assert [path.name for path in (tmp_path / "engines").iterdir()] == [kept.name]


def test_processes_that_convert_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    spec = replace(SPEC, engine="openvino", cache=str(tmp_path / "engines"))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: open_engine(network(), spec, "float32"), range(4)))
    for one in made:
        np.testing.assert_array_equal(one.compute([(some_rows(2, 3),)])[0], affine(some_rows(2, 3)))
    assert len(list((tmp_path / "engines").iterdir())) == 1


def test_where_nothing_can_be_kept_it_works_without(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file where a folder should be")
    spec = replace(SPEC, engine="openvino", cache=str(tmp_path / "engines"))
    made = open_engine(network(), spec, "float32")
    np.testing.assert_array_equal(made.compute([(some_rows(3, 2),)])[0], affine(some_rows(3, 2)))


def test_a_layer_can_be_kept_from_rounding() -> None:
    """1 + 2^-12 is lost in bfloat16, which has 8 bits; OpenVINO rounds only heavy layers."""

    def build(sides: int = 64) -> nn.Module:
        first, second = nn.Linear(sides, sides, bias=False), nn.Linear(sides, 8, bias=False)
        first.weight.data = torch.eye(sides) * (1 + 2**-12)
        second.weight.data = torch.ones(8, sides)
        return nn.Sequential(first, second).eval()

    rows = np.eye(64, dtype=np.float32)
    made = {
        names: open_engine(
            Network(build, (rows,), f"kept-{len(names)}", keep_float32=names),
            replace(SPEC, engine="openvino"),
            "half",
        )
        for names in ((), ("0", "1"))
    }
    if "bfloat16" not in made[()].label:
        pytest.skip("this processor has no bfloat16, so nothing is rounded")
    expected = np.full((64, 8), 1 + 2**-12, np.float32)
    np.testing.assert_array_equal(made["0", "1"].compute([(rows,)])[0], expected)
    assert (made[()].compute([(rows,)])[0] != expected).all()


def test_converting_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    open_engine(network(identity="quiet"), replace(SPEC, engine="openvino"), "half")
    assert asked == []


def test_without_openvino_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    made = open_engine(network(), SPEC, "half")
    assert made.label.startswith("torch")
    with pytest.raises(MissingExtraError, match="pip install openvino"):
        open_engine(network(), replace(SPEC, engine="openvino"), "half")


def test_openvino_is_not_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"run\.device = 'cpu'"):
        open_engine(network(), replace(SPEC, engine="openvino", device="cuda"), "half")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", get_args(Precision))
def test_cuda_agrees_with_the_processor(precision: Precision) -> None:
    made = open_engine(network(), replace(SPEC, device="cuda"), precision)
    rows = some_rows(4, 9)
    np.testing.assert_allclose(made.compute([(rows,)])[0], affine(rows), rtol=1e-3)
