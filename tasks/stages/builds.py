"""What each stage last built from what, so that a stage without news does nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from data.content import digest_of_ids
from data.lake import Lake, Snapshot, table_of
from data.undo import whole_or_undone
from latentlake.progress import report_progress
from tasks.stages.receipts import StageReceipt

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.vectors import ShardVectors


@dataclass(frozen=True, slots=True)
class Built:
    """What a stage's work returns.

    Attributes:
        counts: for the receipt.
        details: JSON values for the table `builds`: parameters, measured figures, files.
        notes: sentences for a person.
    """

    counts: dict[str, int]
    details: Details = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Details = dict[str, Any]
"""JSON values of `builds.details`."""
Work = Callable[[Details | None], Built]


@dataclass(frozen=True, slots=True)
class BuildStep:
    """A stage of one space, as far as its bookkeeping goes.

    Attributes:
        stage: "index", "graph", "pairs", "duplicates", "audit", "clusters" or "anomalies".
        space: whose vectors it reads.
        inputs: everything the result depends on besides the vectors.
    """

    stage: str
    space: SpaceRow
    inputs: dict[str, Any]

    @property
    def recipe(self) -> str:
        """Digest of all but the vectors: results of one recipe can be brought up to date."""
        fixed = self.inputs | {"space": self.space.id.fingerprint}
        return digest_of_ids([json.dumps(fixed, sort_keys=True)])


def build_if_changed(
    lake: Lake, step: BuildStep, vectors: ShardVectors, run_id: str, work: Work
) -> StageReceipt:
    """Do a stage's work unless the same inputs have been through it, and record what came out.

    Rows and record stand together: a stage that is killed half-way is undone and done again.

    Args:
        lake: where results go.
        step: the stage.
        vectors: of the space, as of now.
        run_id: recorded in commits.
        work: makes the result and stores its rows. It is given the details of the last result if
            that is one of the same recipe: then only the vectors have changed, and the result can
            be brought up to date.
    """
    began = time.monotonic()
    name, digest = step.space.label, _inputs(step, vectors)
    known = last_build(lake, step.stage, step.space)
    if known is not None and known["inputs"] == digest:
        return StageReceipt(step.stage, name, changed=False, seconds=time.monotonic() - began)
    with whole_or_undone(lake, f"{step.stage} {name}"):
        built = work(_extensible(known, step))
        seconds = time.monotonic() - began
        row = {
            "space": step.space.key,
            "stage": step.stage,
            "inputs": digest,
            "fingerprint": step.space.id.fingerprint,
            "rows": vectors.rows,
            "seconds": seconds,
            "details": json.dumps(built.details | {"recipe": step.recipe}, sort_keys=True),
            "run_id": run_id,
            "recorded_at": datetime.now(UTC),
        }
        lake.upsert("builds", table_of("builds", [row]), run_id)
    return StageReceipt(step.stage, name, True, built.counts, seconds, built.notes)  # noqa: FBT003


def is_built(lake: Lake, step: BuildStep, vectors: ShardVectors) -> bool:
    """Tell whether the same inputs have been through a stage."""
    known = last_build(lake, step.stage, step.space)
    return known is not None and known["inputs"] == _inputs(step, vectors)


def _inputs(step: BuildStep, vectors: ShardVectors) -> str:
    whole = step.inputs | {"space": step.space.id.fingerprint, "vectors": vectors.digest}
    return digest_of_ids([json.dumps(whole, sort_keys=True)])


def _extensible(known: dict[str, Any] | None, step: BuildStep) -> Details | None:
    details: Details = json.loads(known["details"]) if known else {}
    return details if details.get("recipe") == step.recipe else None


def last_build(
    lake: Lake, stage: str, space: SpaceRow, snapshot: Snapshot | None = None
) -> dict[str, Any] | None:
    """Return the row of `builds` for a stage of a space, if it belongs to the same fingerprint."""
    where = (
        (pc.field("space") == space.key)
        & (pc.field("stage") == stage)
        & (pc.field("fingerprint") == space.id.fingerprint)
    )
    rows = lake.read("builds", snapshot=snapshot, where=where).to_pylist()
    return rows[0] if rows else None


def progress_of(stage: str, space: SpaceRow) -> Callable[[str, float], None]:
    """Return a callback that reports a model's progress as the stage's."""

    def report(step: str, fraction: float) -> None:
        report_progress(f"{stage} {space.label}: {step}", round(100 * fraction), 100, "%")

    return report
