"""One Prefect server for all tests of flows; everything else in the suite needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from tests.tasks.conftest import project

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prefect_server", "project"]


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    with (
        prefect_test_harness(server_startup_timeout=90),
        # A heartbeat nobody watches costs a second a flow.
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield
