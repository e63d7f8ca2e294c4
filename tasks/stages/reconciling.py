"""What was found in a source against what the lake knows of it, as joins over the two.

The workspace has the views that `scanning` makes and, of what was read, `seen` (rows of `items`)
and `unread` (rows of `quarantine`). Nothing here goes row by row through Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data.changes import TableChange, change_table
from data.schemas import FILES, ITEMS
from data.workspace import quoted
from tasks.stages.scanning import RACY_NS

if TYPE_CHECKING:
    from data.lake import Lake
    from data.workspace import Workspace
    from tasks.stages.describing import Origin

_IGNORED: Final = frozenset({"item_id", "first_run", "last_run", "previous_uri"})
_HASH: Final = f"hash({', '.join(name for name in ITEMS.columns.names if name not in _IGNORED)})"
"""64 bits: two different rows of one item and one content count as the same once in 2e19."""

_SAME_FILE: Final = tuple(name for name in FILES.columns.names if name != "scanned_ns")
_BAD_BECAUSE: Final = ("stage", "error", "message", "size_bytes", "code")


def live_items(work: Workspace, source: str) -> int:
    """Return how many items of a source there are."""
    return work.count(f"items WHERE source = {quoted(source)} AND NOT deleted")


class Reconciliation:
    """One scan's rows, sorted into what they mean for the lake's tables."""

    def __init__(self, work: Workspace, origin: Origin, reader: str, started_ns: int) -> None:
        self._work, self._origin = work, origin
        self._reader, self._started_ns = reader, started_ns

    def compare(self) -> dict[str, int]:
        """Tell new, changed, moved, returned, vanished, unchanged and bad apart; return counts."""
        work = self._work
        work.execute(
            f"""CREATE VIEW old AS FROM items WHERE source = {quoted(self._origin.source)}
            AND file IN (SELECT file FROM stale UNION ALL SELECT file FROM vanished)"""
        )
        self._find_moves()
        self._judge_items()
        self._judge_bad()
        self._judge_files()
        counts = dict.fromkeys(("new", "changed", "moved", "returned"), 0)
        found = dict(work.counts("SELECT verdict, count(*) FROM verdicts GROUP BY verdict"))
        counts |= {verdict: count for verdict, count in found.items() if verdict in counts}
        gone = work.count("gone")
        return counts | {
            "vanished": gone - counts["moved"],
            "unchanged": live_items(work, self._origin.source) - gone - counts["changed"],
            "bad": work.count("unread") + work.count("unlisted"),
            "quarantined": work.count("noted"),
        }

    def commit(self, lake: Lake) -> bool:
        """Commit items, then quarantine, then files; return whether there was anything."""
        run = quoted(self._origin.run_id)
        items = TableChange(
            added="FROM judged WHERE verdict IN ('new', 'moved')",
            changed=f"""FROM judged WHERE verdict NOT IN ('new', 'moved') UNION ALL BY NAME
            SELECT * REPLACE (true AS deleted, {run} AS last_run)
            FROM items SEMI JOIN gone USING (item_id)""",
        )
        quarantine = TableChange(
            added="FROM noted WHERE NOT is_known",
            changed="FROM noted WHERE is_known",
            gone="FROM healed",
        )
        files = TableChange(
            added="FROM scanned WHERE NOT is_known",
            changed="FROM scanned WHERE is_known",
            gone=f"SELECT {quoted(self._origin.source)} AS source, file FROM vanished",
        )
        changes = {"items": items, "quarantine": quarantine, "files": files}
        done = [
            change_table(lake, name, self._work, change, self._origin.run_id)
            for name, change in changes.items()
        ]
        return any(done)

    def _find_moves(self) -> None:
        """Pair items that are new with those of the same content whose files have gone."""
        self._work.execute(
            """CREATE TABLE moves AS
            WITH origins AS (
                SELECT content_id, uri, row_number() OVER same AS turn
                FROM old SEMI JOIN vanished USING (file) WHERE NOT deleted
                WINDOW same AS (PARTITION BY content_id ORDER BY uri)),
            arrivals AS (
                SELECT n, content_id, row_number() OVER same AS turn
                FROM seen SEMI JOIN origins USING (content_id) ANTI JOIN old USING (item_id)
                WINDOW same AS (PARTITION BY content_id ORDER BY n))
            SELECT n, uri FROM arrivals JOIN origins USING (content_id, turn)"""
        )

    def _judge_items(self) -> None:
        """Make `judged`, the rows that are not as they were, and `gone`, those no longer there.

        Rows may be large, so those that are compared and joined are a hash of each.
        """
        self._work.execute(
            f"""CREATE TABLE verdicts AS
            SELECT n, coalesce(o.first_run, s.first_run) AS first_run, m.uri AS previous_uri,
                CASE WHEN m.uri IS NOT NULL THEN 'moved' WHEN o.item_id IS NULL THEN 'new'
                WHEN o.deleted THEN 'returned' WHEN s.content_id <> o.content_id THEN 'changed'
                ELSE 'rewritten' END AS verdict
            FROM (SELECT n, item_id, content_id, first_run, {_HASH} AS hash FROM seen) s
            LEFT JOIN (SELECT item_id, content_id, first_run, deleted, {_HASH} AS hash FROM old) o
            USING (item_id) LEFT JOIN moves m USING (n)
            WHERE o.item_id IS NULL OR s.hash <> o.hash"""
        )
        self._work.execute(
            """CREATE VIEW judged AS
            SELECT s.* REPLACE (v.first_run AS first_run, v.previous_uri AS previous_uri), v.verdict
            FROM seen s JOIN verdicts v USING (n)"""
        )
        self._work.execute(
            """CREATE TABLE gone AS
            SELECT item_id FROM old ANTI JOIN seen USING (item_id) WHERE NOT deleted"""
        )

    def _judge_bad(self) -> None:
        """Make `noted`, what has to be put into quarantine, and `healed`, what leaves it."""
        self._work.execute(
            """CREATE VIEW bad AS
            FROM (FROM unread UNION ALL FROM unlisted)
            QUALIFY row_number() OVER (PARTITION BY quarantine_id ORDER BY n DESC) = 1"""
        )
        self._work.execute(
            f"""CREATE VIEW noted AS
            SELECT b.*, k.quarantine_id IS NOT NULL AS is_known
            FROM bad b LEFT JOIN known_bad k USING (quarantine_id)
            WHERE k.quarantine_id IS NULL OR {_differs("b", "k", _BAD_BECAUSE)}"""
        )
        self._work.execute(
            """CREATE VIEW healed AS SELECT quarantine_id
            FROM known_bad ANTI JOIN bad USING (quarantine_id) WHERE stage = 'list'
            OR file IN (SELECT file FROM stale UNION ALL SELECT file FROM vanished)"""
        )

    def _judge_files(self) -> None:
        """Make `scanned`, the rows of `files` that are not as they were.

        A scan that only confirms what was known is no news, and no news commits nothing, but for
        this: a file that was in doubt at its last scan, and is not now, need not be read again.
        """
        self._work.execute(
            f"""CREATE VIEW scanned AS
            WITH now AS (
                SELECT {quoted(self._origin.source)} AS source, stale.* EXCLUDE (n),
                    {self._started_ns}::BIGINT AS scanned_ns, {quoted(self._reader)} AS reader,
                    coalesce(items, 0) AS items, coalesce(quarantined, 0) AS quarantined
                FROM stale
                LEFT JOIN (SELECT file, count(*) AS items FROM seen GROUP BY file) USING (file)
                LEFT JOIN (SELECT file, count(DISTINCT quarantine_id) AS quarantined
                    FROM unread GROUP BY file) USING (file))
            SELECT f.*, k.file IS NOT NULL AS is_known
            FROM now f LEFT JOIN known k USING (file)
            WHERE k.file IS NULL OR k.scanned_ns > f.scanned_ns
            OR f.modified_ns <= f.scanned_ns - {RACY_NS} OR {_differs("f", "k", _SAME_FILE)}"""
        )


def _differs(left: str, right: str, names: tuple[str, ...]) -> str:
    """Say in SQL that two rows are not the same in some column."""
    parts = (f"{left}.{name} IS DISTINCT FROM {right}.{name}" for name in names)
    return f"({' OR '.join(parts)})"
