"""Delta tables that are open already: to open one is to read its log, and a run commits often."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from deltalake.exceptions import DeltaError

from data.commits import file_paths, last_version, open_delta
from data.versions import ready_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from deltalake import DeltaTable

    from data.stores import Store

_KNOWN_VERSIONS: Final = 128


class OpenedTables:
    """What a lake knows of its tables' logs: files of versions, and the last state of each table.

    Whoever takes an open table has it for himself until it is put back: it stands for one version,
    which a commit of another thread must not change under his hands. Those on S3 are not kept,
    since the credentials they were opened with may expire.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keeps = store.delta_options is None
        self._tables: dict[str, DeltaTable] = {}
        self._paths: dict[tuple[str, int], list[str]] = {}

    def paths(self, folder: str, version: int) -> list[str]:
        """Return the files of a version, sorted; it never changes, so its log is read once."""
        if (folder, version) in self._paths:
            return self._paths[folder, version]
        table = self._take(folder, version) or open_delta(self._store, folder, version)
        return self._know(folder, table) if table else []

    @contextmanager
    def to_commit(
        self, folder: str, columns: pa.Schema, partitions: list[str] | None = None
    ) -> Iterator[DeltaTable]:
        """Yield a Delta table as it is now, to be committed to once; then learn its new files.

        Args:
            folder: the table's, under the root; it is made where it is missing.
            columns: its schema, if it has to be made.
            partitions: the columns that it is partitioned by.
        """
        last = last_version(self._store, folder)
        opened = None if last is None else self._take(folder, last)
        table = ready_table(self._store, folder, columns, partitions, opened)
        yield table
        table.update_incremental()
        self._know(folder, table)

    def _take(self, folder: str, version: int) -> DeltaTable | None:
        """Return the open table at a version; None where it has to be opened."""
        table = self._tables.pop(folder, None)
        if table is None:
            return None
        if table.version() < version:
            try:
                table.update_incremental()
            except DeltaError:  # a part of the log is no more
                return None
        return table if table.version() == version else None

    def _know(self, folder: str, table: DeltaTable) -> list[str]:
        if len(self._paths) >= _KNOWN_VERSIONS:
            self._paths.clear()
        paths = self._paths[folder, table.version()] = file_paths(table)
        if self._keeps:
            self._tables[folder] = table
        return paths
