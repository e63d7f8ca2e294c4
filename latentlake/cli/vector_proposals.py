"""Which files seem to hold vectors, and by which names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data.sources.formats import Container, format_of
from latentlake.errors import BadInputError, ConfigError, nearest_hint

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

_VECTOR_NAMES: Final = ("vector", "embedding", "embeddings", "emb")
_KEY_NAME: Final = re.compile(r"(^|_)(id|key|uuid|doi|isbn)$")
_MATRIX: Final = 2


@dataclass(frozen=True, slots=True)
class VectorColumns:
    """What of a file is a vector, and what names it.

    Attributes:
        vector: the column, or None for a .npy.
        key: the column that names a row, or None.
        keys: the file beside a .npy that names its rows, or None.
    """

    vector: str | None = None
    key: str | None = None
    keys: str | None = None


def vectors_in(path: Path) -> VectorColumns | None:
    """Look into a file for vectors; None where none are obvious."""
    found = format_of(path.name, "vectors")
    if found is None:
        return None
    try:
        if found.container is Container.NPY:
            return VectorColumns(keys=_keys_beside(path)) if _is_matrix(path) else None
        schema = _schema(path, found.container)
    except (OSError, ValueError, BadInputError):  # Arrow's own errors are ValueErrors
        return None
    vector = _vector_column(schema)
    return None if vector is None else VectorColumns(vector, _key_column(schema))


def named_vectors(path: Path, column: str | None, key: str | None) -> VectorColumns:
    """Return what a user names in a file; what is not given is guessed.

    Raises:
        ConfigError: the file has no such column; the nearest one is named.
    """
    guessed = (vectors_in(path) if path.is_file() else None) or VectorColumns()
    found = format_of(path.name, "vectors") if path.is_file() else None
    if found is not None and found.container is not Container.NPY:
        names = list(_schema(path, found.container).names)
        for given in (column, key):
            if given is not None and given not in names:
                hint, listed = nearest_hint(given, names), ", ".join(names)
                raise ConfigError(f"{path} has no column '{given}'.{hint} Its columns: {listed}.")
    return VectorColumns(column or guessed.vector, key or guessed.key, guessed.keys)


def _schema(path: Path, container: Container) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if container is Container.PARQUET:
        return pq.read_schema(path)
    with pa.OSFile(str(path)) as file:
        try:
            return pa.ipc.open_file(file).schema
        except pa.ArrowInvalid:
            file.seek(0)
            return pa.ipc.open_stream(file).schema


def _vector_column(schema: pa.Schema) -> str | None:
    from data.sources.vector_values import is_vector

    fitting: list[str] = [field.name for field in schema if is_vector(field.type)]
    named = [name for name in fitting if name.lower() in _VECTOR_NAMES]
    if len(fitting) == 1 or len(named) == 1:
        return (named or fitting)[0]
    return None


def _key_column(schema: pa.Schema) -> str | None:
    from data.sources.arrow_values import is_key

    keys: list[str] = [field.name for field in schema if is_key(field.type)]
    return next((name for name in keys if _KEY_NAME.search(name.lower())), None)


def _is_matrix(path: Path) -> bool:
    from data.sources.npy_file import read_header

    with path.open("rb") as handle:
        shape = read_header(handle).shape
    return len(shape) == _MATRIX and min(shape) > 1


def _keys_beside(path: Path) -> str | None:
    """Return the setting `keys` for a file beside a .npy that is called like one of keys."""
    for stem in ("{stem}.ids", "{stem}.keys", "{stem}_ids", "{stem}_keys", "ids", "keys"):
        for suffix in (".txt", ".npy"):
            if path.with_name(stem.replace("{stem}", path.stem) + suffix).is_file():
                return stem + suffix
    return None
