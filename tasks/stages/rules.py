"""The rules by which a report decides who stays: in which order items are walked, and who is twin.

* `greedy-cover`: by the order `keep`; a removed item goes with the nearest one that stays.
* `components`: by the order `keep`, too, and just as guarded: of every group of items that hang
  together the first stays, those within the threshold of it go with it, the others are groups
  of their own. That keeps the very items that `greedy-cover` keeps (the first of a component is
  the first that the walk meets), and differs in whom the removed ones go with: the first of them.
* `first-seen`: by when items were first seen; whoever was kept by the last report goes before all
  others, so that a stream's consumers never see an item go for one that came later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.stages.builds import last_build

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.duplicate_settings import DuplicateSettings
    from latentlake.names import Rule
    from latentlake.settings import Settings
    from models.analysis.edges import Edges

_FIRST_SEEN = "first_run asc"


def order_of(configured: DuplicateSettings) -> str:
    """Return the SQL order in which items are walked, the history of `first-seen` aside."""
    return _FIRST_SEEN if configured.rule == "first-seen" else configured.keep


def strengths_for(rule: Rule, edges: Edges) -> np.ndarray:
    """Return what orders the edges of a removed item, (edges,) float64: the greatest is its twin's.

    Where all are equal the item of higher priority is.
    """
    return np.zeros(edges.count) if rule == "components" else edges.strengths()


def standing_first(lake: Lake, settings: Settings, space: SpaceRow, ranked: pa.Table) -> pa.Table:
    """Put those that the last report by the rule `first-seen` kept in front; else change nothing.

    They are the items of the last snapshot that were not removed then.

    Args:
        lake: has the last report and snapshot.
        settings: the space's own.
        space: whose.
        ranked: item_id and content_id, by first run.
    """
    configured, last = settings.space(space.id.name), last_build(lake, "duplicates", space)
    rule = json.loads(last["details"]).get("rule") if last else None
    if not lake.snapshots() or not rule == configured.duplicates.rule == "first-seen":
        return ranked
    removed = lake.read("duplicates", where=pc.field("space") == space.key, columns=["item_id"])
    here = pc.field("source").isin(list(configured.sources)) & ~pc.field("deleted")
    before = lake.read("items", snapshot=lake.snapshot(), where=here, columns=["item_id"])
    ids = ranked["item_id"]
    stays = pc.and_(
        pc.is_in(ids, value_set=before["item_id"]),
        pc.invert(pc.is_in(ids, value_set=removed["item_id"])),
    )
    return pa.concat_tables([ranked.filter(stays), ranked.filter(pc.invert(stays))])


@dataclass(frozen=True, slots=True)
class Changes:
    """What a report changed against the one before.

    Attributes:
        newly_removed: items that stayed, or were not there.
        returned: items that are there, were removed, and stay now.
        twin_changed: items that are removed as before, in favour of another one.
    """

    newly_removed: int
    returned: int
    twin_changed: int

    @classmethod
    def between(cls, before: pa.Table, now: pa.Table, items: pa.ChunkedArray) -> Changes:
        """Compare two reports.

        Args:
            before: item_id and twin_id of the last report.
            now: those of the new one.
            items: the ids of all items that are there, each once.
        """
        place = pc.index_in(now["item_id"], value_set=before["item_id"])
        again = now["twin_id"].filter(place.is_valid())
        twins = before["twin_id"].take(place.drop_null())
        gone = pc.invert(pc.is_in(before["item_id"], value_set=now["item_id"]))
        stay = before["item_id"].filter(gone).combine_chunks()  # few, as are the ids to hash
        return cls(
            place.null_count,
            _count(pc.is_in(items, value_set=stay)),
            _count(pc.not_equal(again, twins)),
        )


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
