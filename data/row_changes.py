"""Rows of a Delta table inserted, updated and deleted by its key, each time in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.commits import signed

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.table import TableMerger

    from data.table_schema import TableSchema


def upsert_rows(table: DeltaTable, schema: TableSchema, rows: pa.Table, run_id: str) -> None:
    """Insert new rows and update known ones; safe to repeat.

    Args:
        table: as it was opened; the commit fails if another has come since.
        schema: the table's.
        rows: one row a key; columns as in the schema.
        run_id: recorded in the commit.
    """
    changed = {
        column: f"s.{column}"
        for column in schema.columns.names
        if column not in (*schema.key, *schema.kept)
    }
    merge = _merge(table, schema, rows, run_id)
    merge.when_matched_update(changed).when_not_matched_insert_all().execute()


def delete_rows(table: DeltaTable, schema: TableSchema, ids: pa.Table, run_id: str) -> None:
    """Remove the rows whose key stands in `ids` (the key's columns); safe to repeat."""
    _merge(table, schema, ids, run_id).when_matched_delete().execute()


def _merge(table: DeltaTable, schema: TableSchema, rows: pa.Table, run_id: str) -> TableMerger:
    return table.merge(
        rows,
        predicate=" AND ".join(f"t.{column} = s.{column}" for column in schema.key),
        source_alias="s",
        target_alias="t",
        commit_properties=signed(run_id),
    )
