"""The tables of a terminal as a text: no colour, 80 columns unless the terminal's environment says otherwise."""

from __future__ import annotations

from tare_bench.analysis import Analysis

from ..terminal import render_terminal


def render(analysis: Analysis) -> str:
    """The whole report."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        render_terminal(analysis, console)
    return captured.get()
