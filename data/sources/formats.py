"""Which files a source of images or of text can read, told by the extension alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Final, Literal

Kind = Literal["images", "text"]


class Container(StrEnum):
    """How items lie in a file."""

    IMAGE = "image"
    TAR = "tar"
    PARQUET = "parquet"
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

_CONTAINERS: Final = {
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
}
_COMPRESSIONS: Final = {
    ".gz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
}
_SHORT: Final = {".tgz": ".tar.gz", ".tzst": ".tar.zst"}
# An image is compressed already, and a Parquet file is read from its end.
_NEVER_COMPRESSED: Final = (Container.IMAGE, Container.PARQUET)


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
    other: Kind = "text" if kind == "images" else "images"
    if format_of(name, other) is not None:
        return f"this is no file of {kind}; set kind = '{other}' to read it"
    known = " ".join(_CONTAINERS[kind])
    return f"'{PurePath(name).suffix or name}' is no known extension of {kind}; known: {known}"


def _split(name: str) -> tuple[str, Compression]:
    path = PurePath(name.lower())
    path = path.with_suffix(_SHORT[path.suffix]) if path.suffix in _SHORT else path
    compression = _COMPRESSIONS.get(path.suffix)
    if compression is None:
        return path.suffix, Compression.NONE
    return PurePath(path.stem).suffix, compression
