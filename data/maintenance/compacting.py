"""Many small shards into few, in one commit, without changing a row that a reader sees.

A reader lays rows in the order of the shards' names, and indexes, graphs and reports are keyed by
that order. So only neighbours in it are joined, and the new shard takes the first one's place:
`part-<name of the first>-<digest>.parquet`. Of a content that stands twice the first row stays,
which is the one that readers use. Hence the rows in use, and everything built on them, stay as they
are, and nothing is built anew.

Two neighbours that remain hold more rows together than a shard may have, so at most
2 * rows / target + 1 shards remain. The old files stay on disk for readers of older snapshots until
`vacuum` finds no snapshot that needs them.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from data.commits import open_to_write, retrying_commit, signed
from data.content import digest_of_ids
from data.schemas import SCHEMA_VERSION, TABLES
from data.shards import (
    Rejected,
    ShardReceipt,
    SpaceId,
    embedded_ids,
    read_footer,
    shard_paths,
    write_shard,
)
from data.stores import readable
from data.vectors import vectors_of
from latentlake.errors import ShardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deltalake import DeltaTable

    from data.lake import Lake

logger = logging.getLogger(__name__)
FEW_FILES = 8
"""A table with fewer files a partition is left alone: each run adds one to `runs`, and joining them
is a run, too."""
_PREFIX_CHARACTERS = len("part-") + 32


@dataclass(frozen=True, slots=True)
class Compaction:
    """What became of a space's shards.

    Attributes:
        removed: shards that gave their rows away.
        added: shards that took them.
        folded: rows that stood twice.
        dropped: rows of contents that no item points to any more.
    """

    removed: int = 0
    added: int = 0
    folded: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Group:
    """Shards that stand next to each other, and which of their rows stay."""

    paths: tuple[str, ...]
    stays: tuple[npt.NDArray[np.bool_], ...]

    @property
    def rows(self) -> int:
        return sum(int(mask.sum()) for mask in self.stays)

    @property
    def is_finished(self) -> bool:
        """Whether it is one shard whose rows all stay."""
        return len(self.paths) == 1 and bool(self.stays[0].all())


def compact_space(
    lake: Lake, space: SpaceId, target_rows: int, run_id: str, used: pa.Array | None = None
) -> Compaction:
    """Join a space's small shards, in one Delta commit.

    Args:
        lake: where the space is.
        space: which.
        target_rows: rows of a shard, at most; they are held in memory.
        run_id: recorded in the commit.
        used: contents that items point to; rows of others are dropped. None drops nothing.

    Raises:
        ShardError: a shard belongs to another space, or cannot be read.
    """
    paths = shard_paths(lake, space)
    stays, folded, dropped = _stays(paths, used)
    groups = [group for group in _groups(paths, stays, target_rows) if not group.is_finished]
    if not groups:
        return Compaction()
    receipts = [join_shards(lake, space, group.paths, group.stays) for group in groups]
    written = [receipt for receipt in receipts if receipt is not None]
    gone = [PurePath(path).name for group in groups for path in group.paths]
    if not exchange_shards(lake, space, gone, written, run_id):
        return Compaction()  # another compaction was first
    return Compaction(len(gone), len(written), folded, dropped)


def compact_tables(lake: Lake, run_id: str) -> dict[str, int]:
    """Join the small files of every row table by Delta's own optimise, a commit a table.

    Returns:
        How many files each changed table lost.
    """
    lost = {}
    for name in TABLES:
        folder = f"tables/{name}"
        table = lake.delta(folder)
        if table is None or len(table.file_uris()) < FEW_FILES * _partitions(table):
            continue
        optimise = partial(_optimise, lake, folder, run_id)
        metrics = retrying_commit(optimise, "compacted table", lake.uri)
        if metrics["numFilesRemoved"]:
            lost[name] = int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])
    return lost


def _partitions(table: DeltaTable) -> int:
    return max(1, len(table.partitions())) if table.metadata().partition_columns else 1


def _optimise(lake: Lake, folder: str, run_id: str) -> dict[str, int]:
    table = open_to_write(lake.store, folder)
    if table is None:
        return {"numFilesRemoved": 0, "numFilesAdded": 0}
    metrics: dict[str, int] = table.optimize.compact(commit_properties=signed(run_id))
    return metrics


def join_shards(
    lake: Lake,
    space: SpaceId,
    paths: Sequence[str],
    stays: Sequence[npt.NDArray[np.bool_]],
    footers: Sequence[dict[str, Any]] | None = None,
) -> ShardReceipt | None:
    """Write one shard of the rows that stay of several; None if none do.

    Args:
        lake: where the space is.
        space: which.
        paths: shards, in order.
        stays: a mask over the rows of each.
        footers: what the shards say of themselves, where that is not as it stands in them.

    Raises:
        ShardError: a shard belongs to another space.
    """
    ids: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    rejected: list[Rejected] = []
    encoder = None
    footers = footers or [read_footer(path) for path in paths]
    for path, mask, footer in zip(paths, stays, footers, strict=True):
        if footer["fingerprint"] != space.fingerprint:
            found, wanted = footer["fingerprint"], space.fingerprint
            reason = f"its fingerprint is {found}, the space's is {wanted}: 'latentlake verify'"
            raise ShardError(path, reason)
        encoder = encoder or footer["encoder"]
        rejected += [Rejected(*bad) for bad in footer["rejected"]]
        table = pq.read_table(readable(path), columns=["content_id", "vector"])
        ids += table["content_id"].filter(pa.array(mask)).to_pylist()
        parts.append(vectors_of(table["vector"], space.dim)[mask])
    if not ids:
        return None
    digest = digest_of_ids([space.fingerprint, str(SCHEMA_VERSION), *ids])
    name = f"{PurePath(paths[0]).stem[:_PREFIX_CHARACTERS]}-{digest}"
    return write_shard(
        lake.store.address(f"{space.folder}/{name}.parquet"),
        space,
        ids,
        np.concatenate(parts),
        rejected=rejected,
        encoder=encoder,
    )


def exchange_shards(
    lake: Lake, space: SpaceId, gone: Sequence[str], written: Sequence[ShardReceipt], run_id: str
) -> bool:
    """Take shards out of a space's table and put others in, in one commit.

    Args:
        lake: where the space is.
        space: which.
        gone: names of the shards to take out.
        written: the shards to put in.
        run_id: recorded in the commit.

    Returns:
        False, with nothing committed, if one of the shards is not there any more.
    """
    now_ms = int(time.time() * 1000)

    def commit() -> bool:
        table = open_to_write(lake.store, space.folder)
        held = {PurePath(uri).name for uri in table.file_uris()} if table else set()
        if table is None or not set(gone) <= held:
            # Where the answer to this very commit was lost, it has been done.
            return bool(written) and {receipt.name for receipt in written} <= held
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(name, data_change=False, deletion_timestamp=now_ms) for name in gone
        ]
        actions += [
            AddAction(
                path=receipt.name,
                size=receipt.size_bytes,
                partition_values={},
                modification_time=now_ms,
                data_change=False,
                stats=json.dumps({"numRecords": receipt.rows}),
            )
            for receipt in written
        ]
        table.create_write_transaction(
            actions,
            mode="append",
            schema=table.schema(),
            commit_properties=signed(run_id),
        )
        return True

    return retrying_commit(commit, "compacted shards", lake.uri)


def _stays(
    paths: Sequence[str], used: pa.Array | None
) -> tuple[list[npt.NDArray[np.bool_]], int, int]:
    """Return a mask over each shard's rows, how many rows stood twice, and how many are unused."""
    lengths = [pq.read_metadata(readable(path)).num_rows for path in paths]
    ids = embedded_ids(paths).combine_chunks()
    _, first = np.unique(ids.to_numpy(zero_copy_only=False), return_index=True)
    stays = np.zeros(len(ids), bool)
    stays[first] = True
    distinct = int(stays.sum())
    if used is not None:
        stays &= np.asarray(pc.is_in(ids, value_set=used))
    ends = np.cumsum(lengths, dtype=np.int64)
    masks = np.split(stays, ends[:-1]) if paths else []
    return list(masks), len(ids) - distinct, distinct - int(stays.sum())


def _groups(
    paths: Sequence[str], stays: Sequence[npt.NDArray[np.bool_]], target_rows: int
) -> Iterator[_Group]:
    """Join neighbours as long as they fit into one shard."""
    group: _Group | None = None
    for path, mask in zip(paths, stays, strict=True):
        if group is not None and group.rows + int(mask.sum()) <= target_rows:
            group = _Group((*group.paths, path), (*group.stays, mask))
            continue
        if group is not None:
            yield group
        group = _Group((path,), (mask,))
    if group is not None:
        yield group
