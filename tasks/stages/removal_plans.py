"""Plans of what to remove: the report as other settings would have it, from stored edges alone.

Nothing is encoded, searched or written. A plan with no wishes is the report itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ByteSize, TypeAdapter, ValidationError

from data.scans import table_batches
from latentlake.errors import ConfigError
from models.analysis.edges import KINDS
from tasks.stages.builds import last_build
from tasks.stages.deduplicating import decide, ranked_items
from tasks.stages.edges import stored_edges
from tasks.stages.rules import order_of, standing_first
from tasks.stages.spaces import space_vectors
from tasks.stages.thresholds import PAIR_KINDS, is_verified

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.duplicate_settings import Rule
    from latentlake.settings import Settings
    from models.analysis.edges import Edges

_ITEMS: Final = ("item_id", "source", "uri", "file", "key", "position", "content_id", "size_bytes")
_BYTES: Final[TypeAdapter[ByteSize]] = TypeAdapter(ByteSize)
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan has to keep to.

    Attributes:
        unit: "items": at most so many are removed. "bytes": at least so many are freed.
        amount: of these.
    """

    unit: Literal["items", "bytes"]
    amount: int

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `1000` as items, `2GB` or `500 MiB` as bytes.

        Raises:
            ConfigError: it is neither.
        """
        if re.fullmatch(r"[0-9][0-9_,]*", text.strip()):
            return cls("items", int(re.sub("[_,]", "", text)))
        try:
            return cls("bytes", int(_BYTES.validate_python(text)))
        except ValidationError:
            raise ConfigError(
                f"--budget {text}: give a number of items to remove at most, such as 1000, or "
                "what is to be freed at least, such as 2GB."
            ) from None

    def holds(self, removed: int, freed: int) -> bool:
        """Tell whether so many removals, which free so many bytes, keep to it."""
        return removed <= self.amount if self.unit == "items" else freed >= self.amount


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be otherwise than configured.

    Attributes:
        threshold: the least score of near-duplicates; None as the report has it.
        keep: the order that decides which of several is kept; None as configured.
        budget: chooses the threshold; None for no budget.
    """

    threshold: float | None = None
    keep: str | None = None
    budget: Budget | None = None


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
            order is no SQL, or no threshold keeps to the budget.
    """
    if last_build(lake, "duplicates", space) is None:
        raise ConfigError(
            f"space '{space.label}' has no report of duplicates yet: 'latentlake run' makes it."
        )
    configured = settings.space(space.id.name)
    vectors = space_vectors(lake, settings, space)
    rule = configured.duplicates.rule
    ranked = ranked_items(lake, configured.sources, wishes.keep or order_of(configured.duplicates))
    if wishes.keep is None:
        ranked = standing_first(lake, settings, space, ranked)
    items = _items(lake, configured.sources)
    edges = stored_edges(lake, settings, space, vectors)
    kind = PAIR_KINDS[space.modality]
    if wishes.threshold is not None:
        least = None if is_verified(settings, space) else stored_from(lake, space)
        edges = _with_threshold(space, edges, kind, wishes.threshold, least)
    if wishes.budget is not None:
        edges = _within_budget(_Trial(ranked, vectors, edges, items, kind, rule), wishes.budget)
    decided = decide(ranked, vectors, edges, rule)
    decided = decided.append_column("rule", pa.array([rule] * decided.num_rows, pa.string()))
    return _planned(lake, space, items, decided, edges.thresholds.get(kind))


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


@dataclass(frozen=True)
class _Trial:
    """What a threshold is tried on."""

    ranked: pa.Table
    vectors: ShardVectors
    edges: Edges
    items: pa.Table
    kind: str
    rule: Rule

    def measured(self, threshold: float) -> tuple[int, int]:
        """Return how many items a threshold removes, and how many bytes that frees."""
        table = decide(
            self.ranked,
            self.vectors,
            self.edges.with_thresholds({self.kind: threshold}),
            self.rule,
        )
        places = pc.index_in(table["item_id"], value_set=self.items["item_id"].combine_chunks())
        sizes = self.items["size_bytes"].take(places)
        return table.num_rows, int(pc.sum(sizes).as_py() or 0)


def _within_budget(trial: _Trial, budget: Budget) -> Edges:
    """Find the threshold by bisection over the scores that edges have.

    With items to remove at most, the lowest threshold that keeps to it: as much as may be. With
    bytes to free at least, the highest: what is surest, and no more than is needed. Removals grow
    nearly, not strictly, as the threshold falls (a row that goes no longer removes others), so the
    threshold that is found keeps to the budget, and the next score beyond it was seen not to; a
    lower one that happens to is not looked for.
    """
    edges, least = trial.edges, trial.edges.thresholds.get(trial.kind)
    own = edges.within()
    scores = np.unique(own.scores[own.kinds == KINDS.index(trial.kind)])
    # The first level has no edge of this kind at all; each further one adds the next lower score.
    levels = [_above(scores, least), *(float(score) for score in scores[::-1])]
    wants_more = budget.unit == "items"
    if wants_more and not budget.holds(*trial.measured(levels[0])):
        removed = trial.measured(levels[0])[0]
        raise ConfigError(
            f"--budget {budget.amount}: {removed:,} items go whatever the threshold, because they "
            "are equal to others: allow more."
        )
    if not wants_more and not budget.holds(*trial.measured(levels[-1])):
        freed = trial.measured(levels[-1])[1]
        raise ConfigError(
            f"--budget of {budget.amount:,} bytes: all removals down to the stored threshold free "
            f"{freed:,}. Set a lower duplicates.threshold and run 'latentlake report'."
        )
    fits, fails = (0, len(levels)) if wants_more else (len(levels) - 1, -1)
    while abs(fails - fits) > 1:
        middle = (fits + fails) // 2
        if budget.holds(*trial.measured(levels[middle])):
            fits = middle
        else:
            fails = middle
    return edges.with_thresholds({trial.kind: levels[fits]})


def _above(scores: np.ndarray, least: float | None) -> float:
    """Return a threshold that no score reaches, by more than any rounding."""
    top = float(scores[-1]) if scores.size else (least or 0.0)
    return top + max(1.0, abs(top)) * 1e-4


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
