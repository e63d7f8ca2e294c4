"""The audit of a space's pairs: how many true ones the search has missed, measured on a sample.

The sample is held: it is the contents whose hash, mixed with the seed, is smallest. So it does not
depend on order or batches, a content stays in it while it exists, and a batch adds to it only what
falls below the largest hash it has. That is a random sample without replacement (Broder 1997,
"bottom-k").
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.id_tables import keys_of
from models.analysis.missed_pairs import MissedPairs, find_missed
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed, last_build, progress_of
from tasks.stages.pairing import stored_pairs
from tasks.stages.spaces import space_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

MOST_UNMEASURED: Final = 0.1
"""Contents that were searched for since the last measurement, as a share of those it was made on.
The audit reads all vectors: so its cost, spread over batches, is in proportion to what they add."""
AUDITS: Final = pa.schema(
    [
        ("space", pa.string()),
        ("threshold", pa.float64()),
        *[(name, pa.int64()) for name in ("sampled", "pairs", "missed")],
        *[(name, pa.float64()) for name in ("missed_rate", "missed_low", "missed_high")],
        *[(name, pa.int64()) for name in ("compared", "measured_rows", "changes_since")],
    ]
)
"""A row for each space's `Audit`."""
MISSED: Final = pa.schema(
    [
        ("space", pa.string()),
        ("one", pa.string()),
        ("other", pa.string()),
        ("similarity", pa.float64()),
        ("one_content", pa.string()),
        ("other_content", pa.string()),
    ]
)
"""A row for a pair that the search has missed: places, and contents."""
_REVISION = 1
_STAGE: Final = "audit"


@dataclass(frozen=True, slots=True)
class Audit:
    """What was measured of a space's pairs; as `builds.details` holds it.

    Attributes:
        threshold: the least similarity of a pair.
        sampled: contents whose true pairs were looked for by brute force.
        pairs: how many these are.
        missed: how many of them are not in the table `pairs`.
        missed_rate: the share, 0 where there are no pairs.
        missed_low: lower end of its 95 % interval.
        missed_high: upper end.
        compared: similarities that were computed for it.
        measured_rows: the space's contents then.
        changes_since: contents that were searched for since then.
    """

    threshold: float
    sampled: int
    pairs: int
    missed: int
    missed_rate: float
    missed_low: float
    missed_high: float
    compared: int
    measured_rows: int
    changes_since: int = 0

    def line(self) -> str:
        """Return the measurement as a sentence."""
        if self.pairs == 0:
            return f"audit: {self.sampled:,} sampled contents have no pairs"
        return (
            f"audit: {self.missed:,} of {self.pairs:,} pairs of {self.sampled:,} sampled contents "
            f"missed ({self.missed_low:.1%} to {self.missed_high:.1%})"
        )

    def failure(self, label: str, most: float) -> str:
        """Say why the audit fails; empty where it does not.

        It fails only where the interval's lower end is above what may be missed: not by chance.

        Args:
            label: the space's.
            most: the share that may be missed.
        """
        if self.missed_low <= most:
            return ""
        return (
            f"duplicates of space '{label}': {self.line()}, more than duplicates.max_missed = "
            f"{most:g}. The report is committed, and incomplete: raise target_recall of the space "
            "and run again, or allow more."
        )


def audit_space(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt | None:
    """Measure the stored pairs of a space where they have changed enough, and judge them.

    Returns:
        A receipt whose error is set where too much is missed, also by an older measurement that
        still holds; None where nothing is to be audited.
    """
    wanted, paired = settings.space(space.id.name).duplicates, last_build(lake, "pairs", space)
    found = json.loads(paired["details"]) if paired else {}
    if not wanted.audit or found.get("threshold") is None:
        return None
    inputs = {
        "threshold": found["threshold"],
        "sample": wanted.audit,
        "seed": settings.run.seed,
        "revision": _REVISION,
    }

    def work(last: Details | None) -> Built:
        audit = _still_holds(last, found["searched"], vectors.rows)
        if audit is None:
            rows = held_sample(vectors, wanted.audit, settings.run.seed)
            audit, _ = measure(lake, space, vectors, found["threshold"], rows)
        counts = {"audited_pairs": audit.pairs, "missed_pairs": audit.missed}
        return Built(counts, asdict(audit), (audit.line(),))

    receipt = build_if_changed(lake, BuildStep(_STAGE, space, inputs), vectors, run_id, work)
    stored = last_build(lake, _STAGE, space)
    audit = _audit_of(json.loads(stored["details"])) if stored else None
    error = audit.failure(space.label, wanted.max_missed) if audit else ""
    return replace(receipt, error=error)


def audit_now(
    lake: Lake, settings: Settings, space: SpaceRow, sample: int | None = None
) -> tuple[Audit, pa.Table] | None:
    """Measure the stored pairs of a space, whatever was measured before; nothing is written.

    Args:
        lake: best held still at a snapshot.
        settings: the audit's own.
        space: the space.
        sample: contents to compare with all; by default as configured.

    Returns:
        The measurement and missed pairs as a table of `MISSED`; None where there are no pairs.
    """
    paired = last_build(lake, "pairs", space)
    threshold = json.loads(paired["details"])["threshold"] if paired else None
    size = settings.space(space.id.name).duplicates.audit if sample is None else sample
    if threshold is None or not size:
        return None
    vectors = space_vectors(lake, settings, space)
    rows = held_sample(vectors, size, settings.run.seed)
    audit, found = measure(lake, space, vectors, threshold, rows)
    sides = [vectors.content_ids.take(pa.array(side)) for side in found.examples.T]
    items = lake.read("items", columns=["content_id", "uri"]).group_by("content_id")
    places = items.aggregate([("uri", "min")])
    known = places["content_id"].combine_chunks()
    uris = [places["uri_min"].take(pc.index_in(side, value_set=known)) for side in sides]
    names = pa.array([space.label] * len(found.examples), pa.string())
    columns = [names, *uris, pa.array(found.similarities), *sides]
    return audit, pa.Table.from_arrays(columns, schema=MISSED)


def measure(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, threshold: float, rows: RowIds
) -> tuple[Audit, MissedPairs]:
    """Compare some contents with all, and hold the pairs among them against the stored ones.

    Args:
        lake: whose table `pairs`.
        space: the space.
        vectors: its vectors.
        threshold: that of the stored pairs.
        rows: (sample,) int64, ascending.
    """
    known, metric = stored_pairs(lake, space.key, vectors), Metric(space.id.metric)
    progress = progress_of("duplicates", space)
    found = find_missed(vectors, metric, threshold, known, rows, progress)
    share = found.missed
    audit = Audit(
        threshold=threshold,
        sampled=int(rows.size),
        pairs=share.cases,
        missed=share.hits,
        missed_rate=share.rate,
        missed_low=share.low,
        missed_high=share.high,
        compared=found.compared,
        measured_rows=vectors.rows,
    )
    return audit, found


def held_sample(vectors: ShardVectors, size: int, seed: int) -> RowIds:
    """Return the rows of the sample, (min(size, rows),) int64, ascending."""
    mixed = _mixed(keys_of(vectors.content_ids)[:, 0], seed)
    if size >= vectors.rows:
        return np.arange(vectors.rows, dtype=np.int64)
    rows: RowIds = np.sort(np.argpartition(mixed, size - 1)[:size]).astype(np.int64)
    return rows


def with_audit(receipt: StageReceipt, audit: StageReceipt | None) -> StageReceipt:
    """Return the receipt of the report together with that of its audit."""
    if audit is None:
        return receipt
    return replace(
        receipt,
        changed=receipt.changed or audit.changed,
        counts=receipt.counts | audit.counts,
        seconds=receipt.seconds + audit.seconds,
        notes=receipt.notes + audit.notes,
        error=audit.error,
    )


def _still_holds(last: Details | None, searched: int, rows: int) -> Audit | None:
    """Return the last measurement with its age, or None where it is too old."""
    audit = _audit_of(last) if last else None
    if audit is None:
        return None
    changes = max(audit.changes_since + searched, abs(rows - audit.measured_rows))
    return (
        replace(audit, changes_since=changes)
        if changes <= MOST_UNMEASURED * audit.measured_rows
        else None
    )


def _audit_of(details: dict[str, Any]) -> Audit:
    return Audit(**{name: details[name] for name in Audit.__slots__})


def _mixed(keys: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Mix a seed into hashes by the finaliser of splitmix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = keys ^ (np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
