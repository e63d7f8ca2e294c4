"""The schema version that every Delta table carries, and the one place where tables are created."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError

from data.commits import open_delta
from data.schemas import SCHEMA_VERSION
from latentlake.errors import SchemaVersionError

if TYPE_CHECKING:
    import pyarrow as pa

    from data.stores import Store

TABLE_PROPERTIES: Final[dict[str, str | None]] = {"delta.enableExpiredLogCleanup": "false"}
"""Snapshots pin versions of tables. By default a checkpoint drops the log of versions older than 30
days, and with it every snapshot of that age; here `vacuum` decides, and nothing else does."""


def ready_table(
    store: Store,
    folder: str,
    columns: pa.Schema,
    partitions: list[str] | None = None,
    opened: DeltaTable | None = None,
) -> DeltaTable:
    """Open a Delta table to write to it, creating it where it is missing.

    Args:
        store: the lake's.
        folder: the table's.
        columns: its schema, if it has to be made.
        partitions: the columns that it is partitioned by.
        opened: the table, if it is open already.

    Raises:
        SchemaVersionError: the table has another layout than this code's.
        WriterLostError: this process is no longer the store's writer.
    """
    table = opened
    with suppress(TableNotFoundError):  # a log without a commit: its maker has died
        table = table or open_delta(store, folder)
    table = table or DeltaTable.create(
        store.address(folder),
        schema=Schema.from_arrow(columns),
        mode="ignore",
        partition_by=partitions,
        description=describe_version(),
        configuration=TABLE_PROPERTIES,
        storage_options=store.delta_options,
    )
    store.require_writer()  # after the table was opened: see `data.stores.leases`
    require_version(store.address(folder), described_version(table.metadata().description))
    return table


def describe_version(version: int = SCHEMA_VERSION) -> str:
    """Return the description of a Delta table, which is where it carries its schema version.

    Delta refuses properties that it does not know; the description is free text.
    """
    return json.dumps({"latentlake": {"schema_version": version}})


def described_version(description: str | None) -> int:
    """Return the schema version in a table's description; tables before version 1 have none."""
    try:
        return int(json.loads(description or "{}")["latentlake"]["schema_version"])
    except (ValueError, TypeError, KeyError):
        return 0


def require_version(where: str, found: int) -> None:
    """Refuse what was written in another layout.

    Raises:
        SchemaVersionError: older (migrate it) or newer (update latentlake) than this code.
    """
    if found != SCHEMA_VERSION:
        raise SchemaVersionError(where, found, SCHEMA_VERSION)
