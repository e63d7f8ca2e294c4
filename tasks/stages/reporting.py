"""The reports of a space, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from latentlake.errors import ConfigError
from tasks.stages.auditing import audit_space, with_audit
from tasks.stages.calibrations import with_calibration, with_note
from tasks.stages.clustering import cluster_contents
from tasks.stages.deduplicating import find_duplicates
from tasks.stages.flagging import flag_anomalies
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.lake import Lake
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt


def report_space(
    lake: Lake,
    settings: Settings,
    name: str,
    report: Literal["duplicates", "clusters", "anomalies"],
    run_id: str,
) -> StageReceipt:
    """Recompute one report of one space if what it depends on has changed.

    Raises:
        ConfigError: the space holds words; reports are about items.
    """
    space = require_space(lake, settings, name)
    if space.is_vocabulary:
        raise ConfigError(f"space '{name}' holds words, and reports are about items.")
    vectors = space_vectors(lake, settings, space)
    match report:
        case "duplicates":
            resolved = with_calibration(lake, settings, space)
            found = find_duplicates(lake, resolved, space, vectors, run_id)
            found = with_audit(found, audit_space(lake, settings, space, vectors, run_id))
            return with_note(found, lake, settings, space)
        case "clusters":
            return cluster_contents(lake, settings, space, vectors, run_id)
        case "anomalies":
            return flag_anomalies(lake, settings, space, vectors, run_id)
