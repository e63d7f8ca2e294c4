"""Switch what readers see under a space's name, and go back: one row of `spaces`, one snapshot.

A version's vectors and results lie under a key of their own, so a switch moves nothing. The version
that is replaced stays whole, to go back to; those before it are forgotten.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import space_versions
from data.lake import table_of
from data.undo import whole_or_undone
from data.version_names import candidates, named_version
from latentlake.errors import PromotionRefusedError, QueryError
from tasks.stages.builds import last_build
from tasks.stages.forgetting import forget_version
from tasks.stages.receipts import StageReceipt
from tasks.stages.refusals import refused_ids
from tasks.stages.runs import begin_run, finish_run, writing
from tasks.stages.spaces import fits, space_vectors
from tasks.stages.vocabulary import forget_vocabulary, promote_vocabulary

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from tasks.stages.runs import RunSummary

_RESULTS: Final = {
    "index": "the index",
    "graph": "the graph",
    "pairs": "the pairs",
    "lexical": "the lexical pairs",
    "pixels": "the digests of pixels",
    "duplicates": "the duplicates",
    "clusters": "the clusters",
    "anomalies": "the anomalies",
}


def promote_ready(lake: Lake, settings: Settings, run_id: str) -> list[StageReceipt]:
    """Promote each configured version that waits and is complete, where that is automatic.

    Returns:
        A receipt a space that has a version waiting, or had.
    """
    receipts = []
    for space in space_versions(lake):
        names = [configured.name for configured in settings.spaces]
        if not space.is_waiting or space.id.name not in names or not fits(settings, space):
            continue
        missing = lacking(lake, settings, space)
        if not missing and settings.space(space.id.name).promote == "auto":
            receipts.append(promote(lake, space, run_id))
            continue
        if missing:
            note = f"{space.label} waits: it lacks {', '.join(missing)}"
        else:
            note = (
                f"{space.label} is complete and waits: 'latentlake spaces compare {space.id.name}' "
                "says what would change, 'spaces promote' switches"
            )
        receipts.append(StageReceipt("promote", space.id.name, changed=False, notes=(note,)))
    return receipts


def promote_version(
    lake: Lake, settings: Settings, name: str, *, force: bool = False, wait: bool = True
) -> RunSummary:
    """Make a version the current one of its space, as a run of its own.

    Args:
        lake: whose.
        settings: which sources the space has.
        name: `space` for the version that waits, `space@fingerprint` for any.
        force: even if it lacks what the current one has.
        wait: wait while another run writes to the lake.

    Raises:
        QueryError: there is no such version.
        PromotionRefusedError: it is not complete.
        LakeBusyError: another writer is at work, and `wait` is false.
    """
    with writing(lake, "promote", wait=wait):
        run = begin_run(lake, "promote")
        space = _wanted(lake, name)
        missing = [] if space.is_current else lacking(lake, settings, space)
        if missing and not force:
            raise PromotionRefusedError(space.label, missing)
        if space.is_current:
            return finish_run(lake, settings, run, [])
        receipt = promote(lake, space, run.run_id)
        if settings.space(space.id.name).promote == "auto" and not fits(settings, space):
            told = 'promote = "auto": the next run switches to what latentlake.toml says'
            receipt = replace(receipt, notes=(*receipt.notes, told))
        return finish_run(lake, settings, run, [receipt])


def lacking(lake: Lake, settings: Settings, space: SpaceRow) -> list[str]:
    """Say what a version lacks of what the current one has; nothing where it is complete.

    That is vectors, or a reason why not, of the contents in use, and each result over all of its
    own vectors.
    """
    current = next((v for v in space_versions(lake, space.id.name) if v.is_current), None)
    if current is None:
        return []
    held = space_vectors(lake, settings, current).content_ids
    own = space_vectors(lake, settings, space)
    known = pa.chunked_array([own.content_ids, refused_ids(lake, space)], pa.string())
    found = int(pc.sum(pc.is_in(held, value_set=known.combine_chunks())).as_py() or 0)
    missing = [f"{len(held) - found:,} of {len(held):,} contents"] if found < len(held) else []
    for stage, result in _RESULTS.items():
        if last_build(lake, stage, current) is None:
            continue
        build = last_build(lake, stage, space)
        if build is None or build["rows"] != own.rows:
            missing.append(result)
    return missing


def promote(lake: Lake, space: SpaceRow, run_id: str) -> StageReceipt:
    """Make a version current, keep the one it replaces, and forget those before it, all or nothing.

    The waiting version of the space goes on waiting, unless it is this one.
    """
    began, name = time.monotonic(), space.id.name
    versions = space_versions(lake, name)
    replaced = next((version for version in versions if version.is_current), None)
    kept = [v for v in versions if v == space or v.is_current or v.is_waiting]
    with whole_or_undone(lake, f"promote {name}"):
        rows = [
            row
            | {
                "is_current": row["fingerprint"] == space.id.fingerprint,
                "is_waiting": row["is_waiting"] and row["fingerprint"] != space.id.fingerprint,
            }
            for row in lake.read("spaces", where=pc.field("space") == name).to_pylist()
        ]
        lake.upsert("spaces", table_of("spaces", rows), run_id)
        promote_vocabulary(lake, name, run_id)
        for version in versions:
            if version not in kept:
                forget_vocabulary(lake, version, run_id)
                forget_version(lake, version, run_id)
    note = f"{space.version} is current"
    if replaced is not None:
        note += f", {replaced.version} stays to go back to"
    counts = {"forgotten": len(versions) - len(kept)}
    return StageReceipt("promote", name, True, counts, time.monotonic() - began, (note,))  # noqa: FBT003


def _wanted(lake: Lake, name: str) -> SpaceRow:
    versions = space_versions(lake)
    words = {version.id.name for version in versions if version.is_vocabulary}
    if name.partition("@")[0] in words:
        raise QueryError(f"'{name}' holds words: it is promoted with the space that they are from.")
    if "@" in name:
        return named_version(versions, name)
    own = [version for version in versions if version.id.name == name]
    waiting = next((version for version in own if version.is_waiting), None)
    if waiting is None:
        named_version(versions, name)  # says which spaces there are
        raise QueryError(
            f"no version of space '{name}' waits. Of it there are: {candidates(own)}; "
            "to go back to one, name it whole."
        )
    return waiting
