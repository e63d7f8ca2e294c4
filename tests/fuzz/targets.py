"""What is fuzzed: a function a reader, bytes in, nothing out, and only declared errors may escape.

`python -m tests.fuzz` drives them by coverage (atheris); `test_fuzz.py` runs them over the seeds
and over every input that was ever found to break one.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from data.images import decode_image, probe_image
from data.lake import Lake
from data.seals import is_sealed
from data.shards import SpaceId, finished_shard, raw_footer, read_footer
from data.sources import BadRecord, Record, VectorBytes, open_source
from data.sources.formats import Kind, format_of
from data.sources.names import file_name, path_of
from data.sources.records import MAX_MESSAGE_CHARS, Stage
from data.undo import NOTE_NAME, undo_unfinished
from latentlake.errors import BadInputError, LakeError, ShardError, SourceError
from latentlake.source_settings import SourceSettings
from models.encoders.word_vectors_io import read_artefact
from models.indexes.errors import IndexFileError
from models.indexes.files import read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPACE = SpaceId("words", "f" * 16, 4, "cosine")
_STAGES = get_args(Stage)
_MAX_DECODED_PIXELS = 2**22
"""Larger pictures are only identified here: they cost seconds, and their limit has its own test."""


@dataclass(frozen=True)
class Case:
    """One way to read bytes as a file: what the file is called, and how its source is set."""

    name: str
    kind: Kind = "text"
    key: str | None = None
    text: str | None = None
    encoding: str = "utf-8"
    lines: bool = True


TEXT_CASES = (
    Case("a.jsonl"),
    Case("a.jsonl", key="id", text="text"),
    Case("a.json"),
    Case("a.json", key="id"),
    Case("a.csv"),
    Case("a.csv", key="id", text="text"),
    Case("a.tsv", text="text"),
    Case("a.txt"),
    Case("a.txt", lines=False),
    Case("a.md"),
    Case("a.jsonl.gz"),
    Case("a.csv.zst"),
    Case("a.txt", encoding="auto"),
    Case("a.txt", encoding="utf-16"),
    Case("a.jsonl", encoding="utf-32-le"),
    Case("a.txt", encoding="shift_jis"),
    Case("a.csv", encoding="cp1252"),
    Case("a.txt", encoding="utf-7"),
)
TAR_CASES = tuple(Case(name, "images") for name in ("a.tar", "a.tar.gz", "a.tar.zst"))
PARQUET_CASES = (
    Case("a.parquet", "text"),
    Case("a.parquet", "text", key="id", text="text"),
    Case("a.parquet", "images"),
    Case("a.parquet", "vectors"),
)
VECTOR_CASES = (Case("a.arrow", "vectors"), Case("a.npy", "vectors"))


class Scratch:
    """A folder for the file that is being read."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="latentlake-fuzz-")
        self.path = Path(self._folder.name)

    def put(self, name: str, content: bytes) -> Path:
        """Write a file and return where it is."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


scratch = Scratch()


def check_text(content: bytes) -> None:
    """The first byte says how the rest is read."""
    _check_case(TEXT_CASES, content)


def check_tar(content: bytes) -> None:
    """A tar shard, plain or packed."""
    _check_case(TAR_CASES, content)


def check_parquet(content: bytes) -> None:
    """A Parquet table of texts, images or vectors."""
    _check_case(PARQUET_CASES, content)


def check_vectors(content: bytes) -> None:
    """An Arrow table or a .npy matrix of vectors."""
    _check_case(VECTOR_CASES, content)


def check_image(content: bytes) -> None:
    """Size and format from the header, then the pixels, whole and reduced."""
    with contextlib.suppress(BadInputError):
        info = probe_image(content)
        if info.width * info.height > _MAX_DECODED_PIXELS:
            return
        pixels = decode_image(content)
        assert pixels.shape == (info.height, info.width, 3), (pixels.shape, info)
        assert pixels.dtype == "uint8"
        assert decode_image(content, min_side=8).shape[2] == 3


def check_footer(content: bytes) -> None:
    """A shard: its footer, its seal, and whether it counts as finished."""
    path = scratch.put("shard.parquet", content)
    for read in (raw_footer, read_footer):
        with contextlib.suppress(ShardError):
            assert isinstance(read(path), dict)
    receipt = finished_shard(path, SPACE)
    assert receipt is None or is_sealed(path)


def check_lake_files(content: bytes) -> None:
    """The small JSON files that a lake keeps: a snapshot, an undo note, a model's folder."""
    lake = Lake(str(scratch.path / "lake"))
    scratch.put("lake/snapshots/000000000001.json", content)
    with contextlib.suppress(LakeError):
        snapshot = lake.snapshot()
        assert all(isinstance(version, int) for version in snapshot.versions.values())
    scratch.put(f"lake/{NOTE_NAME}", content)
    with contextlib.suppress(LakeError):
        undo_unfinished(lake)
    for name in ("model.json", "vocabulary.json", "model.safetensors"):
        scratch.put(f"lake/model/{name}", content)
    with contextlib.suppress(LakeError):
        read_artefact(scratch.path / "lake" / "model")


def check_index(content: bytes) -> None:
    """An index file: FAISS may never see one byte that was not written by it."""
    with contextlib.suppress(IndexFileError):
        read_index(scratch.put("index.faiss", content))


def check_name(content: bytes) -> None:
    """A file's name as text and back again, and a text that claims to be one."""
    raw = content.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    with contextlib.suppress(BadInputError):
        inside = path_of("/base", file_name(raw))
        assert str(inside).startswith("/base/")
        assert ".." not in inside.parts
        if raw and all(part not in ("", ".", "..") for part in raw.split("/")):
            assert inside == Path("/base") / raw
    claimed = content.decode("utf-8", "replace")
    with contextlib.suppress(BadInputError):
        assert ".." not in path_of("/base", claimed).parts


def _check_case(cases: tuple[Case, ...], content: bytes) -> None:
    if not content:
        return
    case = cases[content[0] % len(cases)]
    scratch.put(case.name, content[1:])
    settings: dict[str, Any] = {
        "key": case.key,
        "encoding": case.encoding,
        "lines": case.lines,
    }
    if case.kind == "text":
        settings["text"] = case.text
    source = SourceSettings(name="fuzzed", kind=case.kind, uri=str(scratch.path), **settings)
    try:
        opened = open_source(source, str(scratch.path / case.name))
    except SourceError:
        return
    _check_records(case, opened.read_file(case.name))


def _check_records(case: Case, records: Iterable[Record | BadRecord]) -> None:
    keys: set[str | None] = set()
    for record in records:
        record.uri.encode("utf-8")
        assert record.file == case.name
        if isinstance(record, BadRecord):
            assert record.stage in _STAGES
            assert record.message.isprintable(), record.message
            assert 0 < len(record.message) <= MAX_MESSAGE_CHARS
            continue
        assert isinstance(record.payload, str if case.kind == "text" else bytes)
        assert record.payload
        if case.kind == "vectors":
            assert isinstance(record.payload, VectorBytes)
            assert np.isfinite(np.frombuffer(record.payload, "<f4")).all()
        if isinstance(record.payload, str):
            record.payload.encode("utf-8")
            assert not record.payload.isspace()
        json.dumps(record.metadata, allow_nan=False, ensure_ascii=False).encode("utf-8")
        assert record.key not in keys, f"two items are called {record.key!r}"
        keys.add(record.key)
    assert format_of(case.name, case.kind)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "text": check_text,
    "image": check_image,
    "tar": check_tar,
    "parquet": check_parquet,
    "vectors": check_vectors,
    "footer": check_footer,
    "lake_files": check_lake_files,
    "index": check_index,
    "name": check_name,
}
