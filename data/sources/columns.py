"""Which column of a table, or key of a document, holds what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentlake.errors import BadInputError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED = 30


def choose_column(
    setting: str, configured: str | None, names: Sequence[str], fitting: Sequence[str]
) -> str:
    """Return the configured column, or the obvious one: called like the setting, or the only one.

    Args:
        setting: "text", "image" or "key".
        configured: the column that the source names, if any.
        names: all columns there are.
        fitting: those of a type that can serve.

    Raises:
        BadInputError: there is no such column, it is there twice, or none is obvious.
    """
    if configured is not None:
        return _configured_column(setting, configured, names, fitting)
    if setting in fitting and names.count(setting) == 1:
        return setting
    if len(fitting) == 1:
        return fitting[0]
    raise BadInputError(
        f'which column holds the {setting}? Set {setting} = "..." for this source. {_listed(names)}'
    )


def _configured_column(
    setting: str, configured: str, names: Sequence[str], fitting: Sequence[str]
) -> str:
    if configured not in names:
        hint = nearest_hint(configured, names)
        raise BadInputError(f"no column '{configured}' ({setting}).{hint} {_listed(names)}")
    if names.count(configured) > 1:
        raise BadInputError(f"two columns are called '{configured}' ({setting})")
    if configured not in fitting:
        raise BadInputError(f"column '{configured}' has no type that can serve as {setting}")
    return configured


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _LISTED else ""
    return f"Columns: {', '.join(names[:_LISTED]) or 'none'}{more}."
