"""What `latentlake doctor --bench` measures: the parts that the time of a run is made of.

Each takes some seconds. The figures are for comparing machines and settings; what a whole run
reaches is measured in benchmarks/.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data.images import decode_image
from latentlake.cli.checks import Check, guarded
from latentlake.errors import BadInputError
from latentlake.settings import RunSettings
from models.encoders.base import EncoderSpec
from models.encoders.registry import load_encoder
from models.indexes.blas_speed import gigaflops
from models.indexes.faiss_library import BLAS_VARIABLE, blas_core, processor_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLEARLY: Final = 1.2
"""Two figures nearer to each other than this factor count as equal: other work disturbs them."""
_PHOTOS: Final = 64
_ENCODER: Final = "efficientnet-lite0"


def measure_all() -> Iterator[Check]:
    """Measure each part; one that breaks is a finding itself."""
    for measure in (_kernels, _decoding, _networks):
        yield from guarded(measure)


def _kernels() -> Iterator[Check]:
    detected, best = gigaflops(None), blas_core(processor_flags())
    finding = f"{detected:.0f} GFLOP/s a core with kernels by detection"
    if best is None:
        yield Check("speed: exact search", "ok", finding)
        return
    forced = gigaflops(best)
    gain = forced / detected
    finding = f"{forced:.0f} GFLOP/s a core with {best} kernels, {gain:.1f} x detection"
    chosen = os.environ.get(BLAS_VARIABLE)
    if chosen is None or chosen == best:
        yield Check("speed: exact search", "ok", finding)
        return
    given = gigaflops(chosen)
    finding += f"; {given:.0f} with {chosen}, which the environment asks for"
    if forced > _CLEARLY * given:
        yield Check("speed: exact search", "warn", finding, f"unset {BLAS_VARIABLE}")
    else:
        yield Check("speed: exact search", "ok", finding)


def _decoding() -> Iterator[Check]:
    encoder = _encoder("auto", "half")
    photos = _photos()
    rate = _rate(len(photos), lambda: _prepared(encoder, photos))
    yield Check("speed: JPEG", "ok", f"{rate:.0f} of the bundled photos a second and core, resized")


def _networks() -> Iterator[Check]:
    prepared = _prepared(_encoder("auto", "half"), _photos())
    for engine, precision in (("auto", "half"), ("auto", "float32"), ("torch", "float32")):
        encoder = _encoder(engine, precision)
        encoder.encode(prepared)
        rate = _rate(len(prepared), partial(encoder.encode, prepared))
        label = encoder.describe()["engine"]
        yield Check(f"speed: {_ENCODER}", "ok", f"{rate:.0f} images a second by {label}")


def _photos() -> list[bytes]:
    folder = Path(str(files("data"))) / "samples" / "photos"
    photos: list[bytes] = []
    for path in sorted(folder.rglob("*.jpg")):
        payload = path.read_bytes()
        try:
            decode_image(payload)
        except BadInputError:  # some samples are broken on purpose
            continue
        photos.append(payload)
    return photos[:_PHOTOS]


def _encoder(engine: str, precision: str) -> Any:
    threads = RunSettings().thread_count
    options = json.dumps({"precision": precision})
    return load_encoder(EncoderSpec(_ENCODER, options, threads=threads, engine=engine))


def _prepared(encoder: Any, photos: list[bytes]) -> list[Any]:
    return [encoder.prepare(decode_image(photo, encoder.min_side)) for photo in photos]


def _rate(count: int, work: Callable[[], object]) -> float:
    """Return how many a second, the better of two rounds."""
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    return count / min(seconds)
