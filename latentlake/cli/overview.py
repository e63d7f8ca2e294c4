"""What a lake holds, in figures: the answer of `latentlake status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from latentlake.cli.tables import Column, layout
from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from latentlake.cli.reading import Reading
    from tasks.stages.lineage import IndexState

_SOURCES = """
SELECT source, coalesce(modality, '') AS modality, coalesce(items, 0), coalesce(contents, 0),
       coalesce(size_bytes, 0), coalesce(quarantined, 0)
FROM (SELECT source, any_value(modality) AS modality, count(*) AS items,
             count(DISTINCT content_id) AS contents, sum(size_bytes)::BIGINT AS size_bytes
      FROM items GROUP BY source)
FULL JOIN (SELECT source, count(*) AS quarantined FROM quarantine GROUP BY source) USING (source)
ORDER BY source"""

_QUARANTINE = """
SELECT source, coalesce(space, ''), stage, error, count(*)
FROM quarantine GROUP BY ALL ORDER BY ALL"""

_SPACES = """
SELECT s.space, s.encoder, s.fingerprint, s.modality, s.dim, s.metric,
       i.factory, i.rows, i.recall, i.recall_low, i.recall_high,
       i.recall_filtered, i.queries_per_second, i.vector_bytes,
       (SELECT count(*) FROM neighbours WHERE space = s.space),
       (SELECT count(*) FROM duplicates WHERE space = s.space AND kind = 'exact'),
       (SELECT count(*) FROM duplicates WHERE space = s.space AND kind <> 'exact'),
       (SELECT count(*) FROM cluster_summary WHERE space = s.space),
       (SELECT min(x.uri) FROM anomalies a JOIN items x USING (content_id)
        WHERE a.space = s.space AND a.rank = 1),
       (SELECT min(w.space || '@' || w.fingerprint) FROM spaces w
        WHERE w.space = s.space AND w.is_waiting)
FROM spaces s
LEFT JOIN indexes i ON i.space = s.space AND i.fingerprint = s.fingerprint
WHERE s.is_current
ORDER BY s.space"""


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the lake has of one source."""

    name: str
    modality: str
    items: int
    contents: int
    size_bytes: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class QuarantineState:
    """Inputs that could not be used, for one reason; `space` is empty where none was concerned."""

    source: str
    space: str
    stage: str
    error: str
    inputs: int


@dataclass(frozen=True, slots=True)
class SpaceState:
    """One current space; what has not been built yet is None or 0."""

    name: str
    encoder: str
    fingerprint: str
    modality: str
    dim: int
    metric: str
    index: str | None
    indexed: int | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    recall_filtered: float | None
    queries_per_second: int | None
    vector_bytes: float | None
    linked: int
    exact_duplicates: int
    near_duplicates: int
    clusters: int
    oddest: str | None
    waiting: str | None
    vectors: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All of a lake's figures, of one snapshot."""

    root: str
    snapshot: int
    at: str
    run_id: str
    sources: tuple[SourceState, ...]
    quarantine: tuple[QuarantineState, ...]
    spaces: tuple[SpaceState, ...]


def overview(lake: Reading) -> Overview:
    """Gather the figures of the snapshot that is open."""
    spaces = []
    for row in lake.rows(_SPACES):
        # The name comes from the lake and matches [a-z][a-z0-9_]*.
        counted = lake.rows(f"SELECT count(DISTINCT content_id) FROM embeddings_{row[0]}")  # noqa: S608
        spaces.append(SpaceState(*_short_floats((*row, *counted[0]))))
    return Overview(
        root=lake.lake.uri,
        snapshot=lake.snapshot.number,
        at=lake.snapshot.at,
        run_id=lake.snapshot.run_id,
        sources=tuple(SourceState(*row) for row in lake.rows(_SOURCES)),
        quarantine=tuple(QuarantineState(*row) for row in lake.rows(_QUARANTINE)),
        spaces=tuple(spaces),
    )


def figures(seen: Overview) -> pa.Table:
    """Return one row a figure: part, name, figure, value."""
    import pyarrow as pa

    lake = {name: getattr(seen, name) for name in ("root", "snapshot", "at", "run_id")}
    parts = [("lake", "", lake)]
    parts += [("source", source.name, asdict(source)) for source in seen.sources]
    parts += [("space", space.name, asdict(space)) for space in seen.spaces]
    parts += [("quarantine", state.source, asdict(state)) for state in seen.quarantine]
    rows = [
        {"part": part, "name": name, "figure": figure, "value": None if v is None else str(v)}
        for part, name, values in parts
        for figure, v in values.items()
    ]
    schema = pa.schema([(column, pa.string()) for column in ("part", "name", "figure", "value")])
    return pa.Table.from_pylist(rows, schema)


def overview_text(seen: Overview) -> str:
    """Write the figures for a reader."""
    when = seen.at.replace("T", " ").replace("+00:00", "Z")
    head = f"Lake {shown(seen.root)}\nSnapshot {seen.snapshot} of {when}, run {seen.run_id}\n"
    parts = [head, _sources_text(seen.sources)]
    if seen.quarantine:
        parts.append(_quarantine_text(seen.quarantine))
    parts += [_space_text(space) for space in seen.spaces]
    return "\n".join(parts)


def _sources_text(sources: tuple[SourceState, ...]) -> str:
    if not sources:
        return "No items yet.\n"
    numbers = {
        "items": [f"{source.items:,}" for source in sources],
        "contents": [f"{source.contents:,}" for source in sources],
        "MB": [f"{source.size_bytes / 1e6:,.1f}" for source in sources],
        "quarantined": [f"{source.quarantined:,}" for source in sources],
    }
    columns = [
        Column("source", [source.name for source in sources]),
        Column("of", [f"{source.modality}s" if source.modality else "" for source in sources]),
        *(Column(name, texts, is_number=True) for name, texts in numbers.items()),
    ]
    return layout(columns, None)


def _quarantine_text(states: tuple[QuarantineState, ...]) -> str:
    columns = [
        Column("in quarantine", [s.source + (f", {s.space}" if s.space else "") for s in states]),
        Column("stage", [state.stage for state in states]),
        Column("reason", [state.error for state in states]),
        Column("inputs", [f"{state.inputs:,}" for state in states], is_number=True),
    ]
    return layout(columns, None)


def _space_text(space: SpaceState) -> str:
    index = "none yet: latentlake index"
    if space.index:
        recall = f"recall@10 {space.recall:.3f} [{space.recall_low:.3f}, {space.recall_high:.3f}]"
        index = f"{space.index} over {space.indexed:,}, {recall}{index_figures(space)}"
    near = f"{space.near_duplicates:,} near, {space.exact_duplicates:,} exact"
    graph = f"{space.linked:,} linked" if space.linked else "none yet: latentlake graph"
    lines = [
        f"Space {space.name}: {space.encoder}, fingerprint {space.fingerprint[:16]}",
        f"  vectors     {space.vectors:,} of {space.dim} dimensions, {space.metric}",
        f"  index       {index}",
        f"  graph       {graph}",
    ]
    if space.modality == "word":
        lines[-1:] = [f"  graph       {graph}"] if space.linked else []
    elif space.oddest or space.clusters or space.near_duplicates or space.exact_duplicates:
        lines += [
            f"  duplicates  {near}",
            f"  clusters    {space.clusters:,}",
            f"  oddest      {shown(space.oddest or '-')}",
        ]
    else:
        lines.append("  reports     none yet: latentlake report")
    if space.waiting:
        lines.append(f"  waits       {space.waiting}; what it lacks: latentlake spaces")
    return "\n".join(lines) + "\n"


def index_figures(space: SpaceState | IndexState) -> str:
    """Write what an index finds under a filter, answers and takes; older ones do not know."""
    found = space.recall_filtered
    filtered = "" if found is None else f", {found:.3f} among a tenth of the rows"
    if space.queries_per_second is None or space.vector_bytes is None:
        return filtered
    speed = f"{space.queries_per_second:,} queries a second (counted)"
    return f"{filtered}, {speed}, {space.vector_bytes:,.0f} bytes a vector"


def _short_floats(row: tuple[Any, ...]) -> list[Any]:
    """Round what DuckDB widened from float32: a recall has no more than 6 digits."""
    return [round(value, 6) if isinstance(value, float) else value for value in row]
