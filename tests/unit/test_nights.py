"""Many runs in their order: series of ratios to each night's own baseline, and what changed on the way."""

from __future__ import annotations

import msgspec
import pytest
from nights import night, seen
from tare_bench.nights import History, Series, history


def _series(found: History, metric: str, arm: str) -> Series:
    return next(each for each in found.series if each.row.metric == metric and each.arm == arm)


def test_a_series_has_each_night_s_own_comparison() -> None:
    runs = [seen(night(number)) for number in range(3)]
    found = history(runs)
    series = _series(found, "boot.ready", "native")
    assert [point.night for point in series.points] == [0, 1, 2]
    for run, point in zip(runs, series.points, strict=True):
        item = run.comparison(series.row, "native")
        assert item is not None
        assert point.effect == item.effect
    assert series.primary


def test_facts_of_a_night_are_what_differs_from_the_one_before_without_what_is_volatile() -> None:
    hosts = [{"kernel": "6.1", "busy": "0.0"}, {"kernel": "6.1", "busy": "0.3"}, {"kernel": "6.2", "busy": "0.1"}]
    found = history([seen(night(number, host=host)) for number, host in enumerate(hosts)])
    assert [[change.name for change in each.facts] for each in found.nights] == [[], [], ["kernel"]]


def test_emulated_memory_has_no_series_and_an_emulated_arm_is_called_so() -> None:
    found = history([seen(night(number)) for number in range(2)])
    assert not [each for each in found.series if each.row.metric.startswith("memory.") and each.arm == "kvm"]
    assert _series(found, "boot.ready", "kvm").accelerator == "tcg"


def test_a_night_without_a_cell_leaves_a_gap_and_a_failed_one_is_counted() -> None:
    runs = [seen(night(number)) for number in range(3)]
    less = [item for item in runs[1].comparisons if item.row.workload != "redis"]
    runs[1] = msgspec.structs.replace(runs[1], comparisons=less, outcomes={"ok": 3, "failed": 2, "timeout": 1})
    found = history(runs)
    assert [point.night for point in _series(found, "redis.get.rate", "native").points] == [0, 2]
    assert [each.failed for each in found.nights] == [0, 3, 0]


def test_no_run_is_no_history() -> None:
    with pytest.raises(ValueError, match="needs a run"):
        history([])
