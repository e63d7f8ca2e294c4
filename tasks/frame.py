"""What all task frames share: opening the lake a configuration names, and what is worth a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from prefect.cache_policies import NO_CACHE

from data.lake import Lake
from latentlake.errors import LatentlakeError
from latentlake.settings import Settings, load_settings
from tasks.stages.receipts import StageReceipt
from tasks.stages.threads import own_threads

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.futures import PrefectFuture


def is_transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Retry what may pass (a busy disk, a lost connection), not what was refused with a reason."""
    return not isinstance(state.result(raise_on_failure=False), LatentlakeError)


ReceiptT = TypeVar("ReceiptT", bound=StageReceipt | None)

TASK_DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": is_transient,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""Results are receipts, and resuming is the lake's business: Prefect stores and caches nothing."""


def open_lake(config: str) -> tuple[Lake, Settings]:
    """Read the configuration, hand out its threads, and return the lake it names."""
    settings = load_settings(config)
    own_threads(settings.run.thread_count)
    return Lake(settings.root), settings


def collect(stage: str, subject: str, future: PrefectFuture[ReceiptT]) -> ReceiptT | StageReceipt:
    """Wait for a stage; a refusal becomes its receipt, so that other sources and spaces go on.

    Raises:
        Exception: whatever is no LatentlakeError, and so a bug or a broken machine.
    """
    result: Any = future.result(raise_on_failure=False)
    if isinstance(result, LatentlakeError):
        return StageReceipt(stage, subject, changed=False, error=str(result))
    if isinstance(result, BaseException):
        raise result
    receipt: ReceiptT = result
    return receipt
