"""Word vectors that others publish: word2vec's binary and text files, fastText's and GloVe's texts.

The text formats are read here and not by gensim, which splits words with spaces in them
(GloVe 840B has some) and leaves files open. A `.vec` file of fastText is word2vec's text; the
headers of some promise a few words too many, those that were blank.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Final, Literal, cast

import numpy as np
from gensim.models import KeyedVectors

from latentlake.errors import ConfigError
from models.encoders.word_vectors_io import WordVectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.types import Matrix

logger = logging.getLogger(__name__)

FileFormat = Literal["word2vec-binary", "word2vec-text", "glove"]

# What deflate makes of one byte at most; bounds what a header may promise.
_MOST_DEFLATED: Final = 1032

_LINE_BYTES: Final = 1 << 20

# A header may promise so many words more than there are, as a share of them.
_MOST_MISSING: Final = 0.01

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OTHER_KINDS: Final = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\xba\x16O/": "fastText's own binary file: take the .vec file beside it",
    b"\x80": "a pickle, which may run code: load it with gensim and call save_word2vec_format",
}
"""Files that are often taken for word vectors, by how they begin."""


def load_word_vectors(path: Path, wanted: str = "auto", limit: int | None = None) -> WordVectors:
    """Read word vectors that somebody else trained.

    Args:
        path: word2vec binary, word2vec or fastText text (a header of two numbers) or GloVe text
            (none); also gzipped, with the ending ".gz".
        wanted: one of these formats, or "auto".
        limit: read only the first so many.

    Returns:
        The vectors without counts, which none of these formats has; of a word that is there twice
        the first.

    Raises:
        ConfigError: the file is not there, or not of such a format.
    """
    try:
        _refuse_other_kinds(path)
        found = detect_format(path) if wanted == "auto" else wanted
        if found == "word2vec-binary":
            words, vectors = _read_binary(path, limit)
        else:
            words, vectors = _read_text(path, limit, has_header=found == "word2vec-text")
    except (OSError, EOFError, ValueError, AssertionError, zlib.error) as error:
        raise ConfigError(f"cannot read word vectors from '{path}': {error}") from error
    if not vectors.size or not np.isfinite(vectors).all():
        raise ConfigError(f"'{path}' holds no word vectors, or infinite ones.")
    return WordVectors(tuple(words), vectors, counts=None)


def detect_format(path: Path) -> FileFormat:
    """Tell the format of a file of word vectors from its first two lines.

    Raises:
        OSError: the file cannot be read.
    """
    with _open(path) as file:
        header = _numbers(file.readline(_LINE_BYTES))
        row = file.readline(_LINE_BYTES)
    if header is None:
        return "glove"
    return "word2vec-text" if _is_text_row(row, header[1]) else "word2vec-binary"


def _read_binary(path: Path, limit: int | None) -> tuple[list[str], Matrix]:
    with _open(path) as file:
        _header(path, file.readline(_LINE_BYTES))
    loaded = KeyedVectors.load_word2vec_format(
        str(path),
        binary=True,
        limit=limit,
        unicode_errors="replace",  # word2vec's own tool cuts long words inside a character
    )
    return loaded.index_to_key, np.asarray(loaded.vectors, dtype=np.float32)


def _read_text(path: Path, limit: int | None, *, has_header: bool) -> tuple[list[str], Matrix]:
    """Read lines of a word, which may have spaces, and its last `dim` parts, the numbers."""
    rows: dict[str, Matrix] = {}
    dim, promised, line = 0, None, b"\n"
    with _open(path) as file:
        if has_header:
            promised, dim = _header(path, file.readline(_LINE_BYTES))
        lines = 0
        for line in islice(file, limit):
            lines += 1
            parts = line.rstrip().split(b" ")
            dim = dim or len(parts) - 1
            if len(parts) <= dim:
                message = f"vector {lines} has {len(parts) - 1} numbers, not {dim}"
                raise ValueError(message)
            word = b" ".join(parts[:-dim]).decode(errors="replace")
            rows.setdefault(word, np.fromiter(map(float, parts[-dim:]), np.float32, dim))
    if promised is not None:
        _refuse_cut_short(lines, min(promised, limit or promised), line)
    return list(rows), np.stack(list(rows.values()))


def _refuse_cut_short(lines: int, promised: int, last: bytes) -> None:
    """Refuse a file that ends before its time; one with a few words too few is as it was written.

    Raises:
        ValueError: many vectors are missing, or any and the last line is broken off.
    """
    missing = promised - lines
    if missing > _MOST_MISSING * promised or (missing > 0 and not last.endswith(b"\n")):
        message = f"its header promises {promised} vectors, it has {lines}"
        raise ValueError(message)
    if missing > 0:
        logger.warning("the header promises %d vectors, there are %d", promised, lines)


def _refuse_other_kinds(path: Path) -> None:
    with path.open("rb") as file:
        begins = file.read(8)
    for magic, kind in _OTHER_KINDS.items():
        if begins.startswith(magic):
            message = f"it is {kind}"
            raise ValueError(message)


def _header(path: Path, line: bytes) -> tuple[int, int]:
    """Return the (vectors, dim) of a header that the file can hold."""
    header = _numbers(line)
    if header is None:
        message = "its first line is not the two numbers of word2vec's formats"
        raise ValueError(message)
    rows, dim = header
    expansion = _MOST_DEFLATED if path.suffix == ".gz" else 1
    if dim == 0 or rows * dim > path.stat().st_size * expansion:
        message = f"its header promises {rows} vectors of {dim} numbers, the file is too short"
        raise ValueError(message)
    return rows, dim


def _numbers(line: bytes) -> tuple[int, int] | None:
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):  # noqa: PLR2004
        return None
    return int(parts[0]), int(parts[1])


def _is_text_row(line: bytes, dim: int) -> bool:
    """Whether a line is a word and `dim` decimal numbers."""
    try:
        numbers = [float(number) for number in line.decode().split()[-dim:]]
    except ValueError:
        return False
    return len(numbers) == dim


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unzipped, behind a byte order mark if it has one."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
        file = cast("IO[bytes]", opened)
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        yield file
