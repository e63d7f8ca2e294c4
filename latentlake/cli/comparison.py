"""A comparison of two versions as its reader sees it."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from latentlake.cli.tables import Column, layout
from latentlake.cli.terminal import json_text, shown

if TYPE_CHECKING:
    from tasks.stages.comparing import Comparison
    from tasks.stages.flips import Counted, Flip

_BAR: Final = 20
_SHOWN_FLIPS: Final = 20
_UNSEEN: Final = (
    "",
    "Pairs and removals are by vectors alone: a report of these photos decides on their pixels,",
    "too ('latentlake duplicates' shows it once the version is filled and promoted).",
)


def comparison_text(found: Comparison) -> str:
    """Write a comparison: figures with bars, flipped decisions, and what follows from them."""
    overlap, geometry, decided = found.overlap, found.geometry, found.decided
    thresholds = " and ".join("none" if t is None else f"{t:g}" for t in decided.thresholds)
    sample = f"{found.contents:,} of {found.shared:,} contents"
    if found.encoded:
        sample += ", encoded for this"
    if found.refused:
        sample += f"; {found.refused:,} refused by the second"
    interval = f"{overlap.mean:.3f} [{overlap.low:.3f}, {overlap.high:.3f}]"
    unbiased = f"{geometry.cka_unbiased:.4f} unbiased"
    residual = f"residual {geometry.procrustes:.4f}, of 0 (a rotation) to 2"
    pairs = f"{_counted(decided.pairs)}; thresholds {thresholds}"
    lines = [
        f"one    {found.one}",
        f"other  {found.other}",
        f"{sample}; neighbours, twins and ranks are those within them",
        "",
        f"  overlap@{overlap.k:<3} {_bar(overlap.mean)} {interval}",
        f"  linear CKA  {_bar(geometry.cka)} {geometry.cka:.4f}, {unbiased}",
        f"  Procrustes  {_bar(1 - geometry.procrustes / 2)} {residual}",
        f"  pairs       {_bar(_alike(decided.pairs))} {pairs}",
        f"  removals    {_bar(_alike(decided.removals))} {_counted(decided.removals)}",
        f"  anomalies   {_bar(_alike(decided.anomalies))} {_counted(decided.anomalies)}",
        *_UNSEEN * decided.unseen,
        "",
        verdict(found),
    ]
    return "\n".join(map(shown, lines)) + "\n" + _flips_text(found)


def verdict(found: Comparison) -> str:
    """Say what follows, with the bounds that it follows from."""
    target = f"{found.target_recall:g}, the recall that its index may have anyway"
    changed = len(found.flips)
    told = "no decision flips" if not changed else f"{changed:,} decisions flip"
    if found.is_interchangeable:
        return f"Interchangeable: the overlap is above {target}, no pair flips; {told} in all."
    if found.overlap.low >= found.target_recall:
        return f"Nearly interchangeable: the overlap is above {target}, but {told}."
    kept = found.overlap.mean * found.overlap.k
    return (
        f"Another space: {kept:.1f} of {found.overlap.k} neighbours stay, an overlap below "
        f"{target}; {told}. Look at them and set duplicates.threshold for it, then promote it."
    )


def comparison_json(found: Comparison) -> str:
    """Write a comparison as an array of one object; what is not a number is null."""
    overlap = asdict(found.overlap)
    decided = asdict(found.decided)
    flips = decided.pop("flips")
    value = {
        "one": found.one,
        "other": found.other,
        "contents": found.contents,
        "shared": found.shared,
        "refused": found.refused,
        "encoded": found.encoded,
        "overlap": overlap,
        "geometry": {n: None if isnan(v) else v for n, v in asdict(found.geometry).items()},
        "decided": decided,
        "target_recall": found.target_recall,
        "is_interchangeable": found.is_interchangeable,
        "verdict": verdict(found),
        "flips": flips,
    }
    return json_text([value], indent=1) + "\n"


def flips_table(found: Comparison) -> pa.Table:
    """Return one row a flipped decision."""
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("decision", "taken_by", "item", "twin")),
            *((name, pa.float64()) for name in ("one", "other")),
        ]
    )
    return pa.Table.from_pylist([asdict(flip) for flip in found.flips], schema)


def _flips_text(found: Comparison) -> str:
    flips = _first_of_each(found.flips, _SHOWN_FLIPS)
    if not flips:
        return ""
    columns = [
        Column("decision", [flip.decision for flip in flips]),
        Column("taken by", [flip.taken_by for flip in flips]),
        Column("item", [flip.item for flip in flips]),
        Column("twin", [flip.twin or "" for flip in flips]),
        Column("in one", [_value(flip, flip.one) for flip in flips], is_number=True),
        Column("in other", [_value(flip, flip.other) for flip in flips], is_number=True),
    ]
    more = len(found.flips) - len(flips)
    rest = f"{more:,} more: --format json or csv.\n" if more else ""
    return "\n" + layout(columns, None) + rest


def _first_of_each(flips: tuple[Flip, ...], most: int) -> list[Flip]:
    """Choose so many flips that each kind of decision has its share, of either space."""
    kinds: dict[tuple[str, str], list[Flip]] = {}
    for flip in flips:
        kinds.setdefault((flip.decision, flip.taken_by), []).append(flip)
    room, chosen = most, []
    for position, kind in enumerate(sorted(kinds.values(), key=len)):
        share = room // (len(kinds) - position)
        chosen += kind[:share]
        room -= len(kind[:share])
    order = {id(flip): position for position, flip in enumerate(flips)}
    return sorted(chosen, key=lambda flip: order[id(flip)])


def _value(flip: Flip, value: float) -> str:
    return f"rank {value:.0f}" if flip.decision == "anomaly" else f"{value:.4f}"


def _alike(counted: Counted) -> float:
    """Return the share of decisions that both take (Jaccard's index); 1 where none is taken."""
    taken = counted.both + counted.one + counted.other
    return counted.both / taken if taken else 1.0


def _counted(counted: Counted) -> str:
    return f"{counted.both:,} in both, {counted.one:,} in one, {counted.other:,} in the other"


def _bar(share: Any) -> str:
    filled = 0 if isnan(share) else round(_BAR * min(1.0, max(0.0, share)))
    return "\u2588" * filled + "\u00b7" * (_BAR - filled)
