"""Contents that a space has no vector for: who put them into quarantine, and when they leave it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from data.lake import table_of
from data.workspace import quoted
from tasks.stages.describing import quarantine_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.shards import Rejected
    from data.workspace import Workspace


def refused_contents(work: Workspace, lake: Lake, space: SpaceRow) -> str:
    """Return a query for the contents that this very encoder has refused before."""
    work.view_table(lake, "quarantine")
    return (
        "SELECT content_id FROM quarantine "
        f"WHERE space = {quoted(space.key)} AND code = {quoted(_code(space))}"
    )


def refused_ids(lake: Lake, space: SpaceRow) -> pa.Array:
    """Return the contents that this very encoder has refused before."""
    here = (pc.field("space") == space.key) & (pc.field("code") == _code(space))
    return lake.read("quarantine", where=here, columns=["content_id"])[
        "content_id"
    ].combine_chunks()


def settle_refusals(lake: Lake, space: SpaceRow, rejected: Iterable[Rejected], run_id: str) -> bool:
    """Quarantine what was rejected, once an item, and release what is settled.

    Settled is what is no longer an item with the refused content (the file is gone or was mended),
    and what another encoder or version refused and this one did not.

    Returns:
        Whether anything was committed.
    """
    reasons = {bad.content_id: bad for bad in rejected}
    old = lake.read("quarantine", where=pc.field("space") == space.key)
    if not reasons and not old.num_rows:
        return False
    known = pa.chunked_array([old["content_id"], pa.array(list(reasons), pa.string())], pa.string())
    live = lake.read(
        "items",
        where=~pc.field("deleted"),
        within=("content_id", known.combine_chunks()),
        columns=["source", "uri", "file", "content_id", "size_bytes"],
    ).to_pylist()
    rows = [
        _row(item, reasons[item["content_id"]], space, run_id)
        for item in live
        if item["content_id"] in reasons
    ]
    standing = {(item["source"], item["uri"], item["content_id"]) for item in live}
    kept = {row["quarantine_id"] for row in rows}
    settled = [
        row["quarantine_id"]
        for row in old.to_pylist()
        if row["quarantine_id"] not in kept
        and (
            (row["source"], row["uri"], row["content_id"]) not in standing
            or row["code"] != _code(space)
        )
    ]
    lake.upsert("quarantine", table_of("quarantine", rows), run_id)
    lake.delete("quarantine", pa.table({"quarantine_id": pa.array(settled, pa.string())}), run_id)
    return bool(rows or settled)


def _row(item: dict[str, Any], bad: Rejected, space: SpaceRow, run_id: str) -> dict[str, Any]:
    return item | {
        "quarantine_id": quarantine_id(item["source"], item["uri"], space.key),
        "space": space.key,
        "stage": bad.stage,
        "error": bad.error,
        "message": bad.message,
        "code": _code(space),
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }


def _code(space: SpaceRow) -> str:
    """Return what a refusal depends on: another encoder or version gets the content again."""
    return f"{space.id.fingerprint}:{json.dumps(space.recipe)}"
