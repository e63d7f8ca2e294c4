"""Budgets of plans: the threshold is chosen so that a plan keeps to one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow.compute as pc
from pydantic import ByteSize, TypeAdapter, ValidationError

from latentlake.errors import ConfigError
from models.analysis.edges import KINDS
from tasks.stages.deduplicating import decide

if TYPE_CHECKING:
    import pyarrow as pa

    from data.vectors import ShardVectors
    from latentlake.names import Rule
    from models.analysis.edges import Edges

_BYTES: Final[TypeAdapter[ByteSize]] = TypeAdapter(ByteSize)


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


@dataclass(frozen=True)
class Trial:
    """What a threshold is tried on.

    Attributes:
        ranked: the items, the one to keep first in front.
        vectors: of their contents.
        edges: what is known of pairs of them.
        items: item_id and size_bytes of all.
        kind: the kind of edges that the threshold is of.
        rule: of removal.
    """

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


def within_budget(trial: Trial, budget: Budget) -> Edges:
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
