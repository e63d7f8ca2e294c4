"""Encode what a space lacks: a deterministic plan of shards, a pool that prepares, one engine."""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.images import decode_image
from data.shards import (
    Rejected,
    ShardReceipt,
    embedded_ids,
    finished_shard,
    register_shards,
    shard_name,
    shard_paths,
    write_shard,
)
from data.stores import readable
from data.undo import whole_or_undone
from latentlake.errors import BadInputError, EncodeError
from latentlake.progress import report_progress
from tasks.stages.contents import ContentGoneError, ContentRef, Load, payloads_of, unique_contents
from tasks.stages.receipts import StageReceipt
from tasks.stages.refusals import refused_contents, settle_refusals
from tasks.stages.spaces import active_items, live_encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from models.encoders.base import Encoder
    from models.types import Matrix

logger = logging.getLogger(__name__)
_PLAN = pa.schema(
    [(name, pa.string()) for name in ("shard", "content_id", "source", "file", "key")]
)


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Shards that one task encodes: they share files, which are then streamed once.

    Attributes:
        plan: the plan's file, by its name in the lake.
        first: row of the plan where the group begins.
        rows: how many rows it has.
        shards: their names, in order.
    """

    plan: str
    first: int
    rows: int
    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    """What a space lacks.

    Attributes:
        groups: the work, in order.
        pending: contents to encode.
    """

    groups: tuple[ShardGroup, ...]
    pending: int


def plan_embedding(lake: Lake, settings: Settings, space: SpaceRow) -> EmbedPlan:
    """Plan shards for the contents that have neither a vector nor a reason why not.

    The plan depends only on what is committed and configured, so a run after a crash plans the same
    shards, with the same names, and finds those that were finished.
    """
    items = active_items(
        lake, settings.space(space.id.name).sources, ["content_id", "source", "file", "key"]
    )
    done = embedded_ids(shard_paths(lake, space.id))
    for known in (done, refused_contents(lake, space)):
        items = items.filter(pc.invert(pc.is_in(items["content_id"], value_set=known)))
    refs = unique_contents(items)
    if not refs:
        return EmbedPlan((), 0)
    rows = settings.run.shard_rows
    chunks = [refs[start : start + rows] for start in range(0, len(refs), rows)]
    names = [shard_name(space.id, [ref.content_id for ref in chunk]) for chunk in chunks]
    name = f"{_work(space)}/{names[0]}-{len(names)}.plan"
    with lake.store.writing(name, "plan") as temporary:
        pq.write_table(_plan_table(names, chunks), temporary)
    return EmbedPlan(tuple(_groups(name, names, chunks)), len(refs))


def encode_group(
    lake: Lake, settings: Settings, space: SpaceRow, group: ShardGroup
) -> tuple[ShardReceipt, ...]:
    """Encode one group's shards; those that are finished already are passed over.

    Safe to repeat: a shard is written whole, under a name that its plan determines.
    """
    stored = readable(lake.store.address(group.plan))
    plan = pq.read_table(stored).slice(group.first, group.rows).to_pylist()
    folder = lake.store.address(space.id.folder)
    receipts = {name: finished_shard(f"{folder}/{name}", space.id) for name in group.shards}
    todo: dict[str, list[ContentRef]] = {name: [] for name in group.shards if not receipts[name]}
    for row in plan:
        name = row.pop("shard")
        if name in todo:
            todo[name].append(ContentRef(**row))
    if todo:
        encoder = live_encoder(lake, settings, space)
        refs = [ref for refs in todo.values() for ref in refs]
        shard_of = {ref.content_id: name for name, planned in todo.items() for ref in planned}
        progress = _Progress(f"embed {space.id.name}", len(refs))
        for name, payloads in groupby(
            payloads_of(settings, refs), key=lambda payload: shard_of[payload[0].content_id]
        ):
            encoded = _encode(encoder, settings, payloads, progress)
            if receipts[name] or not encoded.taken:
                continue  # only contents that have gone come after their shard
            # Without those that have gone it is another shard: under the planned name it would
            # count as finished, and they could never come back.
            receipts[name] = write_shard(
                f"{folder}/{shard_name(space.id, encoded.taken)}",
                space.id,
                encoded.content_ids,
                encoded.vectors,
                rejected=encoded.rejected,
                encoder=encoder.describe(),
            )
    return tuple(receipt for receipt in receipts.values() if receipt is not None)


def commit_embedding(
    lake: Lake, space: SpaceRow, plan: EmbedPlan, receipts: Iterable[ShardReceipt], run_id: str
) -> StageReceipt:
    """Register a plan's shards and quarantine what they rejected; then the plan has served."""
    began = time.monotonic()
    receipts = tuple(receipts)
    rejected = [bad for receipt in receipts for bad in receipt.rejected]
    # Half of it would change the next plan, and with it every shard's name.
    with whole_or_undone(lake, f"embed {space.id.name}") if receipts else nullcontext():
        settled = settle_refusals(lake, space, rejected, run_id)
        fresh = register_shards(lake, space.id, receipts, run_id)
    # Where all were rejected the quarantine knows, and no table names the file.
    empty = [f"{space.id.folder}/{receipt.name}" for receipt in receipts if not receipt.rows]
    lake.store.delete(empty)
    lake.store.delete_folder(_work(space))
    encoded = sum(receipt.rows for receipt in receipts)
    counts = {
        "pending": plan.pending,
        "encoded": encoded,
        "rejected": len(rejected),
        "shards": fresh,
        "reused": sum(receipt.reused for receipt in receipts),
    }
    left = plan.pending - encoded - len(rejected)
    notes = (f"{left} changed while they were read: the next run takes them",) if left else ()
    seconds = time.monotonic() - began
    return StageReceipt("embed", space.id.name, bool(fresh) or settled, counts, seconds, notes)


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
    """A shard's content: those with a vector, and all that were there, rejected ones included."""

    content_ids: list[str]
    taken: list[str]
    vectors: Matrix
    rejected: list[Rejected]


def _encode(
    encoder: Encoder[Any, Any],
    settings: Settings,
    payloads: Iterator[tuple[ContentRef, Load]],
    progress: _Progress,
) -> _Encoded:
    """Prepare in a pool, encode in this thread, keep the plan's order."""
    size = encoder.batch_size if settings.run.batch_size == "auto" else settings.run.batch_size
    ids: list[str] = []
    taken: list[str] = []
    rejected: list[Rejected] = []
    vectors: list[Matrix] = []
    batch: list[Any] = []
    for ref, prepared in _prepared(encoder, settings.run.thread_count, payloads, 4 * size):
        if isinstance(prepared, ContentGoneError):
            logger.warning("%s", prepared)
            continue
        taken.append(ref.content_id)
        if isinstance(prepared, BadInputError):
            stage = "encode" if isinstance(prepared, EncodeError) else "decode"
            error = type(prepared).__name__
            rejected.append(Rejected(ref.content_id, stage, error, str(prepared)))
        else:
            ids.append(ref.content_id)
            batch.append(prepared)
        if len(batch) == size:
            vectors.append(encoder.encode(batch))
            batch = []
        progress.advance()
    if batch:
        vectors.append(encoder.encode(batch))
    matrix = np.concatenate(vectors) if vectors else np.empty((0, encoder.dim), np.float32)
    return _Encoded(ids, taken, matrix, rejected)


def _prepared(
    encoder: Encoder[Any, Any],
    threads: int,
    payloads: Iterator[tuple[ContentRef, Load]],
    window: int,
) -> Iterator[tuple[ContentRef, Any]]:
    """Yield what the encoder's `prepare` returned or refused, in order, a bounded window ahead."""

    def work(load: Load) -> Any:
        try:
            payload = load()
            item = decode_image(payload) if isinstance(payload, bytes) else payload
            return encoder.prepare(item)
        except BadInputError as error:
            return error

    waiting: deque[tuple[ContentRef, Future[Any]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for ref, load in payloads:
            waiting.append((ref, pool.submit(work, load)))
            if len(waiting) >= window:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _groups(plan: str, names: list[str], chunks: list[list[ContentRef]]) -> Iterator[ShardGroup]:
    """Join shards that share a file of many items, so that it is streamed once."""
    start = first = 0
    for index, chunk in enumerate(chunks):
        last, following = chunk[-1], chunks[index + 1][0] if index + 1 < len(chunks) else None
        shared = following is not None and (last.source, last.file) == (
            following.source,
            following.file,
        )
        if not shared:
            rows = sum(len(chunks[i]) for i in range(start, index + 1))
            yield ShardGroup(plan, first, rows, tuple(names[start : index + 1]))
            start, first = index + 1, first + rows


def _plan_table(names: list[str], chunks: list[list[ContentRef]]) -> pa.Table:
    rows = [
        (name, ref.content_id, ref.source, ref.file, ref.key)
        for name, chunk in zip(names, chunks, strict=True)
        for ref in chunk
    ]
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(columns, schema=_PLAN)


def _work(space: SpaceRow) -> str:
    return f"work/{space.id.name}/{space.id.fingerprint}"
