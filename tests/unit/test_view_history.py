"""Section 9: sparklines, series, change points with what changed that night, and what was acknowledged."""

from __future__ import annotations

from functools import cache

import msgspec
from nights import night, seen
from tare_bench.nights import History, Step, history
from tare_bench.reports.html import render_html
from tare_bench.reports.view_history import SPARK_HEIGHT, history_view, history_words

NIGHTS = 12


@cache
def _history(*, acknowledged: str = "", nights: int = NIGHTS) -> History:
    def slower(arm: str, metric: str, block: int) -> float:
        return 1.3 if arm == "native" and metric.startswith("boot.") else 1.0

    runs = [seen(night(number, host={"kernel": "6.1"})) for number in range(3)]
    runs += [seen(night(number, slower, {"kernel": "6.2"})) for number in range(3, nights)]
    found = history(runs)
    step = Step(night=3, before=0.0122, after=0.0159, kind="loss", acknowledged=acknowledged)
    series = [
        msgspec.structs.replace(each, steps=[step]) if (each.row.metric, each.arm) == ("boot.ready", "native") else each
        for each in found.series
    ]
    return msgspec.structs.replace(found, series=series)


def test_a_change_point_is_told_with_its_size_its_night_and_what_changed_then() -> None:
    found = _history()
    (words,) = history_words(found)
    assert words == "Changed over 12 runs: Boot to ready, native: loss of 1.30× at run 20261104-030000-aa03."
    first = history_view(found).series[0]
    assert (first.title, first.arm) == ("Boot to ready", "native")
    (step,) = first.steps
    assert (step.kind, step.said) == ("worse", "loss: from 0.0122× to 0.0159×")
    assert [(fact.name, fact.before, fact.after) for fact in step.facts] == [("kernel", "6.1", "6.2")]


def test_what_was_acknowledged_is_no_news_and_is_shown_as_such() -> None:
    found = _history(acknowledged="the new image, reviewed by A")
    assert history_words(found) == ["12 runs, no change that was not acknowledged."]
    assert history_view(found).series[0].steps[0].acknowledged == "the new image, reviewed by A"


def test_of_too_few_runs_nothing_is_claimed() -> None:
    found = _history(nights=5)
    assert history_words(found) == []
    assert "In fewer than 12 runs no change can be told from noise." in history_view(found).lede


def test_a_sparkline_breaks_where_a_night_has_no_value_and_stays_inside() -> None:
    found = _history()
    gaps = [
        msgspec.structs.replace(each, points=[point for point in each.points if point.night != 2])
        for each in found.series
    ]
    view = history_view(msgspec.structs.replace(found, series=gaps))
    for each in view.series:
        assert len(each.spark.lines) == 2
        heights = [float(point.split(",")[1]) for line in each.spark.lines for point in line.split()]
        assert 0 <= min(heights) <= max(heights) <= SPARK_HEIGHT
        assert len(each.table) == NIGHTS - 1


def test_noise_within_what_does_not_matter_is_drawn_flat() -> None:
    cpu = next(each for each in history_view(_history()).series if "sysbench" in each.row_id and each.arm == "native")
    heights = [float(point.split(",")[1]) for line in cpu.spark.lines for point in line.split()]
    assert max(heights) - min(heights) < SPARK_HEIGHT / 3


def test_exploratory_series_without_a_change_are_counted_and_emulated_ones_labelled() -> None:
    view = history_view(_history())
    assert all(each.primary for each in view.series)
    assert view.left_out.endswith("are left out.")
    assert {each.label for each in view.series if each.arm == "kvm"} == {"EMULATED"}


def test_the_page_of_many_runs_is_the_latest_s_with_the_series() -> None:
    found = _history()
    page = render_html(seen(night(NIGHTS - 1)), None, found)
    assert 'id="history"' in page
    assert "20261112-030000-aa11" in page
    assert page.count('class="mark spark"') == len(history_view(found).series)
    assert 'id="history"' not in render_html(seen(night(1)))
