"""What can be repaired without a person: nothing is invented, things are only made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import space_versions, write_catalog
from data.maintenance.compacting import exchange_shards
from data.maintenance.findings import DropShard, ForgetBuilds, RenewCatalog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data.lake import Lake
    from data.maintenance.findings import Mend


def mend(lake: Lake, mends: Iterable[Mend], run_id: str) -> bool:
    """Carry out what findings propose.

    A dropped shard's file is put aside under a temporary name, until `vacuum` takes it: under its
    own name a run could take it for a finished shard, and a reader of an older snapshot for a sound
    one.

    Returns:
        Whether a table changed, so that a snapshot and its catalog are due.
    """
    changed = False
    wanted = tuple(dict.fromkeys(mends))
    for one in wanted:
        match one:
            case DropShard():
                changed |= _drop(lake, one, run_id)
            case ForgetBuilds():
                changed |= _forget(lake, one.space, run_id)
            case RenewCatalog():
                pass  # see below
            case _:
                assert_never(one)
    # A change ends in a snapshot, which gets its catalog then; the last one may name lost files.
    if RenewCatalog() in wanted and not changed:
        write_catalog(lake, lake.snapshot())
    return changed


def _drop(lake: Lake, shard: DropShard, run_id: str) -> bool:
    for space in space_versions(lake):
        if space.id.folder == shard.folder:
            dropped = exchange_shards(lake, space.id, [shard.name], [], run_id)
            lake.store.put_aside(f"{shard.folder}/{shard.name}")
            return _forget(lake, space.key, run_id) or dropped
    return False


def _forget(lake: Lake, space: str, run_id: str) -> bool:
    rows = lake.read("builds", where=pc.field("space") == space, columns=["space", "stage"])
    lake.delete("builds", pa.table(rows), run_id)
    return bool(rows.num_rows)
