"""What dead writers leave lying about: half files under temporary names, plans, half models."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from latentlake.commit_points import reach

if TYPE_CHECKING:
    from pathlib import Path

LEFTOVERS: Final = (
    "_tmp-*",
    "snapshots/_tmp-*",
    "tables/*/_tmp-*",
    "tables/*/*/_tmp-*",
    "embeddings/*/*/_tmp-*",
    "indexes/*/*/*/_tmp-*",
    "indexes/*/*/*/.*.tmp",
    "models/*/_training",
    "checkpoints/*/*/_tmp-*",
    "work",
    # delta-rs writes beside the target, under its name and a number.
    "*/**/*.parquet#*",
    "*/**/_delta_log/*#*",
)
"""Patterns under the lake's root. Only the writer may act on them: it has such files too."""


def remove_leftovers(root: Path) -> int:
    """Remove what no finished step ever names; the caller is the lake's only writer.

    Finished shards and indexes that no table names are not touched: the next run adopts the shards,
    `vacuum` removes the rest.

    Returns:
        How many files and folders were removed.
    """
    found = [path for pattern in LEFTOVERS for path in root.glob(pattern)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    reach("leftovers removed")
    return len(found)
