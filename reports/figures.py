"""The charts, drawn by matplotlib as SVG that belongs to the page.

Text stays text and is set in the page's own face; colours are the page's variables, so that a chart follows its light
or dark theme; ids are the chart's own, and nothing depends on the day: the same data give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from math import exp, log
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .language import _
from .view_charts import BESIDE, MILESTONES, NOT_THERE, Forest, Line, Lot, Series, Strip, Sweep, Waterfall
from .view_format import quantity, short
from .view_marks import ratio_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

WIDTH = 10.0
"""Inches: 720 units of the drawing."""
MAX_POINTS = 400
"""Drawn of one arm; the data keeps them all."""

# Colours that matplotlib is given, and the page's variables that they become: none is ever seen.
INK, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
ARMS = ("#110001", "#110002", "#110003", "#110004", "#110005", "#110006")
SHAPES = ("o", "s", "D", "^", "v", "P")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    **{colour: f"var(--arm-{place})" for place, colour in enumerate(ARMS)},
}
_SETTINGS = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "path.simplify": False,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": True,
}


def waterfall_svg(data: Waterfall, title: str) -> str:
    """The boot of every arm, milestone by milestone, on one time axis."""
    return _drawn("waterfall", title, 0.95 + 0.72 * len(data.lanes), lambda axes: _waterfall(axes, data))


def forest_svg(data: Forest, title: str) -> str:
    """Every ratio to the baseline, with its interval, on one logarithmic axis."""
    height = 0.9 + len(data.lots) * (0.2 + 0.22 * len(data.arms))
    return _drawn("forest", title, height, lambda axes: _forest(axes, data))


def sweep_svg(data: Sweep, title: str) -> str:
    """A rate over the parameter that was swept, a line for each arm."""
    return _drawn(data.id, title, 3.2, lambda axes: _sweep(axes, data))


def strip_svg(data: Strip, title: str) -> str:
    """Every point of a primary metric, a lane for each arm, with median and interval."""
    return _drawn(data.id, title, 0.7 + 0.5 * len(data.series), lambda axes: _strip(axes, data))


def _drawn(name: str, title: str, height: float, draw: Callable[[Axes], None]) -> str:
    return drawn(name, title, height, [draw])


def drawn(
    name: str, title: str, height: float, panels: Sequence[Callable[[Axes], None]], key: Sequence[str] = ()
) -> str:
    """One chart of panels side by side; `height` is in inches, `key` names the arms above them all.

    Equal data give equal bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The reader's browser sets the text, and has more letters than the font that this measures it with.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_visible(False)
        for place, draw in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), place)
            axes.patch.set_visible(False)
            draw(axes)
        _key(figure, key)
        return _themed(_svg(figure), name, title)


def _key(figure: Figure, names: Sequence[str]) -> None:
    """The colour and shape of each arm, once for all panels."""
    from matplotlib.lines import Line2D

    if names:
        marks = [Line2D([], [], color=ARMS[place % 6], marker=SHAPES[place % 6]) for place in range(len(names))]
        figure.legend(
            marks, names, loc="outside upper left", ncols=legend_columns(names), frameon=False, fontsize=9,
            handletextpad=0.3, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip


def legend_columns(names: Sequence[str]) -> int:
    """As many as there is room for."""
    return max(1, min(len(names), int(140 / (max(map(len, names)) + 6))))


def _svg(figure: Figure) -> str:
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return target.getvalue()


_SHORT = re.compile(r"(\d+\.\d\d)\d+")


def _themed(svg: str, name: str, title: str) -> str:
    """Make matplotlib's document a part of the page: no prolog, ids of its own, the page's colours and face."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = _own_ids(svg, name)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # A hundredth of a unit is less than a pixel, and half of the bytes are digits. Words on the chart are left alone.
    svg = re.sub(r' (?:x|y|d|transform)="[^"]*"', lambda found: _SHORT.sub(r"\1", found[0]), svg)
    # Without a face of its own the text is set in the page's.
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    end = svg.index(">")
    tag = re.sub(r' (?:width|height|version)="[^"]*"', "", svg[:end])
    tag = tag.replace("<svg", f'<svg role="img" aria-labelledby="{name}.title" style="stroke-linejoin: round"', 1)
    return f'{tag}><title id="{name}.title">{escape(title)}</title>{svg[end + 1 :]}'.strip()


def _own_ids(svg: str, name: str) -> str:
    """Ids are the page's: only those that are referred to are kept, under the chart's name."""
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg))

    def own(found: re.Match[str]) -> str:
        return f' id="{name}.{found[1]}"' if found[1] in used else ""

    svg = re.sub(r' id="([^"]*)"', own, svg)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}.", svg)


def _lanes(axes: Axes, names: Sequence[tuple[str, str]]) -> None:
    """A lane for each arm, the first on top, its label under its name."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [f"{short(arm)}\n{_(label)}" if label else short(arm) for arm, label in names])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def time_axis(axes: Axes, log: bool, unit: str, values: Sequence[float], narrow: bool = False) -> None:
    """The x axis of values in a unit, logarithmic where they need it to be told apart."""
    if log:
        axes.set_xscale("log")
        log_ticks(axes.xaxis, values, narrow)
    axes.set_xlabel(_("{unit}, logarithmic", unit=unit) if log else unit)


def log_ticks(axis: Axis, values: Sequence[float], narrow: bool = False) -> None:
    """Powers of ten; where these are few, and there is room, twos and fives between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    few = max(values, default=1.0) < (20 if narrow else 300) * min(values, default=1.0)
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(axes: Axes) -> None:
    """Above the axes, in as many columns as there is room for; none where nothing was drawn."""
    names = axes.get_legend_handles_labels()[1]
    if names:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=legend_columns(names), frameon=False, fontsize=9,
            handletextpad=0.3, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip


def arm_in_key(arm: str, label: str) -> str:
    """An arm in a legend; matplotlib leaves a name that begins with an underscore out of it."""
    return f"\N{ZERO WIDTH SPACE}{short(arm)} ({_(label)})" if label else f"\N{ZERO WIDTH SPACE}{short(arm)}"


def _forest(axes: Axes, data: Forest) -> None:
    axes.set_ylim(len(data.lots) - 0.4, -0.6)
    axes.set_yticks(range(len(data.lots)), [short(lot.title, 44) for lot in data.lots])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=3)
    _ratio_axis(axes, data)
    for place, lot in enumerate(data.lots):
        edges = (1 / (1 + lot.region), 1 + lot.region)
        axes.fill_betweenx([place - 0.5, place + 0.5], *edges, color=LINE, alpha=0.6, linewidth=0, zorder=1)
        axes.axhline(place + 0.5, color=LINE, linewidth=0.6, zorder=1)
    axes.axvline(1.0, color=MUTED, linewidth=0.8, zorder=2)
    _directions(axes, data.lots)
    step = 0.6 / max(1, len(data.arms))
    for order, ((arm, label), colour) in enumerate(zip(data.arms, data.places, strict=True)):
        offset = (order - (len(data.arms) - 1) / 2) * step
        _ratios(axes, data.lots, order, offset, colour, arm_in_key(arm, label))
    legend(axes)


def _directions(axes: Axes, lots: Sequence[Lot]) -> None:
    """Which way is better, at the first row of each kind."""
    for lower, said in ((True, _("← better")), (False, _("better →"))):
        first = next((place for place, lot in enumerate(lots) if lot.lower == lower), None)
        if first is not None:
            at, side = (0.005, "left") if lower else (0.995, "right")
            style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": 8.5, "color": MUTED}
            axes.text(at, first, said, transform=_edge(axes), **style)
            if first:
                axes.axhline(first - 0.5, color=MUTED, linewidth=0.9, zorder=2)


def _ratios(axes: Axes, lots: Sequence[Lot], order: int, offset: float, colour: int, name: str) -> None:
    """One arm's dots; hollow where nothing is decided."""
    style: dict[str, Any] = {"color": ARMS[colour % 6]}
    low, high = axes.get_xlim()
    for place, lot in enumerate(lots):
        ratio = lot.ratios[order]
        if ratio.effect is None or not low < ratio.effect.value < high:
            continue
        y, decided = place + offset, ratio.kind in ("better", "worse", "same")
        if ratio.effect.low is not None and ratio.effect.high is not None:
            ends = [max(low, ratio.effect.low), min(high, ratio.effect.high)]
            axes.plot(ends, [y, y], linewidth=1.6, solid_capstyle="butt", zorder=3, **style)
        fill = style["color"] if decided else PAPER
        axes.plot(
            [ratio.effect.value], [y], SHAPES[colour % 6], markersize=6.5, markerfacecolor=fill, zorder=4, **style
        )
    axes.plot([], [], SHAPES[colour % 6], markersize=6.5, label=name, **style)


_RATIO_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def _ratio_axis(axes: Axes, data: Forest) -> None:
    """Logarithmic, with 1 on it; an interval without end runs off it and squeezes nothing."""
    from matplotlib.ticker import NullLocator

    effects = [ratio.effect for lot in data.lots for ratio in lot.ratios if ratio.effect]
    shared = ratio_axis(effects)
    axes.set_xscale("log")
    axes.set_xlim(exp(shared.low), exp(shared.high))
    kept: list[float] = []
    for value in sorted(_RATIO_TICKS, key=lambda value: abs(log(value))):
        inside = shared.low <= log(value) <= shared.high
        if inside and all(abs(log(value / other)) > 0.07 * (shared.high - shared.low) for other in kept):
            kept.append(value)
    axes.set_xticks(sorted(kept), [f"{value:g}×" for value in sorted(kept)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_("ratio to {baseline}, logarithmic", baseline=short(data.baseline)))
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _sweep(axes: Axes, data: Sweep) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xticks(data.values, data.names)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(data.parameter)
    for place, line in enumerate(data.lines):
        _line(axes, data, line, place)
    if data.log:
        axes.set_yscale("log")
        log_ticks(axes.yaxis, [y for line in data.lines for y in line.medians if y])
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel(_("{unit}, logarithmic", unit=data.unit) if data.log else data.unit)
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0, which="both", labelcolor=MUTED)
    legend(axes)


def _line(axes: Axes, data: Sweep, line: Line, place: int) -> None:
    """One arm's medians, with their intervals as bars."""
    style: dict[str, Any] = {"color": ARMS[place % 6]}
    found = [(x, y) for x, y in zip(data.values, line.medians, strict=True) if y is not None]
    if not found:
        return
    x, y = zip(*found, strict=True)
    name = arm_in_key(line.arm, line.label)
    axes.plot(x, y, marker=SHAPES[place % 6], markersize=6, linewidth=1.4, label=name, **style)
    for at, low, high in zip(data.values, line.lows, line.highs, strict=True):
        if low is not None and high is not None and (low > 0 or not data.log):
            axes.plot([at, at], [low, high], linewidth=1.6, alpha=0.7, **style)


def _edge(axes: Axes) -> Transform:
    """From the left edge to the right, 0 to 1, in the lane of the data."""
    from matplotlib.transforms import blended_transform_factory

    return blended_transform_factory(axes.transAxes, axes.transData)


def _waterfall(axes: Axes, data: Waterfall) -> None:
    _lanes(axes, [(lane.arm, lane.label) for lane in data.lanes])
    time_axis(axes, data.log, _("ms since the request"), [x for lane in data.lanes for x in lane.moments.values()])
    styles = dict(zip((*MILESTONES, BESIDE), ("|", "4", "v", "^", "o", "D", "x"), strict=True))
    names = dict(zip((*MILESTONES, BESIDE), map(short, data.titles), strict=True))
    for place, lane in enumerate(data.lanes):
        own = [lane.moments[name] * 1e3 for name in MILESTONES if name in lane.moments]
        if own:
            axes.plot([min(own), max(own)], [place, place], color=ARMS[0], linewidth=5, alpha=0.28, zorder=2)
    for name, shape in styles.items():
        found = [(lane.moments[name] * 1e3, place) for place, lane in enumerate(data.lanes) if name in lane.moments]
        if not found:
            continue
        beside = name == BESIDE
        x, y = [value for value, _lane in found], [place + (0.24 if beside else 0.0) for _value, place in found]
        filled = name == "ready"
        size = 8.0 if filled else 6.5 if shape in "vxD^" else 10.0
        style: dict[str, Any] = {"color": MUTED if beside else ARMS[0], "markerfacecolor": ARMS[0] if filled else PAPER}
        axes.plot(x, y, shape, markersize=size, markeredgewidth=1.5, label=names[name], zorder=3 + filled, **style)
    _said(axes, data)
    legend(axes)


def _said(axes: Axes, data: Waterfall) -> None:
    """In words, at each lane: when it was ready, and which moments its technology doesn't have."""
    axes.autoscale_view()
    edge = _edge(axes)
    for place, lane in enumerate(data.lanes):
        if "ready" in lane.moments:
            axes.annotate(
                _("ready {time}", time=quantity(lane.moments["ready"], "s")), (lane.moments["ready"] * 1e3, place),
                xytext=(0, 8), textcoords="offset points", ha="right", fontsize=9,
            )  # fmt: skip
        absent = [short(title) for title, text in zip(data.titles, lane.texts, strict=True) if text == _(NOT_THERE)]
        if absent and lane.moments:
            last = axes.transAxes.inverted().transform(axes.transData.transform((1e3 * max(lane.moments.values()), 0)))
            right = last[0] < 0.7  # else the words would lie on the marks
            said = _("not there: {moments}", moments=", ".join(absent))
            style: dict[str, Any] = {"ha": "right" if right else "left", "va": "center", "fontsize": 8, "color": MUTED}
            axes.text(0.995 if right else 0.005, place, said, transform=edge, **style)


def thinned(values: Sequence[float]) -> list[int]:
    """Which points are drawn: all, or every nth, and always the least and the greatest."""
    step = max(1, -(-len(values) // MAX_POINTS))
    chosen = set(range(0, len(values), step))
    if values:
        chosen |= {values.index(min(values)), values.index(max(values))}
    return sorted(chosen)


def _strip(axes: Axes, data: Strip) -> None:
    _lanes(axes, [(series.arm, series.label) for series in data.series])
    time_axis(axes, data.log, f"{data.unit}; {data.better}", [x for each in data.series for x in each.values])
    for place, series in enumerate(data.series):
        chosen = thinned(series.values)
        # Points are spread by their place in the run: no dice, and neighbours in time don't hide each other.
        y = [place + 0.2 * ((order * 0.618) % 1 - 0.5) for order in range(len(chosen))]
        axes.plot(
            [series.values[index] for index in chosen], y, SHAPES[place % 6], color=ARMS[place % 6], markersize=4.5,
            alpha=0.6, markeredgewidth=0, zorder=3,
        )  # fmt: skip
        _interval(axes, place + 0.3, series)
        if series.censored:
            said = _("{n} timed out", n=series.censored)
            axes.text(0.995, place - 0.3, said, transform=_edge(axes), ha="right", va="center", fontsize=8, color=MUTED)


def _interval(axes: Axes, y: float, series: Series) -> None:
    if series.low is not None and series.high is not None:
        axes.plot([series.low, series.high], [y, y], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=4)
    if series.median is not None:
        axes.plot([series.median], [y], "|", color=INK, markersize=9, markeredgewidth=2, zorder=5)
