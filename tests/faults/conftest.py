"""One server that forks, and the state that an uninterrupted run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.forks import Attempt, Ended, Forks
from tests.faults.lakes import change_sources, make_project, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


class Uninterrupted:
    """Two runs that nobody disturbed, with a change of the sources between them."""

    def __init__(self, folder: Any, forks: Forks, root: str = "lake") -> None:
        project = make_project(folder, root)
        self.first: Ended = forks.run(Attempt(str(folder)))
        self.built = state_of(project.lake)
        change_sources(project)
        self.second: Ended = forks.run(Attempt(str(folder)))
        self.changed = state_of(project.lake)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Uninterrupted:
    return Uninterrupted(tmp_path_factory.mktemp("uninterrupted") / "project", forks)
