"""Change points: what is claimed of them, in simulation, from fixed seeds."""

from __future__ import annotations

import math
import random

import pytest
from tare_bench.changes import LEAST_HISTORY, change_points, levels

TEN_PERCENT = math.log(1.1)


def nights(dice: random.Random, count: int, spread: float, step: float = 0.0, at: int = 0) -> list[float]:
    return [dice.gauss(0, spread) + (step if number >= at else 0.0) for number in range(count)]


def test_false_alarms_in_90_nights_are_as_few_as_is_claimed() -> None:
    dice = random.Random(11)
    alarms = sum(bool(change_points(nights(dice, 90, 0.03))) for _ in range(400))
    assert alarms <= 8, "more than 2 % of series without a step have one"


def test_stragglers_make_no_level() -> None:
    dice = random.Random(12)
    series = [nights(dice, 90, 0.02) for _ in range(200)]
    for each in series:
        for _ in range(4):
            each[dice.randrange(90)] += dice.choice([-1, 1]) * 0.5
    assert sum(bool(change_points(each)) for each in series) <= 4


def _found_within(dice: random.Random, spread: float, limit: int) -> bool:
    values = nights(dice, 40 + limit, spread, TEN_PERCENT, 40)
    return any(
        any(abs(place - 40) <= 2 for place in change_points(values[:length])) for length in range(43, 41 + limit)
    )


@pytest.mark.parametrize(("spread", "least"), [(0.01, 0.97), (0.02, 0.9)])
def test_a_step_of_10_percent_is_found_within_5_nights(spread: float, least: float) -> None:
    dice = random.Random(13)
    found = sum(_found_within(dice, spread, 5) for _ in range(200))
    assert found >= least * 200


def test_200_nights_with_known_steps_have_those_and_hardly_any_other() -> None:
    dice = random.Random(14)
    steps = {50: 0.1, 100: -0.12, 160: 0.15}
    wrong = 0
    for _ in range(20):
        level = 0.0
        values = []
        for number in range(200):
            level += steps.get(number, 0.0)
            values.append(level + dice.gauss(0, 0.02))
        found = change_points(values)
        assert all(any(abs(place - at) <= 2 for place in found) for at in steps)
        wrong += sum(all(abs(place - at) > 2 for at in steps) for place in found)
    assert wrong <= 2


def test_each_level_has_its_median() -> None:
    assert levels([1.0, 1.0, 9.0, 5.0, 5.0, 6.0], [3]) == [1.0, 5.0]
    assert levels([1.0, 2.0, 3.0], []) == [2.0]


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 6 + [9.0] * 3, [2.0] * 50])
def test_few_nights_and_a_series_that_never_varies_have_none(values: list[float]) -> None:
    assert change_points(values) == []


def test_what_the_instrument_cannot_tell_apart_is_no_change() -> None:
    values = [1.0] * 20 + [1.001] * 20
    assert change_points(values, least_spread=0.01) == []
    assert change_points([*values[:20], *(value + 0.1 for value in values[20:])], least_spread=0.01) == [20]


@pytest.mark.parametrize("odd", [math.inf, math.nan])
def test_what_is_no_number_is_refused(odd: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        change_points([1.0, 2.0, odd, 3.0, 4.0, 5.0])


def test_twelve_nights_are_enough_for_a_large_step_and_fewer_never_are() -> None:
    dice = random.Random(15)
    assert change_points(nights(dice, LEAST_HISTORY, 0.01, 0.5, 8)) == [8]
    assert change_points(nights(dice, LEAST_HISTORY - 1, 0.01, 0.5, 7)) == []
