"""Where a stored index is searched: the file is the same for all machines, the setting is not."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

from latentlake.errors import ConfigError
from models.indexes.cuda import CudaIndex, reason_to_stay
from models.indexes.faiss_library import cuda_library

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from latentlake.settings import Settings
    from models.indexes.vector_index import VectorIndex

logger = logging.getLogger(__name__)


def on_its_device(
    index: VectorIndex, settings: Settings, space: SpaceRow
) -> VectorIndex | CudaIndex:
    """Return an index as `index.device` wants it searched; say once if a GPU cannot.

    Raises:
        ConfigError: FAISS has no GPU here.
    """
    try:
        device = settings.space(space.id.name).index.device
    except ConfigError:  # the lake has spaces that nobody configures any more
        return index
    if device == "cpu":
        return index
    cuda_library()  # raises where there is no GPU, whatever the index is
    reason = reason_to_stay(index.plan)
    if reason is None:
        return CudaIndex(index)
    _say_once(space.id.name, reason)
    return index


@cache
def _say_once(space: str, reason: str) -> None:
    logger.warning("space '%s' is searched on the processor: %s.", space, reason)
