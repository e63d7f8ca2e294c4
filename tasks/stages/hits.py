"""The columns of what a search finds."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

HITS: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("similarity", pa.float32()),
        ("item_id", pa.string()),
        ("source", pa.string()),
        ("uri", pa.string()),
        ("copies", pa.list_(pa.string())),
        ("excerpt", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("metadata", pa.string()),
    ]
)
"""One row a content: an item that has it, and the URIs of all its other items as `copies`."""

WORD_HITS: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("similarity", pa.float32()),
        ("word", pa.string()),
        ("count", pa.int64()),
        ("frequency_rank", pa.int64()),
        ("content_id", pa.string()),
    ]
)
"""One row a word; `count` and `frequency_rank` are those of the table `vocabulary`."""
