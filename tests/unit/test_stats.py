"""The statistics, against what is known of them on paper."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tare_bench import stats
from tare_bench.stats import Estimate, Region, Standing

finite = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(("level", "n"), [(0.95, 6), (0.97, 7), (0.975, 7), (0.99, 8), (0.995, 9), (0.5, 2)])
def test_an_interval_takes_as_many_values_as_order_statistics_need(level: float, n: int) -> None:
    assert stats.values_needed(level) == n
    assert 1 - 2 * 0.5**n >= level - 1e-12
    assert stats.enough(n, level)
    assert not stats.enough(n - 1, level)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.values_needed(level)


@pytest.mark.parametrize(("pairs", "level"), [(0, 0.97), (1, 0.97), (2, 0.975), (8, 0.99375)])
def test_primary_pairs_share_five_percent_and_never_fall_under_97(pairs: int, level: float) -> None:
    assert stats.primary_level(pairs) == pytest.approx(level)


def test_too_few_values_have_a_median_and_no_interval() -> None:
    assert stats.estimate([3.0, 1.0, 2.0]) == Estimate(2.0, None, None, 3)


def test_no_value_has_no_median() -> None:
    assert stats.estimate([]) is None
    assert stats.estimate([math.nan]) is None


def test_six_values_reach_nearly_from_the_least_to_the_greatest() -> None:
    found = stats.estimate([5.0, 1.0, 4.0, 2.0, 3.0, 6.0], level=0.95)
    assert found is not None
    assert found.value == 3.5
    assert found.low is not None
    assert found.low == pytest.approx(1.24, abs=0.2)
    assert found.high == pytest.approx(7 - found.low)


def test_ties_are_as_wide_as_the_resolution() -> None:
    assert stats.estimate([5.0] * 8, half_width=0.25) == Estimate(5.0, 4.75, 5.25, 8)


def test_a_median_allows_infinite_values_on_one_side() -> None:
    found = stats.estimate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, math.inf, math.inf], level=0.95)
    assert found is not None
    assert found.value == 5.5
    assert found.high == math.inf
    assert found.low is not None
    assert math.isfinite(found.low)


def test_a_median_of_timeouts_is_infinite() -> None:
    assert stats.estimate([math.inf] * 7) == Estimate(math.inf, math.inf, math.inf, 7)


@given(st.lists(finite, min_size=6, max_size=40), finite)
def test_an_interval_holds_its_median_and_moves_with_the_data(values: list[float], shift: float) -> None:
    found, moved = stats.estimate(values), stats.estimate([value + shift for value in values])
    assert found is not None
    assert moved is not None
    assert found.low is not None
    assert found.high is not None
    assert moved.low is not None
    assert min(values) <= found.low <= found.value <= found.high <= max(values)
    assert moved.low == pytest.approx(found.low + shift, abs=1e-6)


def test_log_differences_are_of_the_other_over_the_baseline() -> None:
    assert stats.log_differences([1.0, 2.0], [2.0, 1.0]) == pytest.approx([math.log(2), -math.log(2)])


def test_a_pair_without_a_ratio_is_no_number() -> None:
    found = stats.log_differences([0.0, -1.0, math.inf, 1.0, 1.0], [1.0, 1.0, math.inf, math.inf, -math.inf])
    assert [math.isnan(value) for value in found] == [True, True, True, False, False]
    assert found[3:] == [math.inf, -math.inf]


def test_differences_are_in_the_unit() -> None:
    assert stats.differences([1.0, 5.0], [4.0, 3.0]) == [3.0, -2.0]


def test_the_region_of_a_ratio_is_the_same_both_ways() -> None:
    region = stats.log_region(0.05)
    assert math.exp(region.high) == pytest.approx(1.05)
    assert region.low == pytest.approx(-region.high)


@pytest.mark.parametrize(
    ("low", "high", "place"),
    [
        (-3.0, -2.0, "below"),
        (2.0, 3.0, "above"),
        (-0.5, 0.5, "inside"),
        (-1.0, 1.0, "inside"),
        (0.5, 1.5, "undecided"),
        (-2.0, 2.0, "undecided"),
        (1.0, 2.0, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_where_an_interval_lies(low: float | None, high: float | None, place: str) -> None:
    assert stats.place(Estimate(0.0, low, high, 9), Region(-1.0, 1.0)) == place


def test_the_prediction_is_the_formula_at_97_percent() -> None:
    values, region = [0.10, 0.20, 0.25, 0.30, 0.40], Region(-0.05, 0.05)
    spread = 1.4826 * 0.05  # median 0.25, deviations 0.15 0.05 0 0.05 0.15
    expected = math.ceil((1.253 * (2.17 + 0.84) * spread / 0.20) ** 2)
    assert stats.pairs_predicted(values, region, level=0.97) == max(7, expected)
    inside = [-0.09, -0.02, 0.01, 0.04, 0.11]  # median 0.01, deviations 0.10 0.03 0 0.03 0.10
    expected = math.ceil((1.253 * (2.17 + 1.28) * 1.4826 * 0.03 / 0.04) ** 2)
    assert expected > 20
    assert stats.pairs_predicted(inside, region, level=0.97) == expected


def test_a_wide_spread_predicts_many_pairs() -> None:
    values = [-1.0, -0.5, 0.06, 0.5, 1.0]
    predicted = stats.pairs_predicted(values, Region(-0.05, 0.05), level=0.97)
    assert predicted == pytest.approx((1.253 * (2.17 + 0.84) * 1.4826 * 0.56 / 0.01) ** 2, rel=1e-3)


@pytest.mark.parametrize("values", [[], [0.05, 0.05], [math.inf]])
def test_nothing_is_predicted_from_nothing_or_from_the_very_edge(values: list[float]) -> None:
    assert stats.pairs_predicted(values, Region(-0.05, 0.05)) is None


# The stopping rule

REGION = stats.log_region(0.05)


def test_nothing_is_looked_at_before_ten_pairs_or_those_that_the_level_takes() -> None:
    assert stats.pairs_least(0.97) == 10
    assert stats.pairs_least(1 - 0.05 / 60) == 12
    assert stats.standing([1.0] * 9, REGION, 0.97, budget=50) == Standing("", 1)
    assert stats.standing([1.0] * 9, REGION, 0.97, budget=0) == Standing("beyond the budget", 1)


@pytest.mark.parametrize(
    ("middle", "closed"), [(0.3, "different"), (-0.3, "different"), (0.0, "equivalent"), (0.0488, "beyond the budget")]
)
def test_a_pair_is_closed_beyond_the_region_inside_it_or_beyond_its_budget(middle: float, closed: str) -> None:
    values = [middle + 0.001 * step for step in range(-6, 7)]
    assert stats.standing(values, REGION, 0.97, budget=50).closed == closed


def test_ending_early_takes_a_stricter_interval_than_the_verdict() -> None:
    # the least of eleven values is inside the region: at 97 % the interval is beyond it, at 99.7 % it is not
    values = [0.0, *(0.06 + 0.001 * step for step in range(10))]
    found = stats.estimate(values, 0.97)
    assert found is not None
    assert stats.place(found, REGION) == "above"
    assert stats.standing([0.0, *values], REGION, 0.97, budget=50).closed == ""


def test_a_pair_that_loses_too_many_is_closed() -> None:
    assert stats.standing([0.0] * 9, REGION, 0.97, lost=1, budget=50).closed == ""
    assert stats.standing([0.0] * 8, REGION, 0.97, lost=2, budget=50).closed == "pairs lost"
    assert stats.standing([], REGION, 0.97, lost=3, budget=50).closed == ""


def test_what_the_instrument_cannot_tell_is_not_measured_again() -> None:
    values = [0.04 + 0.01 * step for step in range(-6, 7)]
    assert stats.standing(values, REGION, 0.97, half_width=0.02, budget=50) == Standing("beyond the budget", None)


@given(spread=st.floats(0.001, 1.0), pairs=st.integers(10, 500))
def test_what_can_be_detected_is_what_the_prediction_says_turned_round(spread: float, pairs: int) -> None:
    found = stats.detectable(spread, pairs, REGION, 0.97)
    assert found > REGION.high
    needed = (1.253 * (2.17 + 0.84) * spread / (found - REGION.high)) ** 2
    assert needed == pytest.approx(pairs, rel=0.01)


def test_a_chance_estimate_near_the_edge_does_not_end_a_pair() -> None:
    # the median lies 0.003 beyond the edge: hundreds of pairs as it is, some dozens one standard error further out
    values = [0.052 + 0.016 * step for step in range(-9, 10)]
    plain = stats.pairs_predicted(values, REGION, 0.97)
    assert plain is not None
    assert plain > 1000
    found = stats.standing(values, REGION, 0.97, budget=181)
    assert (found.closed, found.further) == ("", plain - len(values))
    assert stats.standing(values, REGION, 0.97, budget=10).closed == "beyond the budget"
    exact = [REGION.high] * 12
    assert stats.pairs_predicted(exact, REGION, 0.97, spare=1.0) is None
