"""A run's result as a person reads it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.stages.receipts import StageReceipt
    from tasks.stages.runs import RunSummary


_KINDS_NAMED: Final = 6


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
        f"| {r.stage} | {r.subject} | {_cell(result_line(r))} | {r.seconds:.2f} |"
        for r in summary.receipts
    ]
    return "\n".join(lines)


def result_line(receipt: StageReceipt) -> str:
    """Return a stage's counts and notes on one line; counts of zero are left out."""
    if receipt.error:
        return f"failed: {receipt.error}"
    counts = [counted(name, count) for name, count in receipt.counts.items() if count]
    done = [", ".join(counts)] if counts else []
    return "; ".join([*done, *receipt.notes]) or "nothing"


def ignored_text(by_kind: Mapping[str, int]) -> str:
    """Say how many files a listing passed over and of which kinds, the most frequent first."""
    kinds = sorted(by_kind.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count:,} {kind or '(no extension)'}" for kind, count in kinds[:_KINDS_NAMED]]
    if len(kinds) > _KINDS_NAMED:
        named.append(f"{sum(count for _, count in kinds[_KINDS_NAMED:]):,} of other kinds")
    count = sum(by_kind.values())
    return f"{count:,} other file{'' if count == 1 else 's'} ignored: {', '.join(named)}"


def _cell(text: str) -> str:
    """Write foreign text into a Markdown table: neither HTML nor a column nor a line."""
    return " ".join(html.escape(text).replace("|", "&#124;").replace("`", "&#96;").split())


def counted(name: str, count: int) -> str:
    """Return a count with its name: "1 shard", "2 shards", "253 encoded"."""
    words = name.replace("_", " ")
    return f"{count:,} {words.removesuffix('s') if count == 1 else words}"
