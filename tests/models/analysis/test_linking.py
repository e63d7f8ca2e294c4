"""The k nearest others of all rows, against brute force; threads and kills change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.analysis import linking as module
from models.analysis import meeting as meetings
from models.analysis.linking import linked
from models.analysis.nearest_so_far import take_offers
from models.analysis.visiting import Reach, reach_for
from models.indexes import cells as cells_module
from models.indexes.cells import Cells
from models.indexes.faiss_library import library, use_threads
from models.indexes.recall import ground_truth
from models.indexes.streams import sample
from models.types import ArrayVectors, Matrix, Metric, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.analysis.nearest_so_far import Offers
    from models.indexes.results import Neighbours

    Similarities = npt.NDArray[np.float64]

METRICS = list(Metric)
ALL_METRICS = pytest.mark.parametrize("metric", METRICS)
DIM, K = 16, 10


def gaussian(rows: int, dim: int = DIM, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def lumpy(rows: int, spread: float = 0.7, seed: int = 0) -> Matrix:
    """Rows around 30 centres, of which the first ones have many."""
    random = np.random.default_rng(seed)
    of = (30 * random.random(rows) ** 2).astype(np.int64)
    found: Matrix = gaussian(30, seed=seed)[of] + np.float32(spread) * gaussian(rows, seed=seed + 1)
    return found


def exactly(matrix: Matrix, metric: Metric) -> Similarities:
    """All similarities by brute force; -inf for a row and itself."""
    x = (normalised(matrix) if metric is Metric.COSINE else matrix).astype(np.float64)
    found = x @ x.T
    if metric is Metric.L2:
        found = -np.square(x[:, None] - x).sum(axis=2) if len(x) < 1500 else _apart(x)
    np.fill_diagonal(found, -np.inf)
    return found


def _apart(x: Similarities) -> Similarities:
    x = x - x.mean(axis=0)
    squares = np.square(x).sum(axis=1)
    found: Similarities = 2 * x @ x.T - squares[:, None] - squares
    return found


def sizes(matrix: Matrix, metric: Metric) -> Similarities:
    """By how much similarities may be off, in units of rounding: (rows, rows)."""
    x = (normalised(matrix) if metric is Metric.COSINE else matrix).astype(np.float64)
    if metric is Metric.L2:
        x = x - x.mean(axis=0)
    lengths = np.linalg.norm(x, axis=1)
    pairs = np.maximum if metric is Metric.L2 else np.minimum
    found: Similarities = pairs(lengths[:, None], lengths) * np.maximum(lengths[:, None], lengths)
    return found


def fitted(
    matrix: Matrix, metric: Metric, share: float = 0.9, k: int = K, *, precise: bool = True
) -> Reach:
    vectors = ArrayVectors(matrix)
    cells = Cells.of(vectors, metric, precise=precise)
    truth = ground_truth(vectors, sample(vectors.rows, 800, 0), k, metric)
    return reach_for(cells, truth, share)


def everywhere(matrix: Matrix, metric: Metric) -> Reach:
    """All rows visit all cells."""
    cells = Cells.of(ArrayVectors(matrix), metric)
    return Reach(cells, cells.near(cells.count), np.inf)


def check_lists(found: Neighbours, matrix: Matrix, metric: Metric) -> None:
    """What holds for any lists: others only, each once, nearest first, as near as they are."""
    rows, k = found.rows.shape
    own = np.arange(rows)[:, None]
    assert (found.rows != own).all()
    ordered = np.sort(found.rows, axis=1)
    assert ((np.diff(ordered, axis=1) > 0) | (ordered[:, 1:] == -1)).all()
    assert (found.similarities[:, :-1] >= found.similarities[:, 1:]).all()
    none = found.rows == -1
    assert np.array_equal(none, np.isneginf(found.similarities))
    true = np.take_along_axis(exactly(matrix, metric), np.maximum(found.rows, 0), axis=1)
    true[none] = 0
    given = np.where(none, 0, found.similarities)
    off = np.take_along_axis(sizes(matrix, metric), np.maximum(found.rows, 0), axis=1)
    assert (np.abs(given - true) <= 2e-4 * off + 1e-30).all()
    assert k == found.similarities.shape[1]


def recall(found: Neighbours, matrix: Matrix, metric: Metric) -> float:
    """The share of the true neighbours, where any that is as near (but for rounding) is one."""
    true = exactly(matrix, metric)
    k = min(found.rows.shape[1], len(matrix) - 1)
    least = -np.partition(-true, k - 1, axis=1)[:, k - 1]
    reached = np.take_along_axis(true, np.maximum(found.rows, 0), axis=1)
    reached[found.rows == -1] = -np.inf
    fuzz = 1e-7 * sizes(matrix, metric).max(axis=1)
    return float((reached[:, :k] >= (least - fuzz)[:, None]).mean())


def equal(one: Neighbours, other: Neighbours) -> bool:
    return bool(
        np.array_equal(one.rows, other.rows)
        and np.array_equal(one.similarities, other.similarities)
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cells have 20 rows on average: small sets have many."""
    monkeypatch.setattr(cells_module, "CELL_ROWS", 20)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = library().omp_get_max_threads()
    yield
    use_threads(before)


@pytest.mark.usefixtures("small")
@ALL_METRICS
@pytest.mark.parametrize("share", [0.7, 0.9, 0.97])
def test_lists_hold_the_share_that_is_asked_for(metric: Metric, share: float) -> None:
    matrix = lumpy(3000)
    reach = fitted(matrix, metric, share)
    visits = sum(reach.visits(cell)[0].size for cell in range(reach.cells.count))
    assert visits < 0.8 * 3000 * reach.cells.count
    found = linked(reach, K)
    check_lists(found, matrix, metric)
    assert share - 0.005 <= recall(found, matrix, metric) <= share + 0.06


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_rows_that_live_alone_have_whole_lists(metric: Metric) -> None:
    """A tenth of the neighbours is asked for: few cells are visited, and some have one row."""
    matrix = lumpy(1500, 0.2)
    matrix[:40] = 3 * gaussian(40, seed=9)
    reach = fitted(matrix, metric, 0.1)
    assert reach.cells.lengths.min() < K
    found = linked(reach, K)
    check_lists(found, matrix, metric)
    assert (found.rows >= 0).all()


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_vectors_in_8_bits_hold_nearly_as_much(metric: Metric) -> None:
    matrix = lumpy(2000)
    found = linked(fitted(matrix, metric, precise=False), K)
    assert (found.rows != np.arange(2000)[:, None]).all()
    assert (np.diff(found.similarities, axis=1) <= 0).all()
    assert recall(found, matrix, metric) > 0.8


@pytest.mark.usefixtures("small")
@ALL_METRICS
@pytest.mark.parametrize("k", [1, 7, 30])
def test_where_all_meet_and_bytes_are_exact_it_is_brute_force(
    metric: Metric, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of whole numbers up to 127, with their opposites: what codes hold without loss."""
    monkeypatch.setattr(cells_module, "_TRAINED", 600)  # all rows, whose mean is 0
    half = np.random.default_rng(1).integers(-126, 127, (300, 12)).astype(np.float32)
    half[np.arange(300), np.arange(300) % 12] = 127
    matrix = np.concatenate((half, -half))
    reach = everywhere(matrix, metric)
    assert reach.cells.count > 15
    found = linked(reach, k)
    check_lists(found, matrix, metric)
    expected = -np.sort(-exactly(matrix, metric), axis=1)[:, :k]
    np.testing.assert_allclose(found.similarities, expected, rtol=2e-5, atol=1e-6)
    if metric is not Metric.COSINE:  # whole numbers: not even rounding
        reached = np.take_along_axis(exactly(matrix, metric), found.rows, axis=1)
        np.testing.assert_array_equal(reached, expected)


@ALL_METRICS
def test_where_all_meet_hardly_a_neighbour_is_lost_by_rough_codes(metric: Metric) -> None:
    for matrix in (gaussian(1500), gaussian(1500) + np.float32(20), lumpy(1500)):
        if metric is not Metric.L2 and matrix.mean() > 10:
            continue  # nearly parallel vectors
        found = linked(everywhere(matrix, metric), K)
        check_lists(found, matrix, metric)
        assert recall(found, matrix, metric) > 0.998


@ALL_METRICS
@pytest.mark.parametrize("rows", [1, 2, 5, 12, 20, 90])
def test_few_rows_link_with_all_others_and_leave_the_rest_empty(metric: Metric, rows: int) -> None:
    matrix = gaussian(rows)
    found = linked(fitted(matrix, metric, k=16), 16)
    check_lists(found, matrix, metric)
    assert ((found.rows >= 0).sum(axis=1) == min(16, rows - 1)).all()
    if rows > 1:
        assert recall(found, matrix, metric) > 0.99


@pytest.mark.usefixtures("own_threads", "small")
@ALL_METRICS
def test_threads_do_not_matter(metric: Metric) -> None:
    matrix = np.concatenate((lumpy(1800), np.repeat(gaussian(4), 50, axis=0)))
    found = []
    for threads in (1, 2):
        use_threads(threads)
        found.append(linked(fitted(matrix, metric), K))
    assert equal(*found)


class _KilledError(Exception):
    """Stands for the end of a process."""


class _OnDisk:
    """Parts as a run leaves them, which may be killed after any."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.saved: list[str] = []
        self.parts: dict[str, list[Any]] = {}

    def load(self, name: str) -> list[Any] | None:
        return self.parts.get(name)

    def save(self, name: str, arrays: list[Any]) -> None:
        self.saved.append(name)
        self.parts[name] = [one.copy() for one in arrays]
        if len(self.saved) == self.kill_at:
            raise _KilledError


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_a_run_killed_after_any_part_goes_on_to_the_same_lists(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = lumpy(1500)
    expected = linked(fitted(matrix, metric), K)
    monkeypatch.setattr(module, "_KEPT_PARTS", 7)
    whole = _OnDisk()
    assert equal(expected, linked(fitted(matrix, metric), K, kept=whole))
    names = whole.saved
    assert len(names) == len(set(names)) >= 6
    for parts in range(1, len(names) + 1):
        disk = _OnDisk(kill_at=parts)
        with pytest.raises(_KilledError):
            linked(fitted(matrix, metric), K, kept=disk)
        disk.kill_at, disk.saved = None, []
        assert equal(linked(fitted(matrix, metric), K, kept=disk), expected)
        assert disk.saved == names[parts:]  # no part is made again


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seeds", [(0, 1), (1, 0)])
def test_what_was_kept_of_other_cells_is_not_taken(seeds: tuple[int, int]) -> None:
    """As another processor makes them of the same vectors: here, another seed does."""
    matrix = lumpy(1500)
    vectors = ArrayVectors(matrix)
    truth = ground_truth(vectors, sample(1500, 800, 0), K, Metric.L2)
    one, other = (reach_for(Cells.of(vectors, Metric.L2, seed), truth, 0.9) for seed in seeds)
    disk = _OnDisk(kill_at=3)
    with pytest.raises(_KilledError):
        linked(one, K, kept=disk)
    disk.kill_at, disk.saved = None, []
    assert equal(linked(other, K, kept=disk), linked(other, K))
    assert len(disk.saved) == 4  # those of the other cells are replaced
    disk.saved = []
    assert equal(linked(other, K, kept=disk), linked(other, K))
    assert disk.saved == []


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many offers each turn has held."""
    seen: list[int] = []

    def counted(offers: Offers, first: int, *lists: Any) -> None:
        if first == 0:  # other threads are given the same
            seen.append(offers[0].size)
        take_offers(offers, first, *lists)

    monkeypatch.setattr(meetings, "take_offers", counted)
    return seen


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_exact_copies_find_each_other_and_offer_little(metric: Metric, offered: list[int]) -> None:
    """Of 2,500 copies each has thousands of nearest others, and lists of the first it meets."""
    matrix = np.concatenate((np.repeat(gaussian(2), [2000, 500], axis=0), lumpy(1500)))
    found = linked(fitted(matrix, metric), K)
    check_lists(found, matrix, metric)
    assert recall(found, matrix, metric) >= 0.9
    if metric is not Metric.INNER_PRODUCT:
        assert (found.rows[:2000] < 2000).all()
        assert ((found.rows[2000:2500] >= 2000) & (found.rows[2000:2500] < 2500)).all()
    assert sum(offered) < 25 * K * 4000


@pytest.mark.usefixtures("small")
@ALL_METRICS
def test_popular_rows_take_no_more_than_others(metric: Metric, offered: list[int]) -> None:
    """A few rows in the middle are neighbours of thousands: their own lists stay short."""
    matrix = gaussian(3000, 40)
    matrix[:30] *= np.float32(0.02 if metric is Metric.L2 else 4)
    found = linked(fitted(matrix, metric), K)
    check_lists(found, matrix, metric)
    if metric is not Metric.COSINE:
        assert np.isin(found.rows, np.arange(30)).mean() > 0.4
    assert recall(found, matrix, metric) >= 0.895
    assert sum(offered) < 25 * K * 3000


@pytest.mark.usefixtures("small")
def test_inner_products_of_very_different_lengths() -> None:
    lengths = np.float32(10) ** np.random.default_rng(2).uniform(-2, 2, 2500).astype(np.float32)
    matrix = lumpy(2500) * lengths[:, None]
    found = linked(fitted(matrix, Metric.INNER_PRODUCT), K)
    check_lists(found, matrix, Metric.INNER_PRODUCT)
    assert recall(found, matrix, Metric.INNER_PRODUCT) >= 0.895


@ALL_METRICS
@pytest.mark.parametrize("spread", [0.1, 0.01])
def test_hundreds_of_near_copies_are_told_apart(metric: Metric, spread: float) -> None:
    """Rows nearer to each other than a step of the rough codes still have an order."""
    matrix = np.repeat(gaussian(6, 32), 400, axis=0) + np.float32(spread) * gaussian(2400, 32, 1)
    found = linked(fitted(matrix, metric), K)
    check_lists(found, matrix, metric)
    assert recall(found, matrix, metric) >= 0.85


def test_zero_vectors_are_linked_like_any_others() -> None:
    matrix = lumpy(600)
    matrix[::3] = 0
    for metric in METRICS:
        found = linked(fitted(matrix, metric), K)
        check_lists(found, matrix, metric)
        assert recall(found, matrix, metric) >= 0.9


def test_progress_ends_at_one() -> None:
    seen: list[float] = []

    def progress(step: str, fraction: float) -> None:
        assert step == "graph"
        seen.append(fraction)

    linked(fitted(lumpy(400), Metric.L2), K, progress=progress)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
