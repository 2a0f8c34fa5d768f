"""A cell's series over all runs, as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import ARMS, LINE, MUTED, drawn, log_ticks
from .language import _

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .view_history import SeriesView


def history_svg(data: SeriesView) -> str:
    """One mark a run, with its interval; a line at each change point."""
    return drawn(
        data.id, f"{data.alt}{f' ({_(data.label)})' if data.label else ''}", 2.6, [lambda axes: _history(axes, data)]
    )


def _history(axes: Axes, data: SeriesView) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.axhspan(*data.region, color=LINE, alpha=0.6, linewidth=0, zorder=1)
    for step in data.changed_at:
        axes.axvline(step - 0.5, color=MUTED, linewidth=1.0, linestyle="--", zorder=2)
    axes.plot(data.nights, data.values, color=ARMS[1], linewidth=1.0, marker="o", markersize=4.5, zorder=4)
    for x, low, high in zip(data.nights, data.lows, data.highs, strict=True):
        if low is not None and high is not None and (low > 0 or not data.ratio):
            axes.plot([x, x], [low, high], color=ARMS[1], linewidth=1.2, alpha=0.7, zorder=3)
    if data.ratio:
        axes.set_yscale("log")
        log_ticks(axes.yaxis, [*data.values, *data.region])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.3g}{'×' if data.ratio else ''}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_("run, the oldest first"))
    axes.set_title(_("by its own run's baseline, {unit}", unit=data.unit), loc="left", fontsize=9, color=MUTED)
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0, which="both", labelcolor=MUTED)
