"""What `verify` finds, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass

MEND = "'latentlake verify --mend'"
RUN = "'latentlake run'"


@dataclass(frozen=True, slots=True)
class DropShard:
    """Take a shard out of its space's table, so that its contents are encoded again.

    Attributes:
        folder: the space's folder under the root.
        name: the shard's file.
    """

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class ForgetBuilds:
    """Forget that stages have run for a space, so that the next run repeats them."""

    space: str


@dataclass(frozen=True, slots=True)
class RenewCatalog:
    """Write `catalog.duckdb` anew."""


Mend = DropShard | ForgetBuilds | RenewCatalog


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        subject: a file, table, space or snapshot.
        problem: what is wrong.
        remedy: what to do, as a sentence.
        mend: what `verify --mend` does about it; None where a person must decide.
    """

    subject: str
    problem: str
    remedy: str
    mend: Mend | None = None
