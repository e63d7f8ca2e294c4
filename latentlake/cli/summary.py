"""What a run did, as its user reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from latentlake.cli.tables import Column, layout
from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latentlake.cli.running import Timing
    from tasks.stages.receipts import StageReceipt


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run as far as the command line tells of it.

    Attributes:
        receipts: the stages' results, in order.
        snapshot: the number of the lake's state afterwards; 0 where there is none.
        own_seconds: wall time of our own work inside the flow; None where it is not known.
    """

    receipts: tuple[StageReceipt, ...]
    snapshot: int
    own_seconds: float | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was committed."""
        return any(receipt.changed for receipt in self.receipts)

    @property
    def errors(self) -> tuple[str, ...]:
        """One line for every stage that was refused."""
        return tuple(receipt.error for receipt in self.receipts if receipt.error)

    @property
    def quarantined(self) -> int:
        """Inputs that this run put into quarantine."""
        return sum(
            receipt.counts.get("quarantined", 0) + receipt.counts.get("rejected", 0)
            for receipt in self.receipts
        )


def print_outcome(outcome: Outcome, timing: Timing, *, hints: bool = True) -> None:
    """Print a table of the stages, the totals, and where to look next."""
    if outcome.receipts:
        click.echo(_stage_table(outcome.receipts))
    click.echo(f"{_headline(outcome)} {_times(outcome, timing)}")
    if outcome.quarantined:
        click.echo(quarantine_line(outcome.quarantined))
    if hints and outcome.changed and not outcome.errors:
        for position, hint in enumerate(_hints(outcome.receipts)):
            click.echo(f"{'     ' if position else 'Next:'} {hint}")


def print_errors(outcome: Outcome) -> None:
    """Print a line for every stage that was refused."""
    for error in outcome.errors:
        click.echo(f"latentlake: {shown(' '.join(error.split()))}", err=True)


def quarantine_line(count: int) -> str:
    """Say that inputs could not be used, and how to see which."""
    inputs = "1 input" if count == 1 else f"{count:,} inputs"
    return (
        f"{inputs} could not be used and went into quarantine; to see them: "
        "latentlake sql 'FROM quarantine'"
    )


def _stage_table(receipts: Sequence[StageReceipt]) -> str:
    from tasks.stages.summaries import result_line

    columns = [
        Column("stage", [receipt.stage for receipt in receipts]),
        Column("of", [receipt.subject for receipt in receipts]),
        Column("seconds", [f"{receipt.seconds:.2f}" for receipt in receipts], is_number=True),
        Column("result", [result_line(receipt) for receipt in receipts]),
    ]
    return layout(columns, None)


def _headline(outcome: Outcome) -> str:
    if outcome.changed:
        return f"Snapshot {outcome.snapshot}."
    if outcome.snapshot:
        return f"Nothing new: the lake stays at snapshot {outcome.snapshot}."
    return "Nothing to do: the sources hold nothing, so there is no lake yet."


def _times(outcome: Outcome, timing: Timing) -> str:
    if outcome.own_seconds is None:
        return f"{timing.total:.1f} s."
    own = timing.own_imports + outcome.own_seconds
    return f"{timing.total:.1f} s: {own:.1f} s our own, {timing.total - own:.1f} s Prefect's."


def _hints(receipts: Sequence[StageReceipt]) -> list[str]:
    """Return commands worth trying, with names that are there."""
    whole = [receipt for receipt in receipts if not receipt.error]
    done = {receipt.stage: receipt.subject.partition("@")[0] for receipt in whole}
    hints = [
        (stage in done, command)
        for stage, command in (
            ("duplicates", f"latentlake duplicates --space {done.get('duplicates')}"),
            ("anomalies", f"latentlake anomalies --space {done.get('anomalies')} -n 10"),
            ("clusters", f"latentlake clusters --space {done.get('clusters')}"),
            ("embed", "latentlake status"),
            ("ingest", 'latentlake sql "SELECT source, count(*) FROM items GROUP BY ALL"'),
        )
    ]
    return [command for is_there, command in hints if is_there][:3]
