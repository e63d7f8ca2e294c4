"""Plans of what to remove: the report as other settings would have it, from stored edges alone.

Nothing is encoded, searched or written. A plan with no wishes is the report itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.scans import table_batches
from latentlake.errors import ConfigError
from tasks.stages.builds import last_build
from tasks.stages.deduplicating import decide, ranked_items
from tasks.stages.edges import stored_edges
from tasks.stages.removal_budgets import Trial, within_budget
from tasks.stages.rules import order_of, standing_first
from tasks.stages.spaces import space_vectors
from tasks.stages.thresholds import PAIR_KINDS, is_verified

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.names import Rule
    from latentlake.settings import Settings
    from models.analysis.edges import Edges
    from tasks.stages.removal_budgets import Budget

_ITEMS: Final = ("item_id", "source", "uri", "file", "key", "position", "content_id", "size_bytes")
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be otherwise than configured.

    Attributes:
        threshold: the least score of near-duplicates; None as the report has it.
        keep: the order that decides which of several is kept; None as configured.
        budget: chooses the threshold; None for no budget.
        rule: of removal; None as configured.
    """

    threshold: float | None = None
    keep: str | None = None
    budget: Budget | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be removed and kept.

    Attributes:
        space: its name.
        threshold: of near-duplicates; None where only other kinds count.
        removals: a row a removed item: space, item_id, twin_id, group_id, kind, score, similarity,
            threshold, rule, where it is, twin_uri, change ("new", "same", or "twin": the stored
            report has another one).
        kept: the other items: space and the columns of where they are.
        returned: items that the stored report removes and this plan keeps.
        freed_bytes: sizes of the removed items, summed.
    """

    space: str
    threshold: float | None
    removals: pa.Table
    kept: pa.Table
    returned: int
    freed_bytes: int

    def line(self) -> str:
        """Return the plan as a sentence."""
        changes = self.removals["change"].to_pylist()
        total = self.removals.num_rows + self.kept.num_rows
        at = "" if self.threshold is None else f" at {self.threshold:.6g}"
        return (
            f"{self.space}{at}: {self.removals.num_rows:,} of {total:,} items would go "
            f"({self.freed_bytes:,} bytes), {self.kept.num_rows:,} stay; against the stored "
            f"report {changes.count('new'):,} more, {self.returned:,} fewer, "
            f"{changes.count('twin'):,} with another twin. Nothing has been written to the lake."
        )


def plan_removals(lake: Lake, settings: Settings, space: SpaceRow, wishes: Wishes) -> Plan:
    """Decide what would be removed, from what is stored.

    Args:
        lake: best held still at a snapshot.
        settings: the space's own.
        space: the space.
        wishes: what is to be otherwise.

    Raises:
        ConfigError: there is no report yet, the threshold is below what edges are stored from, the
            order is no SQL or not asked for by the rule, or no threshold keeps to the budget.
    """
    if last_build(lake, "duplicates", space) is None:
        raise ConfigError(
            f"space '{space.label}' has no report of duplicates yet: 'latentlake run' makes it."
        )
    settings = _as_wished(settings, space, wishes)
    configured = settings.space(space.id.name)
    vectors = space_vectors(lake, settings, space)
    rule = configured.duplicates.rule
    ranked = ranked_items(lake, configured.sources, order_of(configured.duplicates))
    ranked = standing_first(lake, settings, space, ranked)
    items = _items(lake, configured.sources)
    edges = stored_edges(lake, settings, space, vectors)
    kind = PAIR_KINDS[space.modality]
    if wishes.threshold is not None:
        least = None if is_verified(settings, space) else stored_from(lake, space)
        edges = _with_threshold(space, edges, kind, wishes.threshold, least)
    if wishes.budget is not None:
        edges = within_budget(Trial(ranked, vectors, edges, items, kind, rule), wishes.budget)
    decided = decide(ranked, vectors, edges, rule)
    decided = decided.append_column("rule", pa.array([rule] * decided.num_rows, pa.string()))
    return _planned(lake, space, items, decided, edges.thresholds.get(kind))


def _as_wished(settings: Settings, space: SpaceRow, wishes: Wishes) -> Settings:
    """Return the settings with another rule and order."""
    name, changes = space.id.name, {"rule": wishes.rule, "keep": wishes.keep}
    changed = settings.with_duplicates(name, {k: v for k, v in changes.items() if v is not None})
    if wishes.keep is not None and changed.space(name).duplicates.rule == "first-seen":
        raise ConfigError(
            f"space '{space.label}': by the rule 'first-seen' stays who came first, whatever the "
            "order is: leave out --keep, or give another --rule."
        )
    return changed


def _with_threshold(
    space: SpaceRow, edges: Edges, kind: str, threshold: float, least: float | None
) -> Edges:
    """Try another threshold, which must not ask for pairs below the least that is stored.

    Args:
        space: whose.
        edges: its stored edges.
        kind: the kind that the threshold is of.
        threshold: the least score.
        least: the least score of stored edges of this kind; None where all that were looked at are.
    """
    if kind not in edges.thresholds or (
        least is not None and threshold < least - _ROUNDING * max(1.0, abs(least))
    ):
        known = "none is stored" if least is None else f"they are stored from {least:g} on"
        raise ConfigError(
            f"space '{space.label}': --threshold {threshold:g} needs edges that are not there, "
            f"{known}. Set duplicates.threshold = {threshold:g} and run 'latentlake report'."
        )
    return edges.with_thresholds({kind: threshold})


def stored_from(lake: Lake, space: SpaceRow) -> float | None:
    """Return the least similarity of stored pairs, None where there are none."""
    build = last_build(lake, "pairs", space)
    found: float | None = json.loads(build["details"])["threshold"] if build else None
    return found


def _items(lake: Lake, sources: tuple[str, ...]) -> pa.Table:
    """Return the live items of some sources, with where they are."""
    chosen = pa.array(sources, pa.string())
    read = [*_ITEMS, "deleted"]
    parts = [
        batch.filter(pc.invert(batch["deleted"])).select(list(_ITEMS))
        for batch in table_batches(lake, "items", read, ("source", chosen))
    ]
    return pa.Table.from_batches(parts)


def _planned(
    lake: Lake, space: SpaceRow, items: pa.Table, decided: pa.Table, threshold: float | None
) -> Plan:
    known = items["item_id"].combine_chunks()
    removed = pc.index_in(decided["item_id"], value_set=known)
    twins = pc.index_in(decided["twin_id"], value_set=known)
    stored = lake.read("duplicates", where=pc.field("space") == space.key)
    before = pc.index_in(decided["item_id"], value_set=stored["item_id"].combine_chunks())
    same_twin = pc.equal(stored["twin_id"].take(before), decided["twin_id"])
    change = pc.if_else(pc.is_null(before), "new", pc.if_else(same_twin, "same", "twin"))
    names = pa.array([space.label] * decided.num_rows, pa.string())
    removals = pa.table(
        {
            "space": names,
            **{name: decided[name] for name in decided.column_names},
            **{name: items[name].take(removed) for name in _ITEMS[1:]},
            "twin_uri": items["uri"].take(twins),
            "change": change,
        }
    )
    stays = pc.invert(pc.is_in(known, value_set=decided["item_id"].combine_chunks()))
    kept = items.filter(stays)
    returned = pc.is_in(stored["item_id"], value_set=kept["item_id"].combine_chunks())
    return Plan(
        space.label,
        threshold,
        removals,
        kept.add_column(0, "space", pa.array([space.label] * kept.num_rows, pa.string())),
        int(pc.sum(returned).as_py() or 0),
        int(pc.sum(removals["size_bytes"]).as_py() or 0),
    )
