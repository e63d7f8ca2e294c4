"""`onnx`: images by a network in an ONNX file, read and run by OpenVINO alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from latentlake.errors import ConfigError
from models.encoders.adapters.network_files import (
    TOLD,
    files_digest,
    given_file,
    told_preprocessing,
)
from models.encoders.adapters.onnx_graph import external_files
from models.encoders.adapters.options import OnnxOptions
from models.encoders.adapters.torch_images import one_line
from models.encoders.engines.openvino_engine import OpenVinoEngine
from models.encoders.image_encoder import ImageEncoder, ImageModel
from models.encoders.options import options_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from models.encoders.adapters.torch_images import Pooling
    from models.encoders.base import EncoderOptions, EncoderSpec
    from models.encoders.engines.base import Engine, Inputs, Precision
    from models.encoders.preprocessing import Preprocessing
    from models.types import Matrix

NAME: Final = "onnx"
REVISION: Final = 1
_CHANNELS, _PICTURES = 3, 4
"""Channels of a picture, and axes of a batch of them."""


class OnnxEncoder(ImageEncoder):
    """Pictures to what the network makes of them, on the processor."""

    options_type: ClassVar[type[EncoderOptions]] = OnnxOptions

    @classmethod
    def load(cls, spec: EncoderSpec) -> OnnxEncoder:
        """Read the file by OpenVINO's front end for ONNX.

        Raises:
            ConfigError: no such file, no ONNX, a network that does not take pictures, or an engine
                other than OpenVINO.
        """
        if spec.engine == "torch" or spec.device == "cuda":
            raise ConfigError(
                "encoder 'onnx' is computed by OpenVINO on the processor: set run.engine and "
                "run.device to 'auto'."
            )
        options = options_from_json(NAME, OnnxOptions, spec.options)
        path = given_file(options.path)
        digest = files_digest([path, *external_files(path)])
        found = _read(path)
        layout, size = _input_of(found, options)
        output = _output_of(found, options)
        preprocessing = told_preprocessing(options, size, NAME)
        network = _OnnxNetwork(path, layout, output, options.pooling, preprocessing)
        model = ImageModel(
            name=NAME,
            family=NAME,
            revision=REVISION,
            weights=digest,
            preprocessing=preprocessing,
            options=options,
            precision=options.precision,
            open_engine=network.opener(spec.threads),
            libraries={"openvino": ov.__version__},
            origins=TOLD,
        )
        return cls(replace(spec, device="cpu"), model)


@dataclass(frozen=True, slots=True)
class _OnnxNetwork:
    """What an engine is made from; `layout` is that of input and maps, "NCHW" or "NHWC"."""

    path: Path
    layout: str
    output: int
    pooling: Pooling
    preprocessing: Preprocessing

    def opener(self, threads: int) -> Callable[[int, Precision], Engine]:
        """Return what opens an engine for passes of so many rows; see `ImageModel`."""

        def open_it(rows: int, precision: Precision) -> Engine:
            try:
                engine = self._engine(rows, precision, threads)
                engine.compute([(np.zeros((rows, *self.preprocessing.size, 3), np.uint8),)])
            except RuntimeError:  # a network for one picture at a time, its 1 within the graph
                try:
                    engine = self._engine(1, precision, threads)
                except RuntimeError as error:
                    raise ConfigError(f"{self.path}: cannot be run: {_short(error)}") from error
            return engine

        return open_it

    def _engine(self, rows: int, precision: Precision, threads: int) -> _OnnxEngine:
        model = _read(self.path)
        channels_first = (rows, _CHANNELS, *self.preprocessing.size)
        channels_last = (rows, *self.preprocessing.size, _CHANNELS)
        shape = channels_first if self.layout == "NCHW" else channels_last
        chosen = ov.Model([model.outputs[self.output]], model.get_parameters(), "onnx")
        chosen.reshape(ov.PartialShape(shape))
        steps = PrePostProcessor(chosen)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout(self.layout))
        (
            steps.input()
            .preprocess()
            .convert_element_type(ov.Type.f32)
            .mean([255 * part for part in self.preprocessing.mean])
            .scale([255 * part for part in self.preprocessing.std])
        )
        steps.output().tensor().set_element_type(ov.Type.f32)
        engine = OpenVinoEngine(steps.build(), precision, threads, None)
        return _OnnxEngine(engine, rows, self.layout, self.pooling)


class _OnnxEngine:
    """OpenVINO's engine with what an ONNX file may lack: any number of rows, and pooling."""

    def __init__(self, engine: OpenVinoEngine, rows: int, layout: str, pooling: Pooling) -> None:
        self._engine = engine
        self._rows = rows
        self._layout = layout
        self._pooling = pooling

    @property
    def label(self) -> str:
        """Name engine, version, device and precision."""
        return self._engine.label

    def compute(self, slices: Sequence[Inputs]) -> list[Matrix]:
        """Run the network over each slice; see `Engine`."""
        if self._rows > 1 or not slices:
            return [self._pooled(found) for found in self._engine.compute(slices)]
        single = [(inputs[0][row : row + 1],) for inputs in slices for row in range(len(inputs[0]))]
        found = iter(self._engine.compute(single))
        return [self._pooled(np.concatenate([next(found) for _ in inputs[0]])) for inputs in slices]

    def _pooled(self, features: Matrix) -> Matrix:
        """Bring features to one row a picture, as `torch_images.pooled` does."""
        maps = (1, 2) if self._layout == "NHWC" else (2, 3)
        match features.ndim, self._pooling:
            case 2, _:
                return features
            case 4, "auto" | "mean":
                found: Matrix = features.mean(maps)
            case 4, "max":
                found = features.max(maps)
            case 3, "mean":
                found = features.mean(1)
            case 3, "max":
                found = features.max(1)
            case 3, "first":
                found = features[:, 0]
            case _:
                raise ConfigError(
                    f"encoder 'onnx': the network returns {features.shape}, of which pooling = "
                    f"'{self._pooling}' makes no vectors."
                )
        return found


def _read(path: Path) -> Any:
    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise ConfigError(f"{path}: OpenVINO cannot read it as ONNX: {_short(error)}") from error


def _input_of(model: Any, options: OnnxOptions) -> tuple[str, tuple[int, int] | None]:
    """Return layout and (height, width) of the only input, where the file says them.

    Raises:
        ConfigError: there are several inputs, or it does not take pictures.
    """
    shapes = {one.get_any_name(): one.get_partial_shape() for one in model.inputs}
    if len(shapes) != 1:
        raise ConfigError(
            f"{options.path}: has {len(shapes)} inputs ({', '.join(shapes)}), not one."
        )
    (shape,) = shapes.values()
    if shape.rank.is_dynamic or len(shape) != _PICTURES:
        raise ConfigError(f"{options.path}: takes {shape}, not pictures (four axes).")
    sides = [axis.get_length() if axis.is_static else None for axis in shape]
    layout = options.layout.upper()
    if options.layout == "auto":
        if (sides[1] == _CHANNELS) == (sides[3] == _CHANNELS):
            raise ConfigError(f'{options.path}: takes {shape}; say layout = "nchw" or "nhwc".')
        layout = "NCHW" if sides[1] == _CHANNELS else "NHWC"
    height, width = sides[2:] if layout == "NCHW" else sides[1:3]
    return layout, (height, width) if height and width else None


def _output_of(model: Any, options: OnnxOptions) -> int:
    """Return which output to take.

    Raises:
        ConfigError: there are several and none is named, or there is none of this name.
    """
    names = [one.get_any_name() for one in model.outputs]
    if options.output is None and len(names) == 1:
        return 0
    if options.output not in names:
        raise ConfigError(f"{options.path}: say which output: output = one of {', '.join(names)}.")
    return names.index(options.output)


def _short(error: Exception) -> str:
    """Return the end of OpenVINO's messages, which begin with places in its source."""
    return one_line(error)[-200:]
