"""The tables of a terminal as a text, for a file: no colour, 80 columns."""

from __future__ import annotations

import io

from tare_bench.analysis import Analysis

from ..terminal import render_terminal


def render(analysis: Analysis) -> str:
    """The whole report."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, color_system=None, highlight=False, _environ={})
    with console.capture() as captured:
        render_terminal(analysis, console)
    return captured.get()
