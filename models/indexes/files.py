"""Index files: a plain FAISS file with a small JSON trailer, written whole or not at all.

    [FAISS index][JSON, UTF-8][length of the JSON: uint64, little-endian][b"LLINDEX1"]

FAISS stops reading at its own end, so `faiss.read_index` opens these files as they are. The trailer
says what FAISS does not store: that an inner product means the cosine, the tuned effort, the
reasons for the kind, the fingerprint of the space.
"""

from __future__ import annotations

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

_MAGIC: Final = b"LLINDEX1"
_TAIL: Final = struct.Struct("<Q8s")


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
        with temporary.open("ab") as file:
            file.write(_trailer(header, body_bytes=file.tell()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def read_index(path: Path) -> tuple[Any, IndexHeader]:
    """Read a file that `write_index` wrote.

    Raises:
        IndexFileError: the file is missing, cut short or not one of latentlake's.
    """
    header = _read_header(path)
    try:
        return library().read_index(str(path)), header
    except RuntimeError as error:
        reason = f"FAISS cannot read it ({str(error).splitlines()[0]})"
        raise IndexFileError(path, reason) from error


def _trailer(header: IndexHeader, body_bytes: int) -> bytes:
    content = asdict(header) | {"body_bytes": body_bytes}
    encoded = json.dumps(content, sort_keys=True).encode()
    return encoded + _TAIL.pack(len(encoded), _MAGIC)


def _read_header(path: Path) -> IndexHeader:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL.size))
            tail = file.read()
            if len(tail) < _TAIL.size or not tail.endswith(_MAGIC):
                raise IndexFileError(path, "it is cut short or no index of latentlake's")
            length = _TAIL.unpack(tail)[0]
            body_bytes = size - _TAIL.size - length
            file.seek(max(0, body_bytes))
            content = json.loads(file.read(length))
            if content["body_bytes"] != body_bytes:
                raise IndexFileError(path, "its length is not what its trailer says")
            return _header(content)
    except OSError as error:
        raise IndexFileError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFileError(path, "its trailer is damaged") from error


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
