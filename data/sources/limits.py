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

MAX_NESTING: Final = 64
"""Levels of lists and objects in a metadata value."""

BATCH_BYTES: Final = 32 * 2**20
"""What a batch of table rows should take in memory, roughly."""

MAX_BATCH_ROWS: Final = 4096
"""Rows in one batch of a table, at most."""
