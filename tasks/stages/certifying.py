"""The certificate of a report of duplicates: proved from what is stored, not from how it was made.

Nothing here calls the code that chose what to remove. From the tables `items`, `duplicates` and
those of edges, and from the vectors, it follows or it does not that each removed item has a kept
twin within the threshold, that no two kept items have a known edge that reaches it, and that all
items are accounted for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.analysis.edges import KINDS
from models.indexes.exact import pair_similarities
from models.indexes.results import NO_ROW
from models.indexes.streams import prepared, take
from models.types import Metric
from tasks.stages.builds import last_build
from tasks.stages.edges import stored_edges
from tasks.stages.spaces import space_vectors
from tasks.stages.stored_reports import FLAWS, NOBODY, StoredReport, flaws_of
from tasks.stages.thresholds import PAIR_KINDS

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.pinned import PinnedLake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.analysis.edges import Edges
    from models.types import RowIds
    from tasks.stages.stored_reports import Flaws

_ROUNDING: Final = 2e-6
"""Of a float32 threshold."""
_VECTOR_ROUNDING: Final = 1e-5
_AT_ONCE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was looked at in one space, and what is wrong with it.

    Attributes:
        space: its name.
        items: the items of the space's sources.
        kept: those that the report leaves.
        removed: those that it would remove.
        edges: known pairs of contents that reach their threshold.
        flaws: a table of `FLAWS`; without rows the report is proved.
    """

    space: str
    items: int
    kept: int
    removed: int
    edges: int
    flaws: pa.Table

    def line(self) -> str:
        """Return the outcome as a sentence."""
        items = f"{_counted(self.items, 'item')} = {self.kept:,} kept + {self.removed:,} removed"
        wrong = _counted(self.flaws.num_rows, "flaw") if self.flaws.num_rows else "proved"
        edges = _counted(self.edges, "known pair")
        return f"{self.space}: {items}, {edges} at or above the threshold: {wrong}."


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def certify(lake: PinnedLake, settings: Settings, space: SpaceRow) -> Certificate | None:
    """Prove the report of duplicates of one space, or say row by row what is wrong with it.

    Args:
        lake: held still at the snapshot to look at.
        settings: the space's sources.
        space: the space.

    Returns:
        None where the space has no report yet.
    """
    build = last_build(lake, "duplicates", space)
    if build is None:
        return None
    vectors = space_vectors(lake, settings, space)
    report = StoredReport.read(lake, settings, space, vectors)
    edges = stored_edges(lake, settings, space, vectors)
    # What held when the report was made: the configuration may have changed since.
    recorded = json.loads(build["details"])
    edges = edges.with_thresholds(recorded.get("thresholds", {}))
    near = edges.within()
    parts = [
        *_check_counts(report, recorded),
        *_check_ids(report),
        *_check_twins(report),
        *_check_proofs(report, edges),
        *_check_vectors(report, vectors, space),
        *_check_kept(report, near),
    ]
    names = pa.array([space.label] * sum(part.num_rows for part in parts), pa.string())
    flaws = pa.concat_tables([FLAWS.empty_table().drop_columns("space"), *parts])
    return Certificate(
        space.label,
        report.items,
        int(report.kept.sum()),
        report.items - int(report.kept.sum()),
        near.count,
        flaws.add_column(0, "space", names),
    )


def _check_counts(report: StoredReport, recorded: dict[str, Any]) -> Flaws:
    for name, found in (("items", report.items), ("removed", report.rows.num_rows)):
        told = recorded.get(name, found)
        if told != found:
            problem = f"the report was made of {told:,} {name}, there are {found:,}"
            yield flaws_of("counts", NOBODY, pa.array([problem]))
    if report.rows.num_rows + int(report.kept.sum()) != report.items:
        problem = (
            f"{int(report.kept.sum()):,} kept and {report.rows.num_rows:,} removed items are not "
            f"the {report.items:,} that there are"
        )
        yield flaws_of("counts", NOBODY, pa.array([problem]))


def _check_ids(report: StoredReport) -> Flaws:
    yield from report.flaws(
        "ids", report.removed_at == NO_ROW, "the removed item is none of the space's items"
    )
    yield from report.flaws(
        "ids", report.twin_at == NO_ROW, "the twin is none of the space's items"
    )
    order = np.argsort(report.removed_at, kind="stable")
    again = np.zeros(order.size, np.bool_)
    again[order[1:]] = np.diff(report.removed_at[order]) == 0
    again &= report.removed_at != NO_ROW
    yield from report.flaws("ids", again, "the item is removed more than once")


def _check_twins(report: StoredReport) -> Flaws:
    twin_is_kept = report.kept[report.twin_at] if report.items else report.twin_at == NO_ROW
    lost = (report.twin_at != NO_ROW) & ~twin_is_kept
    yield from report.flaws("twins", lost, "the twin is removed itself")
    differs = pc.not_equal(report.rows["group_id"], report.rows["twin_id"])
    strange = pc.fill_null(differs, fill_value=True).to_numpy()
    yield from report.flaws("twins", strange, "the group is not named by the twin")


def _check_proofs(report: StoredReport, edges: Edges) -> Flaws:
    """Look whether each removal goes back to equal contents or to a stored edge that suffices."""
    known, kinds = report.known, report.kinds
    scores, least = report.numbers("score"), report.numbers("threshold")
    exact = kinds == KINDS.index("exact")
    one, other = report.sides
    if report.items:
        places = np.where(known, report.removed_at, 0), np.where(known, report.twin_at, 0)
        equal = report.contents[places[0]] == report.contents[places[1]]
        yield from report.flaws("proofs", known & exact & ~equal, "exact, but the contents differ")
    low = ~(scores >= least - _ROUNDING * np.maximum(1, np.abs(least)))
    yield from report.flaws("threshold", low, "the score is below the threshold")
    asked = np.flatnonzero(known & ~exact)
    stored = _stored_scores(edges, one[asked], other[asked], kinds[asked])
    without = np.zeros(known.size, np.bool_)
    without[asked[np.isnan(stored)]] = True
    yield from report.flaws("proofs", without, "no edge of this kind is stored for the two")
    differs = np.zeros(known.size, np.bool_)
    differs[asked] = np.abs(stored - scores[asked]) > _ROUNDING * np.maximum(1, np.abs(stored))
    yield from report.flaws("proofs", differs, "the stored edge has another score")
    by_kind = np.array([edges.thresholds.get(kind, np.nan) for kind in KINDS])
    told = np.where(exact, least, by_kind[kinds])
    other_one = np.abs(told - least) > _ROUNDING * np.maximum(1, np.abs(least))
    problem = "the threshold is not the one the report was made with"
    yield from report.flaws("threshold", other_one, problem)


def _check_vectors(report: StoredReport, vectors: ShardVectors, space: SpaceRow) -> Flaws:
    """Compute the similarities anew, from the stored vectors."""
    one, other = report.sides
    own = KINDS.index(PAIR_KINDS[space.modality])
    asked = np.flatnonzero(report.kinds == own)
    missing = np.zeros(one.size, np.bool_)
    missing[asked] = report.known[asked] & ((one[asked] == NO_ROW) | (other[asked] == NO_ROW))
    yield from report.flaws("vectors", missing, "one of the two has no vector")
    asked = asked[report.known[asked] & ~missing[asked]]
    told = report.numbers("similarity")[asked]
    found = _similarities(vectors, one[asked], other[asked], Metric(space.id.metric))
    wrong = ~(np.abs(found - told) <= _VECTOR_ROUNDING * np.maximum(1, np.abs(found)))
    said = [
        f"the similarity is said to be {a:.6g}, the vectors say {b:.6g}"
        for a, b in zip(told[wrong], found[wrong], strict=True)
    ]
    which = np.zeros(one.size, np.bool_)
    which[asked[wrong]] = True
    yield from report.flaws("vectors", which, pa.array(said, pa.string()))


def _check_kept(report: StoredReport, near: Edges) -> Flaws:
    """Look for two kept items that are known to be duplicates: of equal content, or by an edge."""
    kept = np.flatnonzero(report.kept)
    contents, first, counts = np.unique(
        report.contents[kept], return_index=True, return_counts=True
    )
    place = np.full(report.vector_rows.size, NO_ROW, np.int64)
    place[contents] = kept[first]
    copies = kept[np.isin(report.contents[kept], contents[counts > 1])]
    copies = copies[place[report.contents[copies]] != copies]
    if copies.size:
        ids = [report.ids.take(pa.array(at)) for at in (copies, place[report.contents[copies]])]
        said = pa.array(["both are kept, and their contents are equal"] * copies.size)
        yield flaws_of("kept", (ids[0], ids[1]), said)
    rows = int(report.vector_rows.max(initial=-1)) + 1
    if near.count:
        rows = max(rows, int(near.second.max()) + 1)
    kept_row = np.full(rows, NO_ROW, np.int64)
    with_vector = report.vector_rows != NO_ROW
    kept_row[report.vector_rows[with_vector]] = place[with_vector]
    left, right = kept_row[near.first], kept_row[near.second]
    both = np.flatnonzero((left != NO_ROW) & (right != NO_ROW))
    if both.size:
        ids = [report.ids.take(pa.array(side[both])) for side in (left, right)]
        said = pa.array(
            [
                f"both are kept, and {KINDS[kind]} by {score:.6g}, at least {least:.6g}"
                for kind, score, least in zip(
                    near.kinds[both], near.scores[both], near.least()[both], strict=True
                )
            ]
        )
        yield flaws_of("kept", (ids[0], ids[1]), said)


def _stored_scores(
    edges: Edges, one: RowIds, other: RowIds, kinds: RowIds
) -> npt.NDArray[np.float64]:
    """Return the greatest stored score of each pair by its kind, (pairs,) float64, else NaN."""
    scores = np.full(one.size, np.nan)
    low, high = np.minimum(one, other), np.maximum(one, other)
    rows = int(max(high.max(initial=0), edges.second.max(initial=0))) + 1
    held = (edges.kinds.astype(np.int64) * rows + edges.first) * rows + edges.second
    asked = (kinds * rows + low) * rows + high
    order = np.lexsort((edges.scores, held))
    at = np.searchsorted(held[order], asked, side="right") - 1
    there = (at >= 0) & (low >= 0)
    there[there] = held[order[at[there]]] == asked[there]
    scores[there] = edges.scores[order[at[there]]]
    return scores


def _similarities(
    vectors: ShardVectors, one: RowIds, other: RowIds, metric: Metric
) -> npt.NDArray[np.float64]:
    found = np.empty(one.size, np.float64)
    for start in range(0, one.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        unique, where = np.unique(np.concatenate((one[part], other[part])), return_inverse=True)
        stored = prepared(take(vectors, unique), vectors.dim, metric)
        left, right = np.split(where, 2)
        found[part] = pair_similarities(stored[left], stored[right], metric)
    return found


def with_places(lake: PinnedLake, flaws: pa.Table | None) -> pa.Table:
    """Return flaws with the places of their items, as a user knows them.

    Args:
        lake: the state that was looked at.
        flaws: of `FLAWS`; by default none.

    Returns:
        space, check, item (its URI), twin (its URI), problem, item_id, twin_id.
    """
    rows = FLAWS.empty_table() if flaws is None else flaws
    asked = pa.chunked_array([*rows["item_id"].chunks, *rows["twin_id"].chunks], pa.string())
    ids = asked.drop_null().unique()
    items = lake.read("items", within=("item_id", ids), columns=["item_id", "uri"])
    known, uris = items["item_id"].combine_chunks(), items["uri"]
    places = (uris.take(pc.index_in(rows[n], value_set=known)) for n in ("item_id", "twin_id"))
    item, twin = places
    return pa.table(
        {
            "space": rows["space"],
            "check": rows["check"],
            "item": item,
            "twin": twin,
            "problem": rows["problem"],
            "item_id": rows["item_id"],
            "twin_id": rows["twin_id"],
        }
    )
