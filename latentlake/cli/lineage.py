"""Versions of spaces and models, as tables and for a reader."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from latentlake.cli.output import Result
from latentlake.cli.overview import index_figures
from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tasks.stages.lineage import IndexState, VersionState
    from tasks.stages.model_lineage import Difference, ModelState

_STRINGS: Final = pa.list_(pa.string())
_SPACES: Final = pa.schema(
    [
        ("version", pa.string()),
        ("state", pa.string()),
        ("encoder", pa.string()),
        ("precision", pa.string()),
        ("dim", pa.int32()),
        ("metric", pa.string()),
        ("vectors", pa.int64()),
        ("size", pa.string()),
        ("index", pa.string()),
        ("recall", pa.float64()),
        ("recall_filtered", pa.float64()),
        ("notes", _STRINGS),
        ("space", pa.string()),
        ("fingerprint", pa.string()),
        ("weights", pa.string()),
        ("modality", pa.string()),
        ("size_bytes", pa.int64()),
        ("recall_low", pa.float64()),
        ("recall_high", pa.float64()),
        ("queries_per_second", pa.int64()),
        ("vector_bytes", pa.float64()),
        ("results", _STRINGS),
        ("run_id", pa.string()),
        ("artefact", pa.string()),
        ("options", pa.string()),
        ("details", pa.string()),
    ]
)
_MODELS: Final = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("encoder", pa.string()),
        ("weights", pa.string()),
        ("precision", pa.string()),
        ("dim", pa.int32()),
        ("metric", pa.string()),
        ("spaces", _STRINGS),
        ("artefact", pa.string()),
        ("size_bytes", pa.int64()),
        ("run_id", pa.string()),
        ("details", pa.string()),
    ]
)
_JSON: Final = frozenset({"options", "details"})


def spaces_result(states: Sequence[VersionState]) -> Result:
    """Return a row a version; the table names the columns that tell them apart."""
    rows = [_row(asdict(state)) | _index_row(state.index) | _told(state) for state in states]
    columns = (
        "version",
        "state",
        "encoder",
        "dim",
        "vectors",
        "size",
        "index",
        "recall",
        "recall_filtered",
        "notes",
    )
    table = pa.Table.from_pylist(rows, _SPACES)
    return Result.of(table, json_columns=_JSON, shown=columns)


def models_result(states: Sequence[ModelState]) -> Result:
    """Return a row a model."""
    columns = ("fingerprint", "encoder", "weights", "precision", "dim", "metric", "spaces")
    table = pa.Table.from_pylist([_row(asdict(state)) for state in states], _MODELS)
    return Result.of(table, json_columns=_JSON, shown=columns)


def differences_result(found: Sequence[Difference]) -> Result:
    """Return a row a part that differs."""
    schema = pa.schema([(name, pa.string()) for name in ("part", "one", "other")])
    note = "" if found else "The same model: not a part differs."
    return Result.of(pa.Table.from_pylist([asdict(each) for each in found], schema), note=note)


def figures(values: Mapping[str, Any]) -> pa.Table:
    """Return one row a figure, nested ones as JSON."""
    schema = pa.schema([("figure", pa.string()), ("value", pa.string())])
    rows = [{"figure": name, "value": _plain(value)} for name, value in values.items()]
    return pa.Table.from_pylist(rows, schema)


def version_text(state: VersionState) -> str:
    """Write a version for a reader."""
    index = "none yet: latentlake index"
    if state.index is not None:
        one = state.index
        interval = f"recall@10 {one.recall:.3f} [{one.recall_low:.3f}, {one.recall_high:.3f}]"
        index = f"{one.factory} over {one.rows:,}, {interval}{index_figures(one)}"
    size = f"{state.size_bytes / 1e6:,.1f} MB"
    lines = [
        f"Version {state.version}, {state.state}",
        f"  model       {state.encoder}, weights {_short(state.weights)}",
        f"  vectors     {state.vectors:,} of {state.dim} dimensions, {state.metric}, {size}",
        f"  index       {index}",
        f"  results     {', '.join(state.results) or 'none yet'}",
        f"  made by     run {state.run_id}",
    ]
    if state.artefact:
        lines.append(f"  trained     {state.artefact}")
    lines += [f"  lacks       {missing}" for missing in state.lacks]
    lines += [f"  differs     {difference}" for difference in state.differs]
    return "\n".join(map(shown, lines)) + "\n" + _details_text(state.details)


def model_text(state: ModelState) -> str:
    """Write a model for a reader."""
    lines = [
        f"Model {state.fingerprint}: {state.encoder}",
        f"  weights     {state.weights or '-'}",
        f"  vectors     {state.dim} dimensions, {state.metric}",
        f"  spaces      {', '.join(state.spaces)}",
        f"  made by     run {state.run_id}",
    ]
    if state.artefact:
        lines.append(f"  trained     {state.artefact}, {state.size_bytes / 1e6:,.1f} MB")
    return "\n".join(map(shown, lines)) + "\n" + _details_text(state.details)


def _details_text(details: Mapping[str, Any]) -> str:
    """Write what an encoder says of itself, a line a part."""
    if not details:
        return ""
    width = max(map(len, details))
    lines = [f"  {name.ljust(width)}  {_plain(value)}" for name, value in sorted(details.items())]
    return "\n".join(map(shown, ["It says of itself", *lines])) + "\n"


def _row(values: dict[str, Any]) -> dict[str, Any]:
    nested = {name: json.dumps(values[name], sort_keys=True) for name in _JSON if name in values}
    return values | nested


def _index_row(index: IndexState | None) -> dict[str, Any]:
    if index is None:
        return {"index": None}
    return asdict(index) | {"index": index.factory}


def _told(state: VersionState) -> dict[str, Any]:
    lacks = [f"lacks {missing}" for missing in state.lacks]
    if state.state == "waiting" and not lacks:
        lacks = ["complete"]
    # That a former version is not what is configured is no news.
    differs = list(state.differs) if state.state == "current" else []
    return {"size": f"{state.size_bytes / 1e6:,.1f} MB", "notes": [*lacks, *differs]}


def _plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _short(digest: str | None) -> str:
    return digest[:16] if digest else "-"
