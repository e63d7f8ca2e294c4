"""Which files a source of images, text or vectors can read, told by the extension alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from posixpath import splitext
from typing import Final, Literal

Kind = Literal["images", "text", "vectors"]


class Container(StrEnum):
    """How items lie in a file."""

    IMAGE = "image"
    TAR = "tar"
    PARQUET = "parquet"
    ARROW = "arrow"
    NPY = "npy"
    JSON = "json"
    JSON_LINES = "json_lines"
    CSV = "csv"
    TEXT = "text"
    DOCUMENT = "document"


class Compression(StrEnum):
    """How the bytes of a file are packed; the values are Arrow's codec names."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A container and its compression."""

    container: Container
    compression: Compression


# data.images.FORMATS holds the decoders that go with these.
_IMAGES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".jp2", ".j2k", ".pbm", ".pgm", ".ppm", ".pnm"),
)

_CONTAINERS: Final[dict[Kind, dict[str, Container]]] = {
    "images": dict.fromkeys(_IMAGES, Container.IMAGE)
    | {".tar": Container.TAR, ".parquet": Container.PARQUET},
    "text": {
        ".txt": Container.TEXT,
        ".text": Container.TEXT,
        ".md": Container.DOCUMENT,
        ".jsonl": Container.JSON_LINES,
        ".ndjson": Container.JSON_LINES,
        ".json": Container.JSON,
        ".csv": Container.CSV,
        ".tsv": Container.CSV,
        ".parquet": Container.PARQUET,
    },
    "vectors": {
        ".parquet": Container.PARQUET,
        ".arrow": Container.ARROW,
        ".arrows": Container.ARROW,
        ".feather": Container.ARROW,
        ".ipc": Container.ARROW,
        ".npy": Container.NPY,
    },
}
_COMPRESSIONS: Final = {
    ".gz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
}
_SHORT: Final = {".tgz": ".tar.gz", ".tzst": ".tar.zst"}
# An image is compressed already, the others are read by places in them.
_NEVER_COMPRESSED: Final = (Container.IMAGE, Container.PARQUET, Container.ARROW, Container.NPY)


def plain_suffix(name: str) -> str:
    """Return a name's extension in lower case, compression aside: ".csv" of "A.CSV.gz"."""
    return _split(name)[0]


def format_of(name: str, kind: Kind) -> FileFormat | None:
    """Return how to read a file, or None where a source of this kind has no use for it."""
    suffix, compression = _split(name)
    container = _CONTAINERS[kind].get(suffix)
    if container is None:
        return None
    if compression is not Compression.NONE and container in _NEVER_COMPRESSED:
        return None
    return FileFormat(container, compression)


def why_not(name: str, kind: Kind) -> str:
    """Explain to a user why `format_of` returned None, with the way out."""
    for other in _CONTAINERS:
        if format_of(name, other) is not None:
            return f"this is no file of {kind}; set kind = '{other}' to read it"
    known = " ".join(_CONTAINERS[kind])
    return f"'{PurePath(name).suffix or name}' is no known extension of {kind}; known: {known}"


def _split(name: str) -> tuple[str, Compression]:
    stem, suffix = splitext(name.lower())
    stem, suffix = splitext(stem + _SHORT.get(suffix, suffix))
    compression = _COMPRESSIONS.get(suffix)
    if compression is None:
        return suffix, Compression.NONE
    return splitext(stem)[1], compression
