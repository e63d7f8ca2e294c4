"""The table `verified_pairs`: what the pixels say about photos that may be duplicates."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.result_schemas import VERIFIED_PAIRS
from data.space_files import numbered_ids
from latentlake.progress import report_progress
from models.analysis.local_features import gradient_correlation, shared_inliers
from models.indexes.results import NO_ROW
from tasks.stages.budget import working_on
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed, last_build
from tasks.stages.candidates import candidate_pairs
from tasks.stages.features import describe_photos, one_thread_each
from tasks.stages.pairing import read_pairs
from tasks.stages.thresholds import is_verified

if TYPE_CHECKING:
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.analysis.duplicates import Pairs
    from models.analysis.edges import Floats
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

STAGE: Final = "verified"
_REVISION: Final = 1
"""Raise it when the same photos should get other inliers."""
_UNSEEN: Final = -1
_COMPARED_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pixels say about some pairs.

    Attributes:
        inliers: (pairs,) int32; -1 where nobody has looked.
        correlations: (pairs,) float32; NaN where the inliers are enough to go by.
    """

    inliers: npt.NDArray[np.int32]
    correlations: Floats

    @classmethod
    def nothing(cls, count: int) -> Seen:
        """Nobody has looked yet."""
        return cls(np.full(count, _UNSEEN, np.int32), np.full(count, np.nan, np.float32))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(pairs,) bool: which of the pairs have been looked at."""
        looked: npt.NDArray[np.bool_] = self.inliers != _UNSEEN
        return looked


@dataclass(frozen=True, slots=True)
class _Place:
    """Where photos are and what they are called."""

    lake: Lake
    settings: Settings
    space: SpaceRow
    vectors: ShardVectors


def verify_photos(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt | None:
    """Compare the pixels of pairs that may be duplicates and have not been compared before.

    What is seen of a pair depends on the two photos and on nothing else, so it is kept as long as
    they are a candidate. Photos that have gone since the last ingest are looked for again by every
    run, until an ingest knows better.

    Returns:
        None where the space is not verified and never was.

    Raises:
        LakeError: the neighbour graph is missing, or of other contents.
    """
    last = last_build(lake, STAGE, space)
    if is_verified(settings, space):
        details: Details = json.loads(last["details"]) if last else {}
        graph = last_build(lake, "graph", space)
        # Another number of attempts makes other inputs, so that the work is done again.
        attempt = details.get("attempt", 0) + (1 if details.get("unread") else 0)
        inputs = {
            "graph": graph["inputs"] if graph else None,
            "revision": _REVISION,
            "attempt": attempt,
        }
        known = details.get("revision") == _REVISION
    elif last is None:
        return None
    else:
        inputs, attempt, known = {"verify": False}, 0, False
    place = _Place(lake, settings, space, vectors)

    def work(_: Details | None) -> Built:
        if "verify" in inputs:
            rows, built = VERIFIED_PAIRS.columns.empty_table(), _built(0, 0, 0)
        else:
            rows, built = _verified(place, known=known)
        lake.replace_space(VERIFIED_PAIRS.name, space.key, rows, run_id)
        return replace(built, details=built.details | {"attempt": attempt})

    return build_if_changed(lake, BuildStep(STAGE, space, inputs), vectors, run_id, work)


def stored_evidence(lake: Lake, space: SpaceRow, vectors: ShardVectors, pairs: Pairs) -> Seen:
    """Return what is stored about some pairs; pairs that nobody has looked at are told apart.

    Args:
        lake: as it is committed now.
        space: whose.
        vectors: its rows.
        pairs: sorted.
    """
    found = Seen.nothing(pairs.count)
    keys = pairs.first * vectors.rows + pairs.second
    for first, second, batch in read_pairs(lake, VERIFIED_PAIRS.name, space.key, vectors):
        stored = np.minimum(first, second) * vectors.rows + np.maximum(first, second)
        at = np.minimum(np.searchsorted(keys, stored), max(0, keys.size - 1))
        here = (first != NO_ROW) & (second != NO_ROW)
        here &= keys[at] == stored if keys.size else False
        found.inliers[at[here]] = batch["inliers"].to_numpy()[here]
        correlations = batch["correlation"].to_numpy(zero_copy_only=False)
        found.correlations[at[here]] = correlations[here]
    return found


def _verified(place: _Place, *, known: bool) -> tuple[pa.Table, Built]:
    """Look at the candidates that are new, or at all; return the table's rows."""
    lake, space, vectors = place.lake, place.space, place.vectors
    pairs = candidate_pairs(lake, space, vectors).pairs
    seen = stored_evidence(lake, space, vectors, pairs) if known else Seen.nothing(pairs.count)
    todo = np.flatnonzero(~seen.known)
    unread = _look(place, pairs, seen, todo) if todo.size else 0
    looked = np.flatnonzero(seen.known)
    columns = [
        numbered_ids(pairs.first[looked], vectors.content_ids),
        numbered_ids(pairs.second[looked], vectors.content_ids),
        pa.array(pairs.similarities[looked]),
        pa.array(seen.inliers[looked]),
        pa.array(seen.correlations[looked], from_pandas=True),
    ]
    rows = pa.Table.from_arrays(columns, VERIFIED_PAIRS.columns.names[1:])
    return rows, _built(looked.size, int(seen.known[todo].sum()), unread)


def _built(pairs: int, fresh: int, unread: int) -> Built:
    note = f"{unread} photos could not be read again: their pairs stand on vectors alone"
    return Built(
        {"verified": fresh, "unread": unread},
        {"pairs": pairs, "looked_at": fresh, "unread": unread, "revision": _REVISION},
        (note,) if unread else (),
    )


def _look(place: _Place, pairs: Pairs, seen: Seen, todo: RowIds) -> int:
    """Compare the pixels of some pairs, and note in `seen` what there is to see.

    Returns:
        How many photos could not be read.
    """
    ids, name = place.vectors.content_ids, place.space.id.name
    photos, numbers = np.unique(
        np.stack([pairs.first[todo], pairs.second[todo]]), return_inverse=True
    )
    numbers = numbers.reshape(2, -1)
    # A comparison is directed; from the lesser id to the greater whatever their rows are.
    wanted = ids.take(pa.array(photos))
    by_id = np.argsort(np.asarray(pc.array_sort_indices(wanted)))
    one, other = np.where(by_id[numbers[0]] < by_id[numbers[1]], numbers, numbers[::-1])
    sources = place.settings.space(name).sources
    with working_on(place.lake, place.settings, f"verify-{name}") as work:
        features = describe_photos(work, place.lake, place.settings, sources, wanted)
        both = np.flatnonzero(features.read[one] & features.read[other])

        def compare(start: int) -> None:
            for at in both[start : start + _COMPARED_AT_ONCE]:
                left, right = features[one[at]], features[other[at]]
                correlation = gradient_correlation(left, right)
                seen.inliers[todo[at]] = shared_inliers(left, right)
                seen.correlations[todo[at]] = np.nan if correlation is None else correlation

        starts = range(0, both.size, _COMPARED_AT_ONCE)
        with one_thread_each(), ThreadPoolExecutor(place.settings.run.thread_count) as pool:
            for done, _ in enumerate(pool.map(compare, starts), 1):
                pairs_done = min(both.size, done * _COMPARED_AT_ONCE)
                report_progress("duplicates: pairs compared", pairs_done, both.size, "pairs")
    return int((~features.read).sum())
