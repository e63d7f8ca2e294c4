"""`python:<module>:<function>`: any function from a list of items to a matrix is an encoder."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module, metadata
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from PIL import Image as PillowImage

from latentlake.errors import ConfigError, EncodeError, nearest_hint
from models.encoders.adapters.options import CallableOptions
from models.encoders.adapters.source_code import code_digest
from models.encoders.base import Pretrained
from models.encoders.options import options_from_json
from models.encoders.plug_ins import ENTRY_POINT_GROUP
from models.encoders.preprocessing import checked_image
from models.types import Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec

REVISION: Final = 1
NEAR: Final = 1e-3
"""Relative to its length, a row may differ so much from the same one of another batch."""

_SENTENCES: Final = ["A red dress with long sleeves.", "Networks that learn to see, in 1998"]


class CallableEncoder(Pretrained):
    """Items to the rows that a user's function returns, (n, dim) float32.

    What the function raises for a batch, or returns in another shape, is an `EncodeError`: the
    caller tries smaller batches, until only the items that it cannot take are left.
    """

    options_type: ClassVar[type[EncoderOptions]] = CallableOptions

    def __init__(self, spec: EncoderSpec, options: CallableOptions, reference: str) -> None:
        self._name = spec.name
        self._options = options
        self._reference = reference
        self._function = _function(reference)
        self._turn = Lock()
        self.modality = Modality(options.modality)
        self.metric = Metric(options.metric)
        self.batch_size = options.batch_size
        self._code = None if options.version else code_digest(reference.partition(":")[0])
        self.dim = options.dim or 0  # 0: whatever the first answer has
        self.dim = self._probed()
        self.fingerprint = self._fingerprint()

    @classmethod
    def load(cls, spec: EncoderSpec) -> CallableEncoder:
        """Import the function and try it on two items.

        Raises:
            ConfigError: there is no such function, it fails, its rows depend on their batch, or
                it returns something else than `dim` numbers an item.
        """
        options = options_from_json(spec.name, CallableOptions, spec.options)
        return cls(spec, options, _reference(spec.name))

    def prepare(self, item: Any) -> Any:
        """Return what the function takes: a PIL image, an array, or the text itself.

        Raises:
            EncodeError: the array is no RGB image or has no pixel.
        """
        if self.modality is Modality.TEXT:
            return item
        pixels = checked_image(item, self._name)
        return PillowImage.fromarray(pixels) if self._options.form == "pil" else pixels

    def encode(self, batch: Sequence[Any]) -> Matrix:
        """Call the function; (len(batch), dim) float32.

        Raises:
            EncodeError: it failed, or did not return one row of finite numbers for each item.
        """
        if not batch:
            return np.empty((0, self.dim), np.float32)
        starts = range(0, len(batch), self.batch_size)
        with self._turn:
            return np.concatenate([self._call(batch[at : at + self.batch_size]) for at in starts])

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return {
            "encoder": self._name,
            "revision": REVISION,
            "function": self._reference,
            "code_sha256": self._code,
            "options": self._options.model_dump(mode="json"),
        }

    def _call(self, items: Sequence[Any]) -> Matrix:
        try:
            found = np.asarray(self._function(list(items)), dtype=np.float32)
        except Exception as error:  # whatever a user's code may raise
            reason = " ".join(str(error).split())
            raise EncodeError(f"'{self._name}' raised {type(error).__name__}: {reason}") from error
        if found.ndim != 2 or found.shape != (len(items), self.dim or found.shape[1]):  # noqa: PLR2004
            numbers = f"{self.dim} numbers" if self.dim else "as many numbers"
            raise EncodeError(
                f"'{self._name}' returned shape {found.shape} for {len(items)} items, "
                f"not {numbers} for each"
            )
        if not np.isfinite(found).all():
            raise EncodeError(f"'{self._name}' returned numbers that are not finite")
        return found

    def _probed(self) -> int:
        """Try the function on two items, together and alone; return how many numbers it gives."""
        items = [self.prepare(item) for item in _examples(self.modality)]
        try:
            together = self._call(items)
            alone = np.concatenate([self._call([item]) for item in items])
        except EncodeError as error:
            raise ConfigError(f"encoder '{self._name}', tried on two items: {error}.") from error
        lengths = np.linalg.norm(together, axis=1, keepdims=True)
        if together.shape != alone.shape or (np.abs(together - alone) > NEAR * lengths).any():
            raise ConfigError(
                f"encoder '{self._name}': an item's row depends on its batch, or on chance; the "
                "vectors of two runs could not be compared."
            )
        return int(together.shape[1])

    def _fingerprint(self) -> str:
        recipe = {
            "encoder": "python",
            "revision": REVISION,
            "function": self._reference,
            "code": self._options.version or self._code,
            "dim": self.dim,
            "options": self._options.model_dump(
                mode="json", exclude={"batch_size", "version", "dim"}
            ),
        }
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _reference(name: str) -> str:
    """Return "module:function": what an encoder's name says, or its package announces."""
    family, _, rest = name.partition(":")
    if family == "python":
        return rest
    announced = metadata.entry_points(group=ENTRY_POINT_GROUP)
    return next(entry.value for entry in announced if entry.name == name)


def _function(reference: str) -> Callable[[list[Any]], Any]:
    module_name, _, path = reference.partition(":")
    if not module_name or not path:
        raise ConfigError(f"'python:{reference}': write python:module:function.")
    try:
        found: Any = import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"module '{module_name}' cannot be imported: {error}. Install its package into this "
            "environment, or name its folder in PYTHONPATH."
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = nearest_hint(part, dir(found))
            raise ConfigError(f"module '{module_name}' has no '{path}'.{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"'{reference}' is a {type(found).__name__}, not a function.")
    function: Callable[[list[Any]], Any] = found
    return function


def _examples(modality: Modality) -> list[Any]:
    if modality is Modality.TEXT:
        return list(_SENTENCES)
    drawn = np.random.default_rng(5).integers(0, 256, (2, 8, 10, 3), dtype=np.uint8)
    return [one.repeat(30, axis=0).repeat(32, axis=1) for one in drawn]
