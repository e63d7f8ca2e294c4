"""One vector that a user gives to search with: a .npy, a file of JSON, or JSON itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data.sources.compression import open_regular
from data.sources.limits import MAX_DIM
from data.sources.npy_file import read_header, read_rows
from latentlake.errors import BadInputError, QueryError

if TYPE_CHECKING:
    import numpy.typing as npt

_MAX_JSON_BYTES: Final = 32 * MAX_DIM


def read_query_vector(given: str) -> npt.NDArray[np.float32]:
    """Return the vector, (dim,) float32.

    Args:
        given: a path, or a JSON list of numbers.

    Raises:
        QueryError: no such file, no vector in it, several, or numbers that are not finite.
    """
    is_json = given.lstrip().startswith("[")
    name = "the vector" if is_json else f"'{given}'"
    try:
        numbers = _from_json(given) if is_json else _from_file(Path(given))
    except FileNotFoundError:
        raise QueryError(
            f"{name}: no such file. A vector is a .npy file, a file with a JSON list of numbers, "
            "or such a list itself: --vector '[0.1, 0.2]'."
        ) from None
    except (OSError, EOFError, BadInputError) as error:
        raise QueryError(f"{name}: {getattr(error, 'strerror', None) or error}.") from error
    if numbers.ndim == 2 and len(numbers) == 1:  # noqa: PLR2004  a matrix of one row
        numbers = numbers[0]
    if numbers.ndim != 1:
        raise QueryError(
            f"{name} holds an array of shape {numbers.shape}: look for one vector at a time, "
            "such as np.save('query.npy', vectors[0])."
        )
    return _checked(numbers, name)


def _from_json(text: str | bytes) -> npt.NDArray[Any]:
    try:
        found = json.loads(text)
        numbers = np.array(found, np.float64)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInputError("no list of numbers in JSON") from error
    if not isinstance(found, list):
        raise BadInputError("no list of numbers in JSON")
    return numbers


def _from_file(path: Path) -> npt.NDArray[Any]:
    with open_regular(path) as handle:
        if path.suffix.lower() != ".npy":
            return _from_json(handle.read(_MAX_JSON_BYTES))
        header = read_header(handle)
        if header.held_rows < header.shape[0]:
            raise BadInputError("the file is cut short")
        if len(header.shape) > 1 and header.shape[0] != 1:
            return np.empty((*header.shape[:2], 0))
        blocks = list(read_rows(handle, header))
    return np.concatenate(blocks) if blocks else np.empty(0)


def _checked(numbers: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    if not 0 < numbers.size <= MAX_DIM:
        raise QueryError(f"{name} has {numbers.size} numbers; 1 to {MAX_DIM} are allowed.")
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        raise QueryError(f"{name} has numbers that are not finite.")
    return vector
