"""Networks in a file, whose preprocessing the user tells: what ONNX and TorchScript share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latentlake.errors import ConfigError
from models.encoders.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.encoders.adapters.options import NetworkFileOptions

TOLD: Final = frozenset(
    {"path", "size", "resize_to", "fit", "interpolation", "mean", "std", "channels"}
)
"""Options that the fingerprint has as the file's content and as its preprocessing."""


def given_file(path: str) -> Path:
    """Return the file behind an option.

    Raises:
        ConfigError: there is none.
    """
    found = Path(path)
    if not found.is_file():
        raise ConfigError(f"{path}: no such file.")
    return found


def files_digest(files: Iterable[Path]) -> str:
    """Digest the contents of files, in their order; hex SHA-256."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def told_preprocessing(
    options: NetworkFileOptions, size: tuple[int, int] | None, encoder: str
) -> Preprocessing:
    """Return what is done to pictures, as the options have it.

    Args:
        options: the encoder's.
        size: (height, width) as the file says it, if it does.
        encoder: who asks, for the message.

    Raises:
        ConfigError: neither the file nor the options give a size, or they differ.
    """
    told = (options.size, options.size) if isinstance(options.size, int) else options.size
    if told is None and size is None:
        raise ConfigError(f"encoder '{encoder}': the file takes any size; say one: size = 224.")
    if told is not None and size is not None and told != size:
        raise ConfigError(f"encoder '{encoder}': size = {told}, but the file takes {size}.")
    height, width = told or size or (0, 0)
    box = (options.resize_to, options.resize_to) if options.resize_to else (height, width)
    return Preprocessing(
        size=(height, width),
        scale=box,
        fit=options.fit,
        interpolation=options.interpolation,
        mean=options.mean,
        std=options.std,
        channels=options.channels,
    )
