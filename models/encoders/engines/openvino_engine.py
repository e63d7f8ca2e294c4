"""The engine `openvino`: the network compiled for this processor, several passes at once.

The conversion goes through OpenVINO's PyTorch front end itself, not through `convert_model`, which
reports each conversion to its makers. Nothing here opens a connection.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import openvino as ov
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.encoders.engines.base import Inputs, Network, Precision
    from models.types import Matrix

PASSES_A_STREAM: Final = 2
"""So many passes are under way for each stream: one computes, one waits to."""

_MODEL: Final = "model.xml"
_tracing = Lock()
"""Tracing swaps the process's filters of warnings, which two threads at once would mix up."""


class OpenVinoEngine:
    """Runs a compiled network on `threads` cores, one stream a core."""

    def __init__(
        self, network: Network | ov.Model, precision: Precision, threads: int, cache: Path | None
    ) -> None:
        model = network if isinstance(network, ov.Model) else _shaped(network, cache)
        compiled = ov.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "half" else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                # Decoders share the cores: a stream that is nailed to one waits for them.
                "ENABLE_CPU_PINNING": False,
            },
        )
        # A processor without bfloat16 computes in float32, and says so.
        self._precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._requests = [compiled.create_infer_request() for _ in range(PASSES_A_STREAM * threads)]
        self._turn = Lock()

    @property
    def label(self) -> str:
        """Name engine, version, device and precision."""
        names = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
        precision = names.get(self._precision, self._precision)
        return f"openvino {metadata.version('openvino')} cpu {precision}"

    def compute(self, slices: Sequence[Inputs]) -> list[Matrix]:
        """Run the network over each slice; see `Engine`.

        The slices go round the requests in turn. They should be about equally long: a request is
        waited for when its turn comes again.
        """
        found: list[Matrix] = []
        requests = self._requests
        with self._turn:
            for number, inputs in enumerate(slices):
                request = requests[number % len(requests)]
                if number >= len(requests):
                    found.append(_result(request))
                request.start_async(dict(enumerate(inputs)), share_inputs=True)
            left = range(len(found), len(slices))
            found.extend(_result(requests[number % len(requests)]) for number in left)
        return found


def _result(request: ov.InferRequest) -> Matrix:
    request.wait()
    rows: Matrix = request.get_output_tensor(0).data.copy()
    return rows


def _shaped(network: Network, cache: Path | None) -> ov.Model:
    model = converted_model(network, cache)
    if network.fixed_shape:
        shapes = {i: ov.PartialShape(array.shape) for i, array in enumerate(network.example)}
        model.reshape(shapes)
    return model


def converted_model(network: Network, cache: Path | None) -> ov.Model:
    """Return the network as OpenVINO's model: from the cache, or converted and left there."""
    if cache is None:
        with tempfile.TemporaryDirectory() as scratch:
            return _into_memory(_convert(network, Path(scratch)))
    kept = cache / f"{network.identity}-openvino-{metadata.version('openvino')}"
    if (kept / _MODEL).is_file():
        with suppress(OSError):
            kept.touch()  # what nobody has used for long may be removed from a cache
        return _into_memory(kept / _MODEL)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=cache, prefix="_"))
    except OSError:  # a lake that may only be read: it works without a cache
        return converted_model(network, None)
    try:
        model = _into_memory(_convert(network, folder))
        folder.chmod(0o755)
        with suppress(OSError):  # another process was first, with the same model
            folder.rename(kept)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return model


def _into_memory(path: Path) -> ov.Model:
    """Read a model so that its files may go, be moved or be replaced."""
    weights = path.with_suffix(".bin").read_bytes()
    return ov.Core().read_model(path.read_bytes(), weights)


def _convert(network: Network, folder: Path) -> Path:
    """Trace the network, convert it and write it into a folder."""
    example = tuple(torch.from_numpy(array) for array in network.example)
    with _tracing, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape it has looked at
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network.build(), example, check_trace=False
        )
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # the front end does not keep it alive itself
    model = front_end.convert(front_end.load(decoder))
    path = folder / _MODEL
    ov.save_model(model, path, compress_to_fp16=False)
    _keep_float32(path, network.keep_float32)
    return path


def _keep_float32(path: Path, names: tuple[str, ...]) -> None:
    """Mark layers of a saved model as `precise`, which exempts them from 16-bit floats.

    The mark is OpenVINO's own (ov::DisableFP16Compression). Set through the Python interface it
    does not survive compilation, so it is written into the file.
    """
    if not names:
        return
    tree: ET.ElementTree[Any] = ET.parse(path)  # noqa: S314 - written by this process just now
    for layer in tree.iter("layer"):
        if layer.get("type") != "Const" and any(part in layer.get("name", "") for part in names):
            marks = layer.find("rt_info")
            if marks is None:
                marks = ET.Element("rt_info")
                layer.insert(1 if layer.find("data") is not None else 0, marks)
            ET.SubElement(marks, "attribute", name="precise", version="0")
    tree.write(path)
