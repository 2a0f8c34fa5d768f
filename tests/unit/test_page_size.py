"""A page of many cells stays light enough to be mailed."""

from __future__ import annotations

from page import LIMITS, many
from tare_bench.analysis import analyse
from tare_bench.metrics import Metric
from tare_bench.reports.html import render_html


def test_a_page_of_fifty_metrics_of_six_drivers_is_under_its_limit() -> None:
    metrics, rounds, limits = LIMITS["50 metrics x 6 drivers x 40 rounds"]
    run = many(metrics, rounds)
    names = {sample.metric for trial in run.trials for sample in trial.samples}
    assert len(names) == 50
    known = {
        name: Metric(name=name, unit="s", better="lower", scale="ratio", title=name, definition="As drawn.")
        for name in names
    }
    text = render_html(analyse(run, known, {"boot": "bench.m00"}))
    assert all(name in text for name in names)
    assert len(text.encode()) < limits["bytes"]
