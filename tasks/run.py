"""The first and the last task of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.frame import TASK_DEFAULTS, open_lake
from tasks.stages.promoting import promote_ready
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import Run, RunFailedError, RunSummary, begin_run, finish_run, writing
from tasks.stages.summaries import markdown_summary

if TYPE_CHECKING:
    from tasks.parameters import Parameters


@contextmanager
def one_run(parameters: Parameters, command: str) -> Iterator[Run]:
    """Begin a run when it is its turn: a lake has one writer at a time.

    The lock is held by the flow's own process, and given back when that ends, however it ends.

    Raises:
        LakeBusyError: another run is at work, and `parameters.wait` is false.
        LakeNotWritableError: the lake is read-only.
    """
    lake, _ = open_lake(parameters.config)
    with writing(lake, command, wait=parameters.wait):
        yield begin(parameters.config, command)


@task(name="begin-run", **TASK_DEFAULTS)
def begin(config: str, command: str) -> Run:
    """Give a new run its identity."""
    lake, _ = open_lake(config)
    return begin_run(lake, command)


@task(name="finish-run", **TASK_DEFAULTS)
def finish(config: str, run: Run, receipts: Sequence[StageReceipt]) -> RunSummary:
    """Promote what is ready, record the run, commit its snapshot, renew the catalog.

    A summary of it stays in Prefect.
    """
    lake, settings = open_lake(config)
    promoted = promote_ready(lake, settings, run.run_id)
    summary = finish_run(lake, settings, run, [*receipts, *promoted])
    create_markdown_artifact(
        markdown_summary(summary), key=f"latentlake-{run.command}", description=run.run_id
    )
    return summary


def conclude(config: str, run: Run, receipts: Sequence[StageReceipt]) -> RunSummary:
    """Finish a run, and let it fail if one of its stages did.

    Raises:
        RunFailedError: a stage was refused; what the others did is committed and visible.
    """
    summary = finish(config, run, receipts)
    if summary.errors:
        raise RunFailedError(summary)
    return summary
