"""What is folded away under a row's name: shares of its trials, drift along the run, and pairs block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .figures import ARMS, LINE, MUTED, SHAPES, arm_in_key, drawn, log_ticks, thinned, time_axis
from .language import _

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .view_charts import Strip
    from .view_points import Detail


def detail_svg(data: Detail, title: str) -> str:
    """Three panels: the ECDF, the values in run order, and each block's pair. The colours are those of the strip."""
    panels = [lambda axes: _ecdf(axes, data.strip), lambda axes: _order(axes, data.strip)]
    if data.pairs:
        panels.append(lambda axes: _pairs(axes, data))
    names = [arm_in_key(series.arm, series.label) for series in data.strip.series]
    return drawn(f"detail-{data.strip.id}", title, 2.9, panels, names)


def _ecdf(axes: Axes, data: Strip) -> None:
    """The share of trials that were at most this much."""
    time_axis(axes, data.log, data.unit, [x for each in data.series for x in each.values], narrow=True)
    for place, series in enumerate(data.series):
        ordered = sorted(series.values)
        total = len(ordered) + series.censored  # what timed out is later than all of them
        chosen = sorted(thinned(ordered))
        x, y = [ordered[index] for index in chosen], [(index + 1) / total for index in chosen]
        axes.step(x, y, where="post", color=ARMS[place % 6], linewidth=1.4)
    axes.set_ylim(0, 1.03)
    axes.set_title(_("share of trials at most"), loc="left", fontsize=9, color=MUTED)
    _percent(axes)


def _order(axes: Axes, data: Strip) -> None:
    """Each value over its own arm's median: a drift of a few percent shows beside arms that differ a thousandfold."""
    for place, series in enumerate(data.series):
        if not series.median:
            continue
        chosen = thinned(series.values)
        x, y = [series.orders[index] for index in chosen], [series.values[index] / series.median for index in chosen]
        axes.plot(x, y, color=ARMS[place % 6], linewidth=1.0)
    axes.axhline(1.0, color=MUTED, linewidth=0.8, zorder=1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95), max(high, 1.05))
    axes.set_xlabel(_("place of the trial in the run"))
    axes.set_title(_("value by its arm's median"), loc="left", fontsize=9, color=MUTED)
    _percent(axes)


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: _("{number} %", number=f"{100 * value:.4g}")))
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=MUTED)


def _pairs(axes: Axes, data: Detail) -> None:
    """Each block's own comparison with the baseline, the region that does not matter shaded."""
    from matplotlib.ticker import FuncFormatter

    effects = [effect for line in data.pairs for effect in line.effects]
    axes.axhspan(*data.region, color=LINE, alpha=0.6, linewidth=0, zorder=1)
    axes.axhline(1.0 if data.ratio else 0.0, color=MUTED, linewidth=0.8, zorder=2)
    for line in data.pairs:
        chosen = thinned(line.effects)
        style: dict[str, Any] = {"color": ARMS[line.place % 6], "markersize": 4.0, "alpha": 0.8, "markeredgewidth": 0}
        x, y = [line.blocks[index] for index in chosen], [line.effects[index] for index in chosen]
        axes.plot(x, y, SHAPES[line.place % 6], zorder=3, **style)
        if line.middle is not None:
            axes.axhline(line.middle, color=ARMS[line.place % 6], linewidth=1.0, zorder=2)
    if data.ratio:
        axes.set_yscale("log")
        log_ticks(axes.yaxis, [*effects, 1.0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}{'×' if data.ratio else ''}"))
    axes.set_xlabel(_("block"))
    said = (
        _("ratio to the baseline, by block")
        if data.ratio
        else _("difference to the baseline, by block, {unit}", unit=data.effect_unit)
    )
    axes.set_title(said, loc="left", fontsize=9, color=MUTED)
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0, which="both", labelcolor=MUTED)
