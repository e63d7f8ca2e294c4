"""The first and the last task of every run."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.frame import TASK_DEFAULTS, open_lake
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import Run, RunFailedError, RunSummary, begin_run, finish_run
from tasks.stages.summaries import markdown_summary


@task(name="begin-run", **TASK_DEFAULTS)
def begin(config: str, command: str) -> Run:
    """Give a new run its identity."""
    lake, _ = open_lake(config)
    return begin_run(lake, command)


@task(name="finish-run", **TASK_DEFAULTS)
def finish(config: str, run: Run, receipts: Sequence[StageReceipt]) -> RunSummary:
    """Record the run, commit its snapshot, renew the catalog, leave a summary in Prefect."""
    lake, settings = open_lake(config)
    summary = finish_run(lake, settings, run, receipts)
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
