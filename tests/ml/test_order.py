"""The order of rows is arithmetic: every row once, the same whoever makes the batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import UsageError
from datasnap.ml.loaders.order import Epoch, Numbers, Order, Share, shuffled

COUNTS = st.lists(st.integers(0, 40), max_size=10).map(lambda n: np.array(n, np.int64))
ORDERS = st.builds(
    Order,
    batch_size=st.integers(1, 25),
    shuffle=st.booleans(),
    seed=st.integers(0, (1 << 63) - 1),
    window=st.integers(1, 60),
    lanes=st.integers(1, 6),
    drop_last=st.booleans(),
)


def rows_of(epoch: Epoch, counts: Numbers, batch: int) -> Numbers:
    """The rows of a batch, by their numbers among all."""
    starts = np.cumsum(counts) - counts
    found = []
    for window, place in epoch.parts(batch):
        pieces = [np.arange(p.start, p.stop) + starts[p.segment] for p in window.pieces]
        rows = np.concatenate(pieces)
        order = epoch.permutation(window)
        found.append((rows if order is None else rows[order])[place])
    return np.concatenate(found)


@given(COUNTS, ORDERS, st.integers(0, 3))
def test_every_row_is_in_one_batch_of_an_epoch(counts: Numbers, order: Order, number: int) -> None:
    epoch = Epoch(counts, order, number)
    batches = [rows_of(epoch, counts, batch) for batch in range(epoch.batches)]
    rows = np.concatenate([np.zeros(0, np.int64), *batches])
    total, size = int(counts.sum()), order.batch_size
    assert len(rows) == (total // size * size if order.drop_last else total)
    assert len(np.unique(rows)) == len(rows)
    assert all(len(batch) == size for batch in batches[:-1])
    if not order.shuffle:
        assert (rows == np.arange(len(rows))).all()
    asked = [epoch.batch_of(at, row) for at, count in enumerate(counts) for row in range(count)]
    batch_of = {row: at for at, batch in enumerate(batches) for row in batch.tolist()}
    assert asked == [batch_of.get(row) for row in range(total)]


@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9), st.booleans())
def test_batches_taken_from_workers_in_turn_are_those_of_one(
    batches: int, ranks: int, workers: int, first: int, keep: bool
) -> None:
    uneven = "keep" if keep else "pad"
    for rank in range(ranks):
        alone = Share(rank, ranks, 0, 1, uneven).numbers(batches, first).tolist()
        shares = [Share(rank, ranks, w, workers, uneven) for w in range(workers)]
        made = [share.numbers(batches, first).tolist() for share in shares]
        turns = [made[i % workers][i // workers] for i in range(sum(map(len, made)))]
        assert turns == alone
        left = [share.numbers(batches, first, 1).tolist() for share in shares]
        assert left == [numbers[1:] for numbers in made]


@given(st.integers(0, 40), st.integers(1, 5))
def test_ranks_get_equally_many_batches_unless_they_are_to_differ(batches: int, ranks: int) -> None:
    def counts(uneven: str) -> list[int]:
        return [Share(r, ranks, uneven=uneven).of_rank(batches) for r in range(ranks)]  # type: ignore[arg-type]

    assert set(counts("pad")) == {-(-batches // ranks)}
    assert set(counts("drop")) == {batches // ranks}
    assert sum(counts("keep")) == batches
    padded = [n for r in range(ranks) for n in Share(r, ranks).numbers(batches).tolist()]
    assert set(padded) == set(range(batches))


def test_workers_of_a_divisor_of_the_lanes_share_no_window() -> None:
    counts = np.full(40, 100)
    epoch = Epoch(counts, Order(batch_size=10, shuffle=True, window=100, lanes=4), 0)
    seen = [
        {w for n in Share(0, 1, worker, 2).numbers(epoch.batches) for w, _ in epoch.parts(int(n))}
        for worker in range(2)
    ]
    assert not seen[0] & seen[1]


def test_another_epoch_and_another_seed_are_another_order() -> None:
    counts = np.array([50, 70, 30])

    def rows(seed: int, epoch: int) -> list[int]:
        made = Epoch(counts, Order(batch_size=16, shuffle=True, seed=seed, window=64), epoch)
        return np.concatenate([rows_of(made, counts, b) for b in range(made.batches)]).tolist()

    orders = [rows(*key) for key in ((0, 0), (0, 1), (1, 0), (1 << 32, 0))]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])
    assert rows(5, 2) == rows(5, 2)


def test_a_shuffle_is_the_same_with_every_version_of_numpy() -> None:
    assert shuffled(10, 7, 0).tolist() == [8, 0, 7, 1, 3, 6, 2, 4, 5, 9]
    assert shuffled(10, 7, 0, 0, 0, 0, 1).tolist() == GOLDEN


GOLDEN = [2, 5, 7, 3, 0, 4, 6, 9, 8, 1]


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"batch_size": 0}, {"window": 0}, {"lanes": 0}, {"seed": -1}):
        with pytest.raises(UsageError):
            Order(**{"batch_size": 8, **wrong})
    with pytest.raises(UsageError, match="no rank 2 among 2"):
        Share(2, 2)
