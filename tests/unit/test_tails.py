"""The 99th percentile of pooled starts: from 299 of them, with a bound that holds."""

from __future__ import annotations

import random

import pytest
from tare_bench.tails import tail


@pytest.mark.parametrize("count", [1, 8, 298])
def test_fewer_than_299_give_none(count: int) -> None:
    found = tail([float(each) for each in range(count)])
    assert (found.starts, found.value, found.bound) == (count, None, None)


def test_299_are_just_enough_and_their_greatest_is_the_bound() -> None:
    found = tail([float(each) for each in range(1, 300)])
    assert (found.value, found.bound) == (297.0, 299.0)


def test_with_more_of_them_the_bound_comes_in() -> None:
    found = tail([float(each) for each in range(1, 10_001)])
    assert found.value == 9900.0
    assert found.bound is not None
    assert 9900.0 < found.bound < 9950.0


@pytest.mark.parametrize("count", [299, 640])
def test_the_true_percentile_is_not_above_the_bound_in_95_percent(count: int) -> None:
    dice, held = random.Random(7), 0
    for _ in range(1000):
        bound = tail([dice.random() for _ in range(count)]).bound
        held += bound is not None and bound >= 0.99
    assert held >= 935
    assert held < 990
