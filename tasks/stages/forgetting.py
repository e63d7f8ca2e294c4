"""Take a version of a space out of the lake's tables; older snapshots keep it until `vacuum`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from data.commits import open_to_write, retrying_commit, signed
from data.result_schemas import RESULTS
from data.schemas import TABLES, VOCABULARY
from data.shards import shard_paths

if TYPE_CHECKING:
    import pyarrow as pa

    from data.catalog import SpaceRow
    from data.lake import Lake


def forget_version(lake: Lake, space: SpaceRow, run_id: str) -> None:
    """Take a version out of all tables; the caller lets it be whole or undone."""
    for table in (VOCABULARY, *RESULTS):
        if any(f"/space={space.key}/" in path for path in lake.files(table.name)):
            lake.replace_space(table.name, space.key, table.columns.empty_table(), run_id)
    for name in ("builds", "quarantine"):
        rows = lake.read(name, where=pc.field("space") == space.key)
        lake.delete(name, _keys_of(name, rows), run_id)
    if shard_paths(lake, space.id):
        retrying_commit(lambda: _empty(lake, space.id.folder, run_id), "shards", lake.uri)
    rows = lake.read("spaces", where=pc.field("fingerprint") == space.id.fingerprint)
    rows = rows.filter(pc.equal(rows["space"], space.id.name))
    lake.delete("spaces", _keys_of("spaces", rows), run_id)


def _keys_of(name: str, rows: pa.Table) -> pa.Table:
    return rows.select(list(TABLES[name].key))


def _empty(lake: Lake, folder: str, run_id: str) -> None:
    table = open_to_write(lake.store, folder)
    if table is not None:
        table.delete(commit_properties=signed(run_id))
