"""What a stage hands back: small, named, and enough to tell a person what happened."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageReceipt:
    """The result of one stage over one source or space.

    Attributes:
        stage: "ingest", "embed", "index", "graph", "duplicates", "clusters" or "anomalies".
        subject: the source's or space's name.
        changed: whether anything was committed.
        counts: what came in and went out, by name; always the full set of a stage's names.
        seconds: wall time of the stage.
        notes: sentences for a person: the index that was chosen, what was left for the next run.
        error: why the stage failed, on one line; empty where it did not.
    """

    stage: str
    subject: str
    changed: bool
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""
