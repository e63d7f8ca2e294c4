"""A calibration as a person sees it: figures and bars on a terminal, or an SVG drawing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tasks.stages.calibrations import Calibration

_WIDTH: Final = 30
_ROWS: Final = 24
_SERIES: Final = (
    ("altered copies", "of_copies", "#2a7f62"),
    ("pairs in the data", "of_pairs", "#c2571a"),
    ("random pairs", "of_far_pairs", "#8a8f98"),
)


def calibration_text(space: str, found: Calibration) -> str:
    """Return figures, a histogram a series, and sampled pairs."""
    lines = [
        (
            f"{space}: threshold {found.threshold:.4g} "
            f"[{found.low:.4g}, {found.high:.4g}] for precision {found.wanted_precision:g}"
        ),
        f"expected precision {found.precision:.3f}, {found.recall:.1%} of {found.copies:,} altered "
        f"copies of {found.sampled:,} contents reach it: "
        + ", ".join(f"{way} {share:.0%}" for way, share in found.recall_by_way.items()),
    ]
    if not found.is_reached:
        lines.append("No score has that precision in these data: the highest one was chosen.")
    after = "Stored. Next: duplicates.threshold = \"auto\" for this space, and 'latentlake report'."
    return "\n".join([*lines, "", *_bars(found), "", *_examples(found), "", after]) + "\n"


def _bars(found: Calibration) -> list[str]:
    """Return a row for each two bins, from the highest score down; each series by its own scale."""
    head = "score     " + "  ".join(f"{name:<{_WIDTH}}" for name, _, _ in _SERIES)
    lines = [head.rstrip()]
    step = max(1, len(found.of_copies) // _ROWS)
    series = [_joined(getattr(found, key), step) for _, key, _ in _SERIES]
    marked = False
    for row in reversed(range(len(series[0]))):
        low = found.edges[row * step]
        is_threshold = not marked and low <= found.threshold
        marked = marked or is_threshold
        bars = (_bar(counts, row) for counts in series)
        lines.append(f"{low:<7.3f}{'<- ' if is_threshold else '   '}{'  '.join(bars)}".rstrip())
    return lines


def _joined(counts: list[int], step: int) -> list[int]:
    return [sum(counts[start : start + step]) for start in range(0, len(counts), step)]


def _bar(counts: list[int], row: int) -> str:
    shown = str(counts[row]) if counts[row] else ""
    length = round((_WIDTH - 8) * counts[row] / max(1, *counts))
    return f"{'#' * length + ' ' * bool(length) + shown:<{_WIDTH}}"


def _examples(found: Calibration) -> list[str]:
    return ["Pairs in the data:"] + [
        f"{row['score']:.4f}  {row['one']}  {row['other']}" for row in found.examples
    ]


def calibration_svg(space: str, found: Calibration) -> str:
    """Return the histograms as one SVG drawing, each series by its own scale."""
    width, height, left, top = 860, 150, 20, 46
    low, high = found.edges[0], found.edges[-1]

    def across(score: float) -> float:
        return left + (score - low) / max(1e-12, high - low) * (width - 2 * left)

    parts = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {width} {3 * height + top + 20}" '
            'font-family="sans-serif" font-size="13">'
        ),
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        (
            f'<text x="{left}" y="24" font-size="16">{escape(space)}: threshold '
            f"{found.threshold:.4g} [{found.low:.4g}, {found.high:.4g}]</text>"
        ),
    ]
    for number, (name, key, colour) in enumerate(_SERIES):
        counts, base = getattr(found, key), top + (number + 1) * height - 24
        parts.append(f'<text x="{left}" y="{base - height + 40}">{name} ({sum(counts):,})</text>')
        for bin_, count in enumerate(counts):
            tall = (height - 50) * count / max(1, *counts)
            x, end = across(found.edges[bin_]), across(found.edges[bin_ + 1])
            parts.append(
                f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{end - x - 1:.1f}" '
                f'height="{tall:.1f}" fill="{colour}"/>'
            )
        parts += [
            f'<text x="{across(edge):.1f}" y="{base + 16}" font-size="11">{edge:.3g}</text>'
            for edge in (low, (low + high) / 2, high)
        ]
    line = across(found.threshold)
    parts.append(
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="{top - 8}" y2="{top + 3 * height}" '
        'stroke="#b00020" stroke-dasharray="5 3"/>'
    )
    return "\n".join([*parts, "</svg>\n"])
