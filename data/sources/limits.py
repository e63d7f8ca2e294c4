"""The sizes above which an input is refused rather than read into memory."""

from __future__ import annotations

from typing import Final

MAX_IMAGE_BYTES: Final = 512 * 2**20
"""One image's file, tar member or table cell; a tar group's images together."""

MAX_TEXT_CHARS: Final = 64 * 2**20
"""One text, one line of a file of texts, one JSON document, one CSV record."""

MAX_SIDECAR_BYTES: Final = 1 * 2**20
"""One .json, .cls or .txt member beside an image in a tar, and one extended tar header."""

MAX_DIM: Final = 65_536
"""Numbers in one vector."""

MAX_NUMBER: Final = 2.0**54
"""A number of a vector, either way: float32 holds the squared distance of two that are as long as
`MAX_DIM` such numbers make them."""

MAX_NESTING: Final = 64
"""Levels of lists and objects in a metadata value."""

MAX_PAGE_BYTES: Final = MAX_IMAGE_BYTES + 2**20
"""What a Parquet page may unpack to, unless half of it lies in the file as it is: one image."""

MAX_DICTIONARY_BYTES: Final = 64 * 2**20
"""The same of a Parquet dictionary."""

MAX_LIST_VALUES: Final = 2**26
"""Values in a Parquet page of lists: one row may have them all."""

MAX_GROUP_BYTES: Final = 2**36
"""What a Parquet row group may unpack to; a value of a dictionary counts each time it is used."""

BATCH_BYTES: Final = 32 * 2**20
"""What a batch of table rows should take in memory, roughly."""

MAX_BATCH_ROWS: Final = 4096
"""Rows in one batch of a table, at most."""
