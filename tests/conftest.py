"""Fixtures and options of the whole suite. Anything that needs Prefect lives in tests/flows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

# The same examples on every machine and every day: a red run can be repeated.
settings.register_profile("latentlake", derandomize=True, deadline=None, database=None)
settings.load_profile("latentlake")

CheckGolden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="run only the tests that use golden files, and write the files anew",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--update-golden"):
        return
    kept = [item for item in items if "golden" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> CheckGolden:
    """Return `check(name, text)`, which compares a text with tests/golden/<name>."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no tests/golden/{name} yet: 'make golden' writes it"
        assert text == path.read_text(encoding="utf-8"), "if this is meant: 'make golden'"

    return check


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of the bundled samples; read only, copy what a test changes."""
    return ROOT / "data" / "samples"


@pytest.fixture(scope="session")
def datasets() -> Path:
    """Return the folder of the large data sets: DATASETS, or ../shared/datasets."""
    place = Path(os.environ.get("DATASETS", ROOT.parent / "shared" / "datasets"))
    if not place.is_dir():
        pytest.skip("no large data sets beside the checkout; DATASETS=... names their folder")
    return place
