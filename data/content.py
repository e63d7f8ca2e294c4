"""Identity: what an item is called, what its content is called, and what a set of ids adds up to.

All digests are BLAKE2b with 16 bytes (RFC 7693), written as 32 hexadecimal characters: at a billion
contents the chance of any collision is about 1e-21.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

DIGEST_BYTES = 16


def content_id(payload: bytes | str) -> str:
    """Name a content by its bytes; a text counts as its UTF-8.

    Args:
        payload: the whole content, as it was read: no decoding, no clean-up.

    Returns:
        32 hexadecimal characters.

    Raises:
        UnicodeEncodeError: a text with lone surrogates, which is no text; readers refuse those.
    """
    raw = payload.encode("utf-8") if isinstance(payload, str) else payload
    return blake2b(raw, digest_size=DIGEST_BYTES).hexdigest()


def item_id(source: str, file: str, key: str | None) -> str:
    """Name an item by where it is: the source's name, the file in it, the key inside the file.

    The three go through a JSON array, so that no two different triples share an encoding.

    Returns:
        32 hexadecimal characters.
    """
    place = json.dumps([source, file, key], ensure_ascii=True, separators=(",", ":"))
    return blake2b(place.encode("ascii"), digest_size=DIGEST_BYTES).hexdigest()


def digest_of_ids(ids: Iterable[str]) -> str:
    r"""Digest ids in their order, joined by ``\n``; a shard's footer proves its rows by it.

    Returns:
        32 hexadecimal characters.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    separator = b""
    for one in ids:
        digest.update(separator + one.encode("utf-8"))
        separator = b"\n"
    return digest.hexdigest()


def digest_of_column(column: pa.Array | pa.ChunkedArray) -> str:
    """Digest a column of strings in order, straight from its buffers.

    The lengths go in first, so that no two different columns share an encoding; chunks and offsets
    are of no effect.

    Args:
        column: strings without nulls.

    Returns:
        32 hexadecimal characters; not those of `digest_of_ids`.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    digest = blake2b(digest_size=DIGEST_BYTES)
    for chunk in whole.chunks:
        digest.update(np.asarray(pc.binary_length(chunk), np.int64).tobytes())
    for chunk in whole.cast(pa.large_string()).chunks:
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        if data is not None and len(chunk):
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    return digest.hexdigest()
