"""Index files: a plain FAISS file with a small JSON trailer, written whole or not at all.

    [FAISS index][JSON, UTF-8][length of the JSON: uint64, little-endian][b"LLINDEX1"]

FAISS stops reading at its own end, so `faiss.read_index` opens these files as they are. The trailer
says what FAISS does not store: that an inner product means the cosine, the tuned effort, the
reasons for the kind, the fingerprint of the space, the SHA-256 of the index.

FAISS believes the sizes that it reads, and a flipped bit in one can end the process. So it is given
a file only after the digest has been compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from models.indexes.errors import IndexFileError
from models.indexes.faiss_library import library
from models.indexes.plans import IndexPlan, SearchParameters
from models.types import Metric

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_MAGIC: Final = b"LLINDEX1"
_TAIL: Final = struct.Struct("<Q8s")
_MAX_TRAILER_BYTES: Final = 2**20
_PIECE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """What the trailer holds."""

    metric: Metric
    plan: IndexPlan
    fingerprint: str


def write_index(index: Any, header: IndexHeader, path: Path) -> None:
    """Write beside the target, fsync, then rename over it, so that readers see old or new.

    Args:
        index: a FAISS index.
        header: the trailer's content.
        path: the file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        library().write_index(index, str(temporary))
        with temporary.open("r+b") as file:
            body_bytes = file.seek(0, os.SEEK_END)
            digest = _digest(file, body_bytes)
            file.write(_trailer(header, body_bytes, digest))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def read_index(path: Path) -> tuple[Any, IndexHeader]:
    """Read a file that `write_index` wrote.

    Raises:
        IndexFileError: the file is missing, cut short, damaged or not one of latentlake's.
    """
    header = _read_checked(path)
    try:
        return library().read_index(str(path)), header
    except RuntimeError as error:
        reason = f"FAISS cannot read it ({str(error).splitlines()[0]})"
        raise IndexFileError(path, reason) from error


def _trailer(header: IndexHeader, body_bytes: int, digest: str) -> bytes:
    content = asdict(header) | {"body_bytes": body_bytes, "body_sha256": digest}
    encoded = json.dumps(content, sort_keys=True).encode()
    return encoded + _TAIL.pack(len(encoded), _MAGIC)


def _read_checked(path: Path) -> IndexHeader:
    """Return the header of a file whose every byte is the one that was written."""
    try:
        with path.open("rb") as file:
            body_bytes, content = _read_trailer(path, file)
            header = _header(content)
            if _digest(file, body_bytes) != content["body_sha256"]:
                raise IndexFileError(path, "a byte of it has changed since it was written")
            return header
    except OSError as error:
        raise IndexFileError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IndexFileError(path, "its trailer is damaged") from error


def _read_trailer(path: Path, file: BinaryIO) -> tuple[int, dict[str, Any]]:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL.size))
    tail = file.read()
    if len(tail) < _TAIL.size or not tail.endswith(_MAGIC):
        raise IndexFileError(path, "it is cut short or no index of latentlake's")
    length = _TAIL.unpack(tail)[0]
    body_bytes = size - _TAIL.size - length
    if body_bytes < 0 or length > _MAX_TRAILER_BYTES:
        raise IndexFileError(path, "its length is not what its trailer says")
    file.seek(body_bytes)
    content = json.loads(file.read(length))
    if content["body_bytes"] != body_bytes:
        raise IndexFileError(path, "its length is not what its trailer says")
    return body_bytes, content


def _digest(file: BinaryIO, count: int) -> str:
    """Digest a file's first bytes and leave it behind them: 0.6 s a GB with SHA-256 in hardware."""
    digest = hashlib.sha256()
    file.seek(0)
    while count > 0 and (piece := file.read(min(count, _PIECE_BYTES))):
        digest.update(piece)
        count -= len(piece)
    return digest.hexdigest()


def _header(content: dict[str, Any]) -> IndexHeader:
    plan = content["plan"]
    return IndexHeader(
        metric=Metric(content["metric"]),
        plan=IndexPlan(
            factory=plan["factory"],
            search_parameters=SearchParameters(**plan["search_parameters"]),
            training_rows=plan["training_rows"],
            reasons=tuple(plan["reasons"]),
        ),
        fingerprint=content["fingerprint"],
    )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last: on POSIX it lives in the folder's own blocks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
