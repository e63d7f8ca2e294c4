"""Contents on their way to an encoder: read and prepared by a pool of threads, in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from latentlake.errors import BadInputError
from tasks.stages.budget import budget_of
from tasks.stages.contents import item_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from latentlake.settings import Settings
    from tasks.stages.contents import ContentRef, Load

    Work = Callable[[Sequence[Load]], list[Any]]
    Batch = list[tuple[ContentRef, Load]]


class Prepares(Protocol):
    """What is asked of an encoder here; see `models.encoders.base.Encoder`."""

    def prepare(self, item: Any) -> Any:
        """Make of an item what is wanted of it."""
        ...


def prepared_contents(
    encoder: Prepares,
    settings: Settings,
    payloads: Iterator[tuple[ContentRef, Load]],
    size: int,
) -> Iterator[tuple[ContentRef, Any]]:
    """Yield what the encoder made of each content, or the `BadInputError` why there is nothing.

    Args:
        encoder: one with `prepare_all` gets batches, others get items one by one.
        settings: threads, and how much may wait.
        payloads: in the order of the result.
        size: of the encoder's batches; four of them are held at most, and fewer where their
            contents are large.
    """
    at_once = size if hasattr(encoder, "prepare_all") else 1
    work = _work_of(encoder)
    most = budget_of(settings).payloads
    waiting: deque[tuple[Batch, int, Future[list[Any]]]] = deque()
    rows = held = 0

    def finished() -> Iterator[tuple[ContentRef, Any]]:
        batch, _, future = waiting.popleft()
        yield from zip((ref for ref, _ in batch), future.result(), strict=True)

    with ThreadPoolExecutor(settings.run.thread_count) as pool:
        for batch, size_bytes in _batches(payloads, at_once, most // 4):
            future = pool.submit(work, [load for _, load in batch])
            waiting.append((batch, size_bytes, future))
            rows, held = rows + len(batch), held + size_bytes
            while waiting and (rows >= 4 * size or held > most):
                rows, held = rows - len(waiting[0][0]), held - waiting[0][1]
                yield from finished()
        while waiting:
            yield from finished()


def _batches(
    payloads: Iterator[tuple[ContentRef, Load]], size: int, most: int
) -> Iterator[tuple[Batch, int]]:
    """Yield so many contents at a time, or fewer that are larger than `most` bytes together."""
    batch: Batch = []
    held = 0
    for ref, load in payloads:
        batch.append((ref, load))
        held += ref.size_bytes
        if len(batch) == size or held > most:
            yield batch, held
            batch, held = [], 0
    if batch:
        yield batch, held


def _work_of(encoder: Prepares) -> Work:
    """Return what a thread does with a batch: each is read, then all that could be are prepared."""
    min_side: int | None = getattr(encoder, "min_side", None)
    prepare_all = getattr(encoder, "prepare_all", None)

    def read(load: Load) -> Any:
        return item_of(load(), min_side)

    def work(loads: Sequence[Load]) -> list[Any]:
        items = [_tried(read, load) for load in loads]
        good = [item for item in items if not isinstance(item, BadInputError)]
        made = iter(
            prepare_all(good) if prepare_all else [_tried(encoder.prepare, g) for g in good]
        )
        return [item if isinstance(item, BadInputError) else next(made) for item in items]

    return work


def _tried(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function does, or the `BadInputError` that it raises."""
    try:
        return function(*arguments)
    except BadInputError as error:
        return error
