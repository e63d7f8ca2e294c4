"""Encode what a space lacks: a shard at a time, a pool that prepares, one engine."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data.shards import (
    Rejected,
    ShardReceipt,
    finished_shard,
    register_shards,
    shard_name,
    write_shard,
)
from data.undo import whole_or_undone
from latentlake.errors import BadInputError, EncodeError, SpaceMismatchError
from latentlake.progress import report_progress
from tasks.stages.contents import ContentGoneError, ContentReader
from tasks.stages.planning import planned_refs, work_folder
from tasks.stages.preparing import prepared_contents
from tasks.stages.receipts import StageReceipt
from tasks.stages.refusals import settle_refusals
from tasks.stages.spaces import live_encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from models.encoders.base import Encoder
    from models.types import Matrix
    from tasks.stages.contents import ContentRef, Load
    from tasks.stages.planning import EmbedPlan, ShardGroup

logger = logging.getLogger(__name__)


def encode_group(
    lake: Lake, settings: Settings, space: SpaceRow, group: ShardGroup
) -> tuple[ShardReceipt, ...]:
    """Encode one group's shards; those that are finished already are passed over.

    Safe to repeat: a shard is written whole, under a name that its plan determines.
    """
    folder = lake.store.address(space.id.folder)
    reader = ContentReader(settings)
    progress = _Progress(f"embed {space.label}", group.rows)
    receipts = []
    for at, name in enumerate(group.shards, group.first):
        receipt = finished_shard(f"{folder}/{name}", space.id)
        if receipt is None:
            refs = planned_refs(lake, group.plan, at)
            encoder = _own_encoder(lake, settings, space)
            encoded = _encode(encoder, settings, reader.payloads(refs), len(refs), progress)
            if not encoded.taken:
                continue
            # Without those that have gone it is another shard: under the planned name it would
            # count as finished, and they could never come back.
            receipt = write_shard(
                f"{folder}/{shard_name(space.id, encoded.taken)}",
                space.id,
                encoded.content_ids,
                encoded.vectors,
                rejected=encoded.rejected,
                encoder=encoder.describe(),
            )
            receipt = replace(receipt, truncated=encoded.truncated)
        receipts.append(receipt)
    return tuple(receipts)


def _own_encoder(lake: Lake, settings: Settings, space: SpaceRow) -> Encoder[Any, Any]:
    """Return the encoder that made the version.

    Raises:
        SpaceMismatchError: its weights or code have changed since.
    """
    encoder = live_encoder(lake, settings, space)
    if encoder.fingerprint != space.id.fingerprint:
        raise SpaceMismatchError(
            space.id.name, space.id.fingerprint, encoder.fingerprint, "the version in the lake"
        )
    return encoder


def commit_embedding(
    lake: Lake, space: SpaceRow, plan: EmbedPlan, receipts: Iterable[ShardReceipt], run_id: str
) -> StageReceipt:
    """Register a plan's shards and quarantine what they rejected; then the plan has served."""
    began = time.monotonic()
    receipts = tuple(receipts)
    rejected = [bad for receipt in receipts for bad in receipt.rejected]
    # Half of it would change the next plan, and with it every shard's name.
    with whole_or_undone(lake, f"embed {space.label}") if receipts else nullcontext():
        settled = settle_refusals(lake, space, rejected, run_id)
        fresh = register_shards(lake, space.id, receipts, run_id)
    # Where all were rejected the quarantine knows, and no table names the file.
    empty = [f"{space.id.folder}/{receipt.name}" for receipt in receipts if not receipt.rows]
    lake.store.delete(empty)
    lake.store.delete_folder(work_folder(space))
    encoded = sum(receipt.rows for receipt in receipts)
    counts = {
        "pending": plan.pending,
        "encoded": encoded,
        "rejected": len(rejected),
        "shards": fresh,
        "reused": sum(receipt.reused for receipt in receipts),
    }
    left = plan.pending - encoded - len(rejected)
    notes = [f"{left} changed while they were read: the next run takes them"] if left else []
    cut = sum(receipt.truncated for receipt in receipts)
    if cut:
        notes.append(f"{cut} were longer than the encoder takes, and were cut")
    seconds = time.monotonic() - began
    changed = bool(fresh) or settled
    return StageReceipt("embed", space.label, changed, counts, seconds, tuple(notes))


@dataclass(slots=True)
class _Progress:
    """How far a group of shards is; a report a content would cost more than it tells."""

    stage: str
    total: int
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        if self.done % 64 == 0 or self.done == self.total:
            report_progress(self.stage, self.done, self.total, "contents")


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A shard's content: those with a vector, and all that were there, rejected ones included.

    `truncated` counts those of which the encoder saw the beginning only.
    """

    content_ids: list[str]
    taken: list[str]
    vectors: Matrix
    rejected: list[Rejected]
    truncated: int


def _encode(
    encoder: Encoder[Any, Any],
    settings: Settings,
    payloads: Iterator[tuple[ContentRef, Load]],
    planned: int,
    progress: _Progress,
) -> _Encoded:
    """Prepare in a pool, encode in this thread, keep the plan's order."""
    size = encoder.batch_size if settings.run.batch_size == "auto" else settings.run.batch_size
    ids: list[str] = []
    taken: list[str] = []
    rejected: list[Rejected] = []
    vectors = np.empty((planned, encoder.dim), np.float32)
    cut_before: int = getattr(encoder, "truncated", 0)
    batch: list[tuple[str, Any]] = []

    def encode() -> None:
        encoded, rows, refused = _encode_batch(encoder, batch)
        vectors[len(ids) : len(ids) + len(encoded)] = rows
        ids.extend(encoded)
        rejected.extend(refused)
        batch.clear()

    for ref, prepared in prepared_contents(encoder, settings, payloads, size):
        progress.advance()
        if isinstance(prepared, ContentGoneError):
            logger.warning("%s", prepared)
            continue
        taken.append(ref.content_id)
        if isinstance(prepared, BadInputError):
            rejected.append(_rejected(ref.content_id, prepared))
            continue
        batch.append((ref.content_id, prepared))
        if len(batch) == size:
            encode()
    if batch:
        encode()
    cut = getattr(encoder, "truncated", 0) - cut_before
    return _Encoded(ids, taken, vectors[: len(ids)], rejected, cut)


def _encode_batch(
    encoder: Encoder[Any, Any], batch: list[tuple[str, Any]]
) -> tuple[list[str], Matrix, list[Rejected]]:
    """Encode a batch of contents; one that the encoder refuses does not take others with it.

    A batch that fails is halved until the ones at fault are alone.

    Returns:
        The contents that have a vector, their vectors, and the others.
    """
    ids = [content for content, _ in batch]
    try:
        return ids, encoder.encode([prepared for _, prepared in batch]), []
    except EncodeError as error:
        if len(batch) == 1:
            return [], np.empty((0, encoder.dim), np.float32), [_rejected(ids[0], error)]
    half = len(batch) // 2
    first, second = (_encode_batch(encoder, part) for part in (batch[:half], batch[half:]))
    return first[0] + second[0], np.concatenate([first[1], second[1]]), first[2] + second[2]


def _rejected(content: str, error: BadInputError) -> Rejected:
    stage = "encode" if isinstance(error, EncodeError) else "decode"
    return Rejected(content, stage, type(error).__name__, str(error))
