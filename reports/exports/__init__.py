"""A run in the formats of others, by name. Each has a module of its own, which is imported when it is asked for.

What holds for all: values are in SI base units and whole, unless the format is for people; an arm that was emulated or
simulated carries that in its name; texts are made harmless for the format; what a format cannot hold (a time that is
infinite, since its trial timed out) is left out and counted, never made up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..language import LANGUAGES, current, language

if TYPE_CHECKING:
    from tare_bench.analysis import Analysis


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a run down."""

    about: str
    """Who reads it, for the help."""
    module: str
    """Below `tare_bench.reports`."""
    function: str = "render"
    """Takes an analysis, or several where the format is `joined`, and returns the text, whole."""
    joined: bool = False
    """Whether several runs make one document."""
    people: bool = False
    """Whether it has sentences, which are in the language of the rendering; all else is English, so that names last."""


FORMATS: dict[str, Format] = {
    "html": Format("the page", "html", "render_html", people=True),
    "text": Format("the tables of a terminal, whole", "exports.plain", people=True),
    "markdown": Format("a summary for a pull request or a CI job", "exports.markdown", people=True),
    "csv": Format("every sample, one a line", "exports.csv_text", "render_samples"),
    "csv-cells": Format("every cell with its comparison, one a line", "exports.csv_text", "render_cells"),
    "json": Format(
        "the answer, every cell and comparison, the memory sheets, the audit", "exports.json_text", people=True
    ),
    "pytest-benchmark": Format("pytest-benchmark compare", "exports.pytest_benchmark"),
    "bmf": Format("Bencher", "exports.bmf"),
    "github-benchmark-smaller": Format(
        "github-action-benchmark, customSmallerIsBetter", "exports.github_benchmark", "render_smaller"
    ),
    "github-benchmark-bigger": Format(
        "github-action-benchmark, customBiggerIsBetter", "exports.github_benchmark", "render_bigger"
    ),
    "junit": Format("a gate: one test case for each primary comparison", "exports.junit"),
    "openmetrics": Format("Prometheus and what reads its text", "exports.openmetrics"),
    "hyperfine": Format("the scripts of hyperfine", "exports.hyperfine"),
    "otava": Format("Apache Otava: one line a run", "exports.otava", joined=True),
}
"""In the order of the documentation."""


def render(name: str, analyses: Sequence[Analysis]) -> str:
    """Runs in the format of that name: one, or several where the format is joined. Equal runs give equal bytes."""
    found = FORMATS[name]
    module = importlib.import_module(f"tare_bench.reports.{found.module}")
    function: Callable[..., str] = getattr(module, found.function)
    with language(current() if found.people else LANGUAGES[0]):
        if found.joined:
            return function(analyses)
        [analysis] = analyses
        return function(analysis)
