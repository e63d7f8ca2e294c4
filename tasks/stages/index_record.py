"""What is kept of an index beside its file: why this one, what it finds, what a query costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from models.indexes.filtered import SHARE
from models.indexes.plans import TUNED_K
from models.indexes.recall import RecallEstimate
from models.indexes.work import query_ns

if TYPE_CHECKING:
    from models.indexes.build import BuiltIndex
    from tasks.stages.builds import Details


def details_of(built: BuiltIndex) -> Details:
    """Return what is known of an index; the cost of a query is counted, so no clock is in it."""
    plan, index = built.plan, built.index
    effort = {k: v for k, v in asdict(plan.search_parameters).items() if v is not None}
    cost_ns = query_ns(plan, plan.search_parameters, index.rows, index.dim, TUNED_K)
    return {
        "factory": plan.factory,
        "search": ",".join(f"{key}={value}" for key, value in effort.items()),
        "training_rows": plan.training_rows,
        "reasons": list(plan.reasons),
        "target_recall": built.target_recall,
        "layout": asdict(built.layout) if built.layout else None,
        "k": built.recall.k,
        "queries": built.recall.queries,
        "recall": built.recall.mean,
        "recall_low": built.recall.low,
        "recall_high": built.recall.high,
        "filtered": asdict(built.filtered) | {"share": SHARE} if built.filtered else None,
        "queries_per_second": round(1e9 / cost_ns),
        "vector_bytes": round(built.index_bytes / max(1, index.rows), 1),
    }


def measured_in(details: Details) -> RecallEstimate:
    """Return the recall that was measured last."""
    low, high = details["recall_low"], details["recall_high"]
    return RecallEstimate(details["k"], details["queries"], details["recall"], low, high)


def filtered_in(details: Details) -> RecallEstimate | None:
    """Return the recall among a tenth of the rows; None where nobody has measured it."""
    known = dict(details.get("filtered") or {})
    known.pop("share", None)
    return RecallEstimate(**known) if known else None
