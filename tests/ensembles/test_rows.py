"""Rows that only become more: what a ring of NumPy's holds, and values that never change."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_imitation.ensembles import _rows
from consensus_imitation.ensembles._rows import Block, Rows
from consensus_imitation.errors import ConfigurationError


def row(number: int) -> Any:
    return {"seen": np.array([number, -number], np.int16), "answer": np.int32(number % 7)}


def rows_of(count: int, capacity: int) -> Rows:
    rows = Rows.like(row(0), capacity)
    for number in range(count):
        rows = rows.appended(row(number))
    return rows


def ring_of(numbers: list[int], capacity: int) -> np.ndarray:
    """What a ring holds after these rows."""
    ring = np.zeros((capacity, 2), np.int16)
    for i, number in enumerate(numbers):
        ring[i % capacity] = row(number)["seen"]
    return ring


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(_rows, "_FEWEST", 3)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 100])
def test_it_holds_what_a_ring_holds(capacity: int) -> None:
    for count in (0, 1, 2, 3, 4, 7, 8, 20):
        rows, expected = rows_of(count, capacity), ring_of(list(range(count)), capacity)
        assert (rows.stored, rows.size) == (count, min(count, capacity))
        np.testing.assert_array_equal(rows.ring(capacity)["seen"], expected)
        np.testing.assert_array_equal(rows.at(np.arange(rows.size)[::-1])["seen"], expected[: rows.size][::-1])
        again = Rows.from_ring(rows.kind, rows.ring(capacity), count, capacity).appended(row(99))
        np.testing.assert_array_equal(again.ring(capacity)["seen"], ring_of([*range(count), 99], capacity))
        for begun in range(count + 1):
            extended = rows_of(begun, capacity).extended(rows.ring(capacity), count).appended(row(99))
            np.testing.assert_array_equal(extended.ring(capacity)["seen"], ring_of([*range(count), 99], capacity))
        with pytest.raises(IndexError):
            rows.at(np.array([rows.size]))
        with pytest.raises(IndexError):
            rows.at(np.array([-1]))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1000)), max_size=40), st.integers(1, 9))
def test_values_never_change_whoever_goes_on_from_which(choices: list[tuple[int, int]], capacity: int) -> None:
    """Each choice goes on from one of the values so far; every one of them stays what its own list says."""
    fewest, _rows._FEWEST, size, _rows._BLOCK_BYTES = _rows._FEWEST, 3, _rows._BLOCK_BYTES, 1
    try:
        values: list[tuple[Rows, list[int]]] = [(Rows.like(row(0), capacity), [])]
        for which, number in choices:
            rows, numbers = values[which % len(values)]
            values.append((rows.appended(row(number)), [*numbers, number]))
        for rows, numbers in values:
            np.testing.assert_array_equal(rows.ring(capacity)["seen"], ring_of(numbers, capacity))
    finally:
        _rows._FEWEST, _rows._BLOCK_BYTES = fewest, size


def test_one_row_more_is_written_in_place_and_another_branch_copies_one_block() -> None:
    rows = rows_of(10, 1000)
    one, other = rows.appended(row(10)), rows.appended(row(11))
    assert one.blocks == rows.blocks
    assert other.blocks[-1] is not rows.blocks[-1]
    assert other.blocks[:-1] == rows.blocks[:-1]
    assert (one.at(np.array([10]))["answer"], other.at(np.array([10]))["answer"]) == (10 % 7, 11 % 7)
    assert other.appended(row(12)).blocks == other.blocks


def test_a_place_that_an_interrupt_left_is_not_used_again() -> None:
    rows = rows_of(10, 1000)
    assert rows.blocks[-1].claim() == 10
    after = rows.appended(row(10)).appended(row(11))
    np.testing.assert_array_equal(after.ring(1000)["seen"], ring_of(list(range(12)), 1000))


@pytest.mark.usefixtures("small_blocks")
def test_blocks_of_which_nothing_is_left_are_let_go() -> None:
    rows = rows_of(100, 7)
    assert len(rows.blocks) <= 7 // 3 + 2
    assert rows.num_bytes == len(rows.blocks) * 3 * 8
    assert len(rows_of(100, 1000).blocks) == 34


@pytest.mark.parametrize(
    ("shape", "fewest", "most"), [((), 4096, 4096), ((96, 96, 3), 37, 37), ((999, 999, 9), 16, 16)]
)
def test_blocks_are_of_about_a_megabyte(shape: tuple[int, ...], fewest: int, most: int) -> None:
    assert fewest <= Rows.like(np.zeros(shape, np.uint8), 10).kind.in_block <= most


def test_rows_of_another_kind_are_refused() -> None:
    rows = rows_of(3, 10)
    for other in (row(1)["seen"], row(1) | {"answer": np.int64(1)}, row(1) | {"seen": np.zeros(3, np.int16)}):
        with pytest.raises(ConfigurationError, match="another kind"):
            rows.appended(other)
    ring = rows.ring(10)
    for stored, capacity in ((-1, 10), (11, 11), (3, 2)):
        with pytest.raises(ConfigurationError, match="cannot have arrays"):
            Rows.from_ring(rows.kind, ring, stored, capacity)
    with pytest.raises(ConfigurationError, match="another kind"):
        Rows.from_ring(rows.kind, {**ring, "answer": np.zeros((10, 1), np.int32)}, 3, 10)


def test_what_is_appended_and_read_is_copied() -> None:
    mine = row(1)
    rows = rows_of(1, 10).appended(mine)
    mine["seen"][:] = 9
    rows.at(np.arange(2))["seen"][:] = 9
    rows.ring(10)["seen"][:] = 9
    np.testing.assert_array_equal(rows.ring(10)["seen"], ring_of([0, 1], 10))


def test_threads_that_go_on_from_one_value_do_not_meet() -> None:
    rows = rows_of(5, 10_000)
    ends: dict[int, Rows] = {}

    def go_on(own: int) -> None:
        mine = rows
        for number in range(own, own + 400):
            mine = mine.appended(row(number))
        ends[own] = mine

    threads = [threading.Thread(target=go_on, args=(1000 * i,)) for i in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own, mine in ends.items():
        expected = ring_of([*range(5), *range(own, own + 400)], 10_000)
        np.testing.assert_array_equal(mine.ring(10_000)["seen"], expected)


def test_a_place_is_given_away_once() -> None:
    block = Block(Rows.like(row(0), 10).kind, 4)
    assert [block.claim() for _ in range(3)] == [4, 5, 6]
