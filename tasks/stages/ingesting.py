"""Find what is new, changed, moved, returned or gone in a source, and put it into `items`.

What was found goes to a workspace first and is compared there as a whole, so memory does not grow
with the source or the lake. Commits go items, quarantine, files, and stand together: a run that was
killed half-way is undone, and its files are read again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from data.schemas import ITEMS, QUARANTINE
from data.sources import open_source
from data.sources.records import BadRecord
from data.undo import whole_or_undone
from latentlake.progress import report_progress
from tasks.stages.budget import budget_of, working_on
from tasks.stages.describing import Origin, quarantine_row
from tasks.stages.receipts import StageReceipt
from tasks.stages.reconciling import Reconciliation, live_items
from tasks.stages.scanning import (
    LISTING,
    Scan,
    compare_listing,
    list_source,
    read_files,
    reader_version,
    stale_files,
)
from tasks.stages.summaries import ignored_text

if TYPE_CHECKING:
    from data.lake import Lake
    from data.sources import Source
    from data.workspace import Workspace
    from latentlake.settings import Settings


def ingest_source(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Bring `items`, `quarantine` and `files` up to date with one source.

    Raises:
        SourceError: the source cannot be listed at all; nothing is changed then.
    """
    began = time.monotonic()
    source = open_source(settings.source(name), settings.resolve(settings.source(name).uri))
    origin = Origin(name, run_id, 0)
    with working_on(lake, settings, f"ingest-{name}") as work:
        scan = _scan(work, lake, settings, source, origin)
        counts = dict.fromkeys(_COUNTS, 0)
        changed = False
        if scan.has_news:
            # Without news nothing is committed, so there is nothing that could have to be undone.
            with whole_or_undone(lake, f"ingest {name}"):
                _read(work, settings, source, origin, scan.stale)
                reader = reader_version(settings.source(name))
                reconciliation = Reconciliation(work, origin, reader, scan.started_ns)
                counts |= reconciliation.compare()
                changed = reconciliation.commit(lake)
        else:
            counts["unchanged"] = live_items(work, name)
    counts |= {"files": scan.files, "read": scan.stale}
    notes = (ignored_text(source.ignored_by_kind),) if source.ignored else ()
    return StageReceipt("ingest", name, changed, counts, time.monotonic() - began, notes)


_COUNTS = (
    "files",
    "read",
    "new",
    "changed",
    "moved",
    "returned",
    "vanished",
    "unchanged",
    "bad",
    "quarantined",
)


def _scan(work: Workspace, lake: Lake, settings: Settings, source: Source, origin: Origin) -> Scan:
    started_ns = time.time_ns()
    most = budget_of(settings).spool
    with (
        work.spool("listing", LISTING, most) as files,
        work.spool("unlisted", QUARANTINE.columns, most) as bad,
    ):
        list_source(source, files, bad, origin)
    reader = reader_version(settings.source(origin.source))
    return compare_listing(work, lake, origin.source, reader, started_ns, bad.rows)


def _read(work: Workspace, settings: Settings, source: Source, origin: Origin, total: int) -> None:
    """Spool what the stale files hold: the views `seen` and `unread`."""
    most, threads = budget_of(settings).spool, settings.run.thread_count
    stage = f"ingest {origin.source}"
    with (
        work.spool("seen", ITEMS.columns, most) as items,
        work.spool("unread", QUARANTINE.columns, most) as bad,
    ):
        found = read_files(source, stale_files(work), origin, threads)
        for done, (_, described) in enumerate(found):
            report_progress(stage, done, total, "files")
            for row in described:
                if isinstance(row, BadRecord):
                    bad.add(quarantine_row(row, origin.source, origin.run_id))
                else:
                    items.add(row)
        report_progress(stage, total, total, "files")
