"""What the lake knows of a table: its columns and the key that makes a row one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A Delta table of the lake.

    Attributes:
        name: its folder and its view.
        columns: the Arrow schema.
        key: the columns that tell rows apart.
        per_space: whether it is partitioned by the column `space`, each space replaced as a whole.
        kept: columns that an update of a known row leaves as they were.
        is_small: whether it has so few rows that an update writes it anew: a merge of one row takes
            three times as long.
    """

    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    per_space: bool = False
    kept: tuple[str, ...] = field(default=())
    is_small: bool = False
