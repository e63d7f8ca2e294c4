"""Plans against reports that were made for real with the same settings, and budgets by trial."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data.pinned import PinnedLake
from latentlake.errors import ConfigError
from latentlake.names import RULES
from tasks.stages.removal_budgets import Budget
from tasks.stages.removal_plans import Plan, Wishes, plan_removals
from tasks.stages.spaces import known_space
from tests.tasks.stages.test_auditing import alike, configure
from tests.tasks.stages.test_own_vectors import Own, named

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Own:
    """150 vectors in groups, and three copies of two of them."""
    made = Own(tmp_path_factory.mktemp("planned") / "own")
    configure(made)
    vectors = alike()
    made.put(named(vectors) | {"c1": vectors[0], "c2": vectors[0], "c3": vectors[1]})
    assert made.run().errors == ()
    return made


def plan(own: Own, **wishes: Any) -> Plan:
    lake = PinnedLake(own.lake, own.lake.snapshot())
    return plan_removals(lake, own.settings, known_space(lake, "own"), Wishes(**wishes))


def rows(own: Own) -> set[tuple[str, str, str]]:
    found = own.lake.read("duplicates").to_pylist()
    return {(row["item_id"], row["twin_id"], row["kind"]) for row in found}


def planned(made: Plan) -> set[tuple[str, str, str]]:
    found = made.removals.to_pylist()
    return {(row["item_id"], row["twin_id"], row["kind"]) for row in found}


def test_a_plan_without_wishes_is_the_report(built: Own) -> None:
    made = plan(built)
    assert planned(made) == rows(built)
    assert set(made.removals["change"].to_pylist()) == {"same"}
    assert made.returned == 0
    assert made.removals.num_rows + made.kept.num_rows == 153
    assert made.freed_bytes == 12 * 4 * made.removals.num_rows
    assert not set(made.kept["item_id"].to_pylist()) & {item for item, _, _ in planned(made)}


@pytest.mark.parametrize(
    ("wishes", "settings"),
    [
        ({"threshold": 0.95}, {"threshold": 0.95}),
        ({"keep": "key desc"}, {"keep": '"key desc"'}),
        ({"threshold": 0.97, "keep": "key asc"}, {"threshold": 0.97, "keep": '"key asc"'}),
        ({"rule": "components"}, {"rule": '"components"'}),
        ({"rule": "first-seen"}, {"rule": '"first-seen"'}),
    ],
)
def test_a_plan_is_the_report_that_these_settings_would_make(
    built: Own, tmp_path: Path, wishes: dict[str, Any], settings: dict[str, Any]
) -> None:
    versions = built.versions()
    made = plan(built, **wishes)
    assert built.versions() == versions
    shutil.copytree(built.folder, tmp_path / "own")
    other = Own(tmp_path / "own")
    before = {(item, twin) for item, twin, _ in rows(other)}
    configure(other, **settings)
    assert other.run().changed
    assert planned(made) == rows(other)
    ruled = {row["rule"] for row in other.lake.read("duplicates").to_pylist()}
    assert set(made.removals["rule"].to_pylist()) == ruled == {wishes.get("rule", "greedy-cover")}
    after = {(item, twin) for item, twin, _ in rows(other)}
    gone = {item for item, _ in before} - {item for item, _ in after}
    assert made.returned == len(gone)
    new = {item for item, _ in after} - {item for item, _ in before}
    assert made.removals["change"].to_pylist().count("new") == len(new)
    assert made.removals["change"].to_pylist().count("same") == len(before & after)


def test_each_rule_plans_something_else(built: Own) -> None:
    greedy, components, first_seen = (planned(plan(built, rule=rule)) for rule in RULES)
    assert greedy == rows(built) != components
    gone = [{item for item, _, _ in made} for made in (greedy, components, first_seen)]
    assert gone[0] == gone[1] != gone[2]


def test_a_plan_for_a_stream_knows_who_was_kept(tmp_path: Path) -> None:
    own = Own(tmp_path / "own")
    configure(own, rule='"first-seen"')
    # Each is like the next one only, by a cosine of .94.
    fan = {name: [np.cos(n * 0.35), np.sin(n * 0.35), *[0.0] * 10] for n, name in enumerate("dabc")}
    held = named(alike()) | {"a": fan["a"], "b": fan["b"]}
    own.put(held)
    own.run()
    (removed,) = removed_keys(own) & {"a", "b"}
    stayed, late = {"a": ("b", "d"), "b": ("a", "c")}[removed]
    own.put(held | {late: fan[late]})  # it is like the removed one, and stays
    own.run()
    held.pop(stayed)
    own.put(held | {late: fan[late]})
    own.run()
    assert removed_keys(own) & set("abcd") == {removed}  # though it was first seen before the other
    assert planned(plan(own, rule="first-seen")) == planned(plan(own)) == rows(own)
    with pytest.raises(ConfigError, match="leave out --keep"):
        plan(own, keep="key asc")


def removed_keys(own: Own) -> set[str]:
    keys = {row["item_id"]: row["key"] for row in own.lake.read("items").to_pylist()}
    return {keys[item] for item, _, _ in rows(own)}


@pytest.mark.parametrize("most", [3, 10, 37, 80, 10_000])
def test_a_budget_of_items_is_kept_and_used_up(built: Own, most: int) -> None:
    made = plan(built, budget=Budget("items", most))
    assert made.removals.num_rows <= most
    assert made.threshold is not None
    # The next lower score of any edge would break it: all thresholds are tried one by one.
    scores = sorted(set(built.lake.read("pairs")["similarity"].to_pylist()))
    lower = [score for score in scores if score < made.threshold - 2e-6]
    if lower:
        assert plan(built, threshold=lower[-1]).removals.num_rows > most
    else:
        assert made.removals.num_rows == len(rows(built))


def test_a_budget_of_bytes_is_reached_by_the_surest_removals(built: Own) -> None:
    size = 12 * 4
    made = plan(built, budget=Budget("bytes", 20 * size))
    assert made.freed_bytes >= 20 * size
    assert made.threshold is not None
    scores = sorted(set(built.lake.read("pairs")["similarity"].to_pylist()))
    higher = [score for score in scores if score > made.threshold + 2e-6]
    assert plan(built, threshold=higher[0]).freed_bytes < 20 * size


def test_what_no_threshold_can_do_is_said(built: Own) -> None:
    with pytest.raises(ConfigError, match="3 items go whatever the threshold"):
        plan(built, budget=Budget("items", 2))
    with pytest.raises(ConfigError, match="free 5,472"):
        plan(built, budget=Budget("bytes", 10**9))
    with pytest.raises(ConfigError, match=r"they are stored from 0\.9 on"):
        plan(built, threshold=0.8)
    with pytest.raises(ConfigError, match="no_such_column"):
        plan(built, keep="no_such_column desc")


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("1000", "items", 1000),
        ("1_000", "items", 1000),
        ("2GB", "bytes", 2 * 10**9),
        ("500 MiB", "bytes", 500 * 2**20),
    ],
)
def test_budgets_are_read_as_they_are_written(text: str, unit: str, amount: int) -> None:
    found = Budget.parse(text)
    assert (found.unit, found.amount) == (unit, amount)


@pytest.mark.parametrize("text", ["", "many", "-3", "2XB"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 1000"):
        Budget.parse(text)
