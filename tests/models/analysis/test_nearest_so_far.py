"""Lists of the nearest so far: the same as sorting all that was met, whatever the order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.analysis import nearest_so_far
from models.analysis.nearest_so_far import (
    take_offers,
    take_others,
    take_visitors,
    visits_by_cell,
)

if TYPE_CHECKING:
    from models.analysis.nearest_so_far import Offers, Places, Similarities
    from models.types import Matrix

ROOM = nearest_so_far._ROOM
FLOORS = (-np.inf, -3.0, 0.0, 2.0)
"""Few values, so that many are equal, to each other and to what has to be exceeded."""


def whole(shape: tuple[int, ...], seed: int, *, most: int = 6) -> Matrix:
    """Similarities of which many are equal, some of them -inf."""
    drawn = np.random.default_rng(seed).integers(-most, most, shape).astype(np.float32)
    drawn[drawn == -most] = -np.inf
    return drawn


def continuous(shape: tuple[int, ...], seed: int) -> Matrix:
    """Similarities of which no two are equal."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def drawn_similarities(shape: tuple[int, ...], seed: int) -> Matrix:
    return whole(shape, seed) if seed % 2 else continuous(shape, seed)


@dataclass
class Lists:
    """Lists, and all that each has been told, to compare with."""

    places: Places
    similarities: Similarities
    told: list[dict[int, float]]

    @classmethod
    def empty(cls, rows: int, k: int) -> Lists:
        places = np.full((rows, k), -1, np.int32)
        similarities = np.full((rows, k), -np.inf, np.float32)
        return cls(places, similarities, [{} for _ in range(rows)])

    @classmethod
    def filled(cls, rows: int, k: int, seed: int) -> Lists:
        """Lists that know some already, none of a place from 0 to 9,999."""
        lists = cls.empty(rows, k)
        some = drawn_similarities((rows, k), seed)
        for row in range(rows):
            for i in range(seed % (k + 1)):
                if some[row, i] > -np.inf:
                    lists.told[row][20_000 + i] = float(some[row, i])
            known = sorted(lists.told[row].items(), key=lambda one: one[1])
            free = k - len(known)  # an ascending list is a heap
            for i, (place, near) in enumerate(known):
                lists.places[row, free + i], lists.similarities[row, free + i] = place, near
        return lists

    def tell(self, row: int, place: int, near: float) -> None:
        """Tell of one that a list may have met: it counts where it is more than nothing."""
        if near > -np.inf:
            self.told[row].setdefault(place, near)

    def expected(self, row: int) -> list[float]:
        """The similarities of a list: the largest of all that it was told."""
        k = self.places.shape[1]
        nearest = sorted(self.told[row].values())[-k:]
        return [-np.inf] * (k - len(nearest)) + nearest

    def check(self) -> None:
        k = self.places.shape[1]
        for row, told in enumerate(self.told):
            places, similarities = self.places[row].tolist(), self.similarities[row].tolist()
            assert sorted(similarities) == self.expected(row)
            known = [place for place in places if place != -1]
            assert len(set(known)) == len(known) == min(k, len(told))
            for place, near in zip(places, similarities, strict=True):
                assert told[place] == near if place != -1 else near == -np.inf
            for i in range(1, k):  # a heap
                assert similarities[(i - 1) // 2] <= similarities[i]


sizes = {
    "rows": st.integers(1, 40),
    "k": st.integers(1, 12),
    "seed": st.integers(0, 10_000),
}


@given(**sizes, first=st.sampled_from([0, 1, 7000]))
def test_rows_of_a_cell_know_the_nearest_of_each_other(
    rows: int, k: int, seed: int, first: int
) -> None:
    met = drawn_similarities((rows, rows), seed)
    np.fill_diagonal(met, 100)  # nobody is nearer to a row than itself
    lists = Lists.filled(rows, k, seed)
    for row in range(rows):
        for other in set(range(rows)) - {row}:
            lists.tell(row, first + other, float(met[row, other]))
    take_others(met, first, lists.places, lists.similarities)
    lists.check()


def offered_above(
    met: Matrix, visitors: Places, last: Similarities, first: int
) -> list[tuple[int, int, float]]:
    """What is nearer than the last of a visitor's list."""
    return [
        (int(visitors[j]), first + i, float(met[i, j]))
        for i in range(met.shape[0])
        for j in range(met.shape[1])
        if met[i, j] > last[j]
    ]


def as_list(offers: Offers) -> list[tuple[int, int, float]]:
    assert [one.dtype for one in offers] == [np.int32, np.int32, np.float32]
    return list(zip(*(one.tolist() for one in offers), strict=True))


@given(**sizes, visitors=st.integers(0, 50), floor=st.sampled_from([*FLOORS, None]))
def test_a_cell_knows_its_nearest_visitors_and_they_are_offered_who_is_nearer_than_their_last(
    rows: int, k: int, seed: int, visitors: int, floor: float | None
) -> None:
    random = np.random.default_rng(seed)
    met = drawn_similarities((rows, visitors), seed)
    places = random.permutation(9000)[:visitors].astype(np.int32)
    last = np.full(visitors, floor, np.float32) if floor is not None else whole((visitors,), seed)
    lists, before = Lists.filled(rows, k, seed), (met.copy(), places.copy(), last.copy())
    for row in range(rows):
        for j, place in enumerate(places.tolist()):
            lists.tell(row, place, float(met[row, j]))
    offers = take_visitors(met, places, last, 9000, lists.places, lists.similarities)
    lists.check()
    assert as_list(offers) == offered_above(met, places, last, 9000)
    for now, then in zip((met, places, last), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("width", [0, 1, 7, 8, 9, 15, 16, 17, 64])
@pytest.mark.parametrize("k", [1, 3])
def test_none_of_a_row_of_flags_is_lost_or_looked_at_twice(width: int, k: int) -> None:
    """Each visitor in turn is the only one worth a look: by the row, by the visitor, by both."""
    visitors = np.arange(width, dtype=np.int32)
    for only in range(width):
        for for_row in (True, False):
            for for_visitor in (True, False):
                met = np.full((1, width), -1, np.float32)
                met[0, only] = 0.5
                last = np.full(width, 1, np.float32)
                last[only] = 0 if for_visitor else 1
                places = np.full((1, k), -1, np.int32)
                similarities = np.full((1, k), 0 if for_row else 1, np.float32)
                of = take_visitors(met, visitors, last, 70, places, similarities)
                assert as_list(of) == [(only, 70, 0.5)] * for_visitor
                assert sorted(places[0]) == [-1] * (k - for_row) + [only] * for_row


@pytest.mark.parametrize("rows", [1, 2, 3, 40])
@pytest.mark.parametrize("visitors", [ROOM - 1, ROOM, ROOM + 1, 3 * ROOM + 5])
def test_there_is_room_for_any_number_of_offers(rows: int, visitors: int) -> None:
    met = continuous((rows, visitors), rows)
    places = np.arange(visitors, dtype=np.int32)
    for floor in (-np.inf, 0.0, 1.5):
        last = np.full(visitors, floor, np.float32)
        lists = Lists.empty(rows, 5)
        offers = take_visitors(met, places, last, 9000, lists.places, lists.similarities)
        row, visitor = np.nonzero(met > floor)
        np.testing.assert_array_equal(offers[0], visitor)
        np.testing.assert_array_equal(offers[1], 9000 + row)
        np.testing.assert_array_equal(offers[2], met[row, visitor])
        np.testing.assert_array_equal(
            np.sort(lists.similarities, axis=1), np.sort(met, axis=1)[:, -5:]
        )


@settings(max_examples=60)
@given(**sizes, visits=st.integers(1, 4))
def test_who_comes_again_is_known_once(rows: int, k: int, seed: int, visits: int) -> None:
    """Rows that visit each other meet twice, and are as near each time."""
    met = drawn_similarities((rows, 30), seed)
    places = np.arange(30, dtype=np.int32)
    lists, last = Lists.empty(rows, k), np.full(30, np.inf, np.float32)
    for row in range(rows):
        for j in range(30):
            lists.tell(row, j, float(met[row, j]))
    for visit in range(visits):
        some = np.random.default_rng(visit).permutation(30)
        take_visitors(
            np.ascontiguousarray(met[:, some]), places[some], last, 0, lists.places,
            lists.similarities,
        )  # fmt: skip
        to, of = np.nonzero(met > -np.inf)
        offers = to.astype(np.int32), of.astype(np.int32), met[to, of]
        take_offers(offers, 0, lists.places, lists.similarities, lists.similarities[:, 0].copy())
    lists.check()


@given(
    **sizes,
    count=st.integers(0, 200),
    first=st.sampled_from([0, 5, 1000]),
    others=st.integers(0, 9),
)
def test_lists_take_the_nearest_of_their_offers_and_say_what_is_to_be_exceeded(
    rows: int, k: int, seed: int, count: int, first: int, others: int
) -> None:
    """Offers to lists before and after these are passed over, and those of none."""
    random = np.random.default_rng(seed)
    to = random.integers(first - others, first + rows + others, count).astype(np.int32)
    of = random.integers(0, 60, count).astype(np.int32)
    near_of = drawn_similarities((rows + 2 * others, 60), seed)  # the same pair is as near again
    near = near_of[to - first + others, of]
    lists = Lists.filled(rows, k, seed)
    for one, what, how in zip(to.tolist(), of.tolist(), near.tolist(), strict=True):
        if first <= one < first + rows:
            lists.tell(one - first, what, how)
    last = lists.similarities[:, 0].copy()
    take_offers((to, of, near), first, lists.places, lists.similarities, last)
    lists.check()
    np.testing.assert_array_equal(last, lists.similarities[:, 0])


def numbers(*values: int) -> Places:
    return np.array(values, np.int32)


def test_who_is_as_near_as_the_last_does_not_enter() -> None:
    """A list of copies would change with each further one, for nothing."""
    places, similarities = np.array([[4, 5], [5, 4]], np.int32), np.ones((2, 2), np.float32)
    met, last, new = np.ones((2, 2), np.float32), np.ones(2, np.float32), numbers(8, 9)
    take_others(met, 0, places, similarities)
    assert as_list(take_visitors(met, new, last, 0, places, similarities)) == []
    take_visitors(met, new, last - 1, 0, places, similarities)  # whom visitors take
    take_offers((numbers(0, 1), new, met[0]), 0, places, similarities, last)
    assert places.tolist() == [[4, 5], [5, 4]]


def test_who_is_known_does_not_enter_again_though_other_codes_say_nearer() -> None:
    """Of a pair one may live in a tight cell, where finer codes are compared."""
    places, similarities = numbers(4, 5)[None], np.array([[0.5, 0.7]], np.float32)
    nearer, last = np.array([[0.9]], np.float32), similarities[:, 0].copy()
    take_visitors(nearer, numbers(4), np.ones(1, np.float32), 0, places, similarities)
    take_offers((numbers(0), numbers(4), nearer[0]), 0, places, similarities, last)
    assert sorted(places[0].tolist()) == [4, 5]


@given(
    before=st.integers(0, 9),
    own=st.integers(1, 9),
    after=st.integers(0, 9),
    k=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)
def test_only_a_cells_own_part_of_all_lists_is_written(
    before: int, own: int, after: int, k: int, seed: int
) -> None:
    lists, met = Lists.empty(before + own + after, k), continuous((own, own + 20), seed)
    part, visitors = slice(before, before + own), np.arange(1000, 1020, dtype=np.int32)
    for i in range(own):
        for j, near in enumerate(met[i].tolist()):
            if i != j:
                lists.tell(before + i, before + j if j < own else 1000 + j - own, near)
    some = lists.places[part], lists.similarities[part]
    take_others(met[:, :own], before, *some)
    visiting = np.ascontiguousarray(met[:, own:])
    take_visitors(visiting, visitors, np.zeros(20, np.float32), before, *some)
    lists.check()


@given(
    cells=st.integers(1, 12),
    visits=st.integers(0, 200),
    seed=st.integers(0, 10_000),
)
def test_visits_are_sorted_by_cell_and_stay_in_order(cells: int, visits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    used = random.permutation(cells)[: random.integers(1, cells + 1)]  # others have no visit
    of = used[random.integers(0, used.size, visits)].astype(np.int32)
    places = random.integers(0, 1000, visits).astype(np.int32)
    bounds = np.concatenate(([0], np.cumsum(np.bincount(of, minlength=cells))))
    before = bounds.copy()
    found = visits_by_cell(places, of, bounds)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, places[np.argsort(of, kind="stable")])
    np.testing.assert_array_equal(bounds, before)
