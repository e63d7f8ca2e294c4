"""What a space's index should be, from its settings, its size and the memory limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.indexes.plans import IndexKind, index_bytes
from models.indexes.rivals import suited
from models.indexes.tuning import Goal
from models.types import Metric
from tasks.stages.budget import budget_of

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.plans import IndexPlan

_NS: int = 10**6


@dataclass(frozen=True, slots=True)
class IndexWish:
    """What is asked of an index.

    Attributes:
        plans: those to choose from.
        goal: the recall to reach, and what a query may cost.
        seed: of all sampling and training.
        inputs: all that the choice depends on besides the vectors.
        largest: the plan that takes the most memory, and its bytes.
    """

    plans: tuple[IndexPlan, ...]
    goal: Goal
    seed: int
    inputs: dict[str, Any]
    largest: tuple[IndexPlan, int]


def index_wish(settings: Settings, space: SpaceRow, vectors: ShardVectors) -> IndexWish:
    """Return what is asked of a space's index.

    Raises:
        IndexKindError: the configured kind does not suit the metric.
        IndexTooLargeError: nothing that serves fits into the memory limit.
    """
    wanted, metric = settings.space(space.id.name), Metric(space.id.metric)
    kind = None if wanted.index.kind == "auto" else IndexKind(wanted.index.kind)
    most = wanted.index.latency_ms
    inputs: dict[str, Any] = {
        "target_recall": wanted.target_recall,
        "seed": settings.run.seed,
        "kind": wanted.index.kind,
        "latency_ms": most,
    }
    rows, dim = vectors.rows, vectors.dim
    plans = suited(kind, rows, dim, metric, budget_of(settings).index)
    if _kinds(plans) != _kinds(suited(kind, rows, dim, metric)):
        inputs["limited_to"] = _kinds(plans)
    goal = Goal(wanted.target_recall, None if most is None else most * _NS)
    sizes = [(plan, index_bytes(plan, rows, dim)) for plan in plans]
    return IndexWish(plans, goal, settings.run.seed, inputs, max(sizes, key=lambda size: size[1]))


def _kinds(plans: tuple[IndexPlan, ...]) -> list[str]:
    return [f"{plan.kind} {plan.codec}" for plan in plans]
