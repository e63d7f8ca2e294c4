"""A small corpus to begin from: one sound input of each kind, as small as it can be."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from PIL import Image

from data.shards import Rejected, write_shard
from models.indexes.plans import IndexPlan, SearchParameters
from models.indexes.vector_index import VectorIndex
from models.types import Metric
from tests.fuzz.targets import PARQUET_CASES, SPACE, TAR_CASES, TEXT_CASES, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GRADIENT = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
_IMAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RGB", "JPEG", {}),
    ("RGB", "JPEG", {"progressive": True, "icc_profile": b"no profile"}),
    ("L", "JPEG", {}),
    ("CMYK", "JPEG", {}),
    ("RGB", "PNG", {}),
    ("RGBA", "PNG", {}),
    ("P", "PNG", {"transparency": 3}),
    ("1", "PNG", {}),
    ("I;16", "PNG", {}),
    ("RGB", "GIF", {}),
    ("RGB", "WEBP", {}),
    ("RGBA", "WEBP", {"lossless": True}),
    ("RGB", "BMP", {}),
    ("P", "BMP", {}),
    ("RGB", "TIFF", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("L", "TIFF", {"compression": "jpeg"}),
    ("F", "TIFF", {}),
    ("LAB", "TIFF", {}),
    ("RGB", "AVIF", {}),
    ("RGB", "JPEG2000", {}),
    ("RGB", "PPM", {}),
    ("1", "PPM", {}),
)
_TEXTS = (
    b'{"id": "1", "text": "one", "more": [1, 2.5, null]}\n"two"\n{"id": 2, "text": "two"}\n',
    b'[{"id": 1, "text": "one"}, "two", {"id": [3], "text": "\\ud83d\\ude00"}]',
    b'id,text,more\n1,"one ""1""",x\n2,"two\nlines",y\n',
    b'id\ttext\n1\tone\n2\t"two\n',
    "line\r\nL\u00efne\rline 3\n\n".encode(),
    "\ufefftext\n\u6f22\u5b57\n".encode("utf-16"),
    b"id;text\n1;caf\xe9\n2;\x83\x65\n",
)


def images() -> Iterator[bytes]:
    """An image in each format and mode, one upright by its EXIF data, one animated."""
    picture = Image.fromarray(_GRADIENT)
    for mode, form, options in _IMAGES:
        made = Image.new("LAB", (10, 12)) if mode == "LAB" else picture.convert(_via(mode))
        yield _saved(made.convert(mode) if mode == "I;16" else made, form, **options)
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        yield _saved(picture, form, exif=exif)
    for form in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        yield _saved(picture, form, save_all=True, append_images=[picture.rotate(90)])


def _via(mode: str) -> str:
    return "I" if mode == "I;16" else mode


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _texts() -> Iterator[bytes]:
    for at, case in enumerate(TEXT_CASES):
        for text in _TEXTS:
            yield bytes([at]) + _packed(case, text)


def _packed(case: Case, content: bytes) -> bytes:
    if case.name.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if case.name.endswith(".zst"):
        return zstandard.compress(content)
    return content


def _tars() -> Iterator[bytes]:
    forms = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    members = {
        "train/0001.jpg": next(images()),
        "train/0001.json": b'{"a": 1}',
        "train/0001.cls": b"3",
        "../" + "long/" * 30 + "\u00e9.png": b"no image",
    }
    for at, case in enumerate(TAR_CASES):
        for form in forms:
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=form) as archive:
                for name, content in members.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                link = tarfile.TarInfo("link.jpg")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
            yield bytes([at]) + _packed(case, file.getvalue()[: 16 * tarfile.BLOCKSIZE])


def _tables() -> Iterator[bytes]:
    image = next(images())
    columns = {"id": ["a", "b"], "text": ["one", None], "number": [1.5, None], "tags": [["x"], []]}
    tables = {
        "text": pa.table(columns),
        "images": pa.table({"id": [1, 2], "image": [image, b""]}),
        "vectors": pa.table({"id": [1, 2], "v": [[1.5, None], [2.5]]}),
    }
    for at, case in enumerate(PARQUET_CASES):
        for compression in ("none", "snappy", "zstd"):
            file = pa.BufferOutputStream()
            pq.write_table(tables[case.kind], file, compression=compression, row_group_size=1)
            yield bytes([at]) + file.getvalue().to_pybytes()


def _vectors() -> Iterator[bytes]:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    kinds = (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16(), 3))
    tables = [
        pa.table({"id": ["a", "b"], "v": pa.array(list(matrix.astype(np.float16)), kind)})
        for kind in kinds
    ]
    for table in tables:
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            file = pa.BufferOutputStream()
            with new(file, table.schema) as writer:
                writer.write_table(table)
            yield b"\0" + file.getvalue().to_pybytes()
    for array in (matrix, np.asfortranarray(matrix), matrix.astype(">f8"), matrix[0]):
        saved = io.BytesIO()
        np.save(saved, array)
        yield b"\1" + saved.getvalue()


def _shards() -> Iterator[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
        rejected = [Rejected("c", "decode", "OSError", "truncated")]
        for refused in ([], rejected):
            write_shard(path, SPACE, ["a", "b"], vectors, rejected=refused)
            yield path.read_bytes()


def _lake_files() -> Iterator[bytes]:
    versions = {"tables/items": 3}
    for content in (
        {"number": 1, "run_id": "r", "at": "now", "versions": versions, "schema_version": 1},
        {"stage": "ingest", "versions": versions},
        {"revision": 1, "tokeniser": "words", "options": {}, "epochs": 1, "texts": 1, "words": 1,
         "libraries": {}, "files": {"model.safetensors": "0" * 64}},
        {"words": ["a"], "counts": [1]},
    ):  # fmt: skip
        yield json.dumps(content).encode()


def _indexes() -> Iterator[bytes]:
    vectors = np.eye(8, 4, dtype=np.float32) + 1
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        for factory in ("Flat", "HNSW4,Flat", "IVF2,Flat", "IVF2,SQ8"):
            plan = IndexPlan(factory, SearchParameters(), 8, ("a seed",))
            index = VectorIndex.empty(4, Metric.COSINE, plan)
            index.train(vectors, 0)
            index.add(vectors)
            index.save(path, SPACE.fingerprint)
            yield path.read_bytes()


def _names() -> Iterator[bytes]:
    yield from (b"a/b.jpg", b"100%.jpg", b"a%2Fb", b'caf\xe9\n".jpg', b"../x", b"/etc/passwd")


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "text": _texts,
    "image": images,
    "tar": _tars,
    "parquet": _tables,
    "vectors": _vectors,
    "footer": _shards,
    "lake_files": _lake_files,
    "index": _indexes,
    "name": _names,
}
