"""What tables of a row a content share, where the row depends on the content and on rules alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from data.changes import TableChange, change_table
from data.workspace import quoted
from tasks.stages.budget import working_on
from tasks.stages.contents import ContentReader, refs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake
    from data.workspace import Workspace
    from latentlake.settings import Settings
    from tasks.stages.contents import ContentRef, Load


def drop_other_rules(lake: Lake, settings: Settings, table: str, rules: str, run_id: str) -> None:
    """Remove the rows that were made by other rules: they are made anew."""
    if lake.read(table, where=pc.field("rules") != rules, columns=["rules"]).num_rows == 0:
        return
    gone = f"FROM {table} SELECT content_id WHERE rules <> {quoted(rules)}"
    _drop(lake, settings, table, gone, run_id)


def drop_unused(lake: Lake, settings: Settings, table: str, run_id: str) -> int:
    """Remove the rows of contents that no item points to any more; return how many."""
    used = "(SELECT content_id FROM items WHERE NOT deleted)"
    gone = f"SELECT content_id FROM {table} ANTI JOIN {used} USING (content_id)"  # noqa: S608
    return _drop(lake, settings, table, gone, run_id)


def pending_payloads(settings: Settings, work: Workspace) -> Iterator[tuple[ContentRef, Load]]:
    """Read the contents in a workspace's table `pending`, each file once and in order."""
    reader = ContentReader(settings)
    for found in work.stream("FROM pending ORDER BY source, file, position, key"):
        yield from reader.payloads(list(refs_of(found)))


def _drop(lake: Lake, settings: Settings, table: str, gone: str, run_id: str) -> int:
    """Remove the rows that a query names; return how many."""
    if not lake.files(table):
        return 0
    with working_on(lake, settings, table) as work:
        work.view_table(lake, table)
        work.view_table(lake, "items")
        count = work.count(f"({gone})")
        change_table(lake, table, work, TableChange(gone=gone), run_id)
        return count
