"""A run's result as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.stages.receipts import StageReceipt
    from tasks.stages.runs import RunSummary


def markdown_summary(summary: RunSummary) -> str:
    """Return a run's summary as Markdown, for the artifact that Prefect shows beside the run."""
    if summary.changed:
        head = (
            f"Run `{summary.run_id}` made snapshot {summary.snapshot} in {summary.seconds:.1f} s."
        )
    else:
        head = f"Nothing new: run `{summary.run_id}` committed nothing in {summary.seconds:.1f} s."
    lines = [head, "", "| stage | of | result | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {r.stage} | {r.subject} | {result_line(r)} | {r.seconds:.2f} |"
        for r in summary.receipts
    ]
    return "\n".join(lines)


def result_line(receipt: StageReceipt) -> str:
    """Return a stage's counts and notes on one line; counts of zero are left out."""
    if receipt.error:
        return f"failed: {receipt.error}"
    counts = [counted(name, count) for name, count in receipt.counts.items() if count]
    return "; ".join([", ".join(counts) or "nothing", *receipt.notes])


def counted(name: str, count: int) -> str:
    """Return a count with its name: "1 shard", "2 shards", "253 encoded"."""
    words = name.replace("_", " ")
    return f"{count:,} {words.removesuffix('s') if count == 1 else words}"
