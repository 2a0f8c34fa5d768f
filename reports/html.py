"""The report as one HTML file: nothing is fetched, no script is needed, every text is escaped."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import quote

from tare_bench.across import Across
from tare_bench.analysis import Analysis
from tare_bench.nights import History

from .language import N_, _, current, translations
from .view import Page, view
from .view_charts import Strip, Sweep

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_ICON = {"better": ("#1f5fa8", "●"), "worse": ("#b4500b", "◆"), "same": ("#5b6570", "■")}


def render_html(analysis: Analysis, across: Across | None = None, history: History | None = None) -> str:
    """The page, whole: of a run, against an earlier one and as the latest of many where these are given.

    Equal analyses give equal bytes. Raises nothing on odd data."""
    from markupsafe import Markup

    from . import figures, figures_detail, figures_history

    page, script = view(analysis, across, history), _script()
    falls = page.waterfall

    def drawn(draw: Callable[..., str], *arguments: object) -> Markup:
        return Markup(draw(*arguments))  # SVG that figures.py made, with its texts escaped

    return _environment().get_template("page.html").render(
        page=page,
        language=current(),
        icon=_icon(page),
        waterfall_svg=drawn(figures.waterfall_svg, falls, _("Boot milestones of every arm")) if falls else "",
        forest_svg=drawn(figures.forest_svg, page.forest, _("Every ratio to the baseline"))
        if page.forest
        else "",
        sweep_svgs={
            sweep.id: drawn(figures.sweep_svg, sweep, _over(sweep))
            for sweep in (*page.sweeps, *(page.storms.charts if page.storms else ()))
        },
        strip_svgs={
            each.strip.id: drawn(figures.strip_svg, each.strip, _titled(_EVERY, each.strip))
            for each in page.details
        },
        detail_svgs={
            each.strip.id: drawn(figures_detail.detail_svg, each, _titled(_CLOSER, each.strip))
            for each in page.details
        },
        history_svgs={
            each.id: drawn(figures_history.history_svg, each)
            for each in (page.history.series if page.history else ())
            if each.drawn
        },
        script=Markup(script),  # ours, without a word of the run's
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        csv_url=_data_url("text/csv;charset=utf-8", page.method.csv) if page.method.csv else "",
    )  # fmt: skip


_EVERY, _CLOSER = (
    N_("Every value: {metric}, {unit}"),
    N_("{metric}, {unit}: shares of trials, run order, and pairs block by block"),
)


def _titled(words: str, strip: Strip) -> str:
    return _(words, metric=strip.title, unit=strip.unit)


def _over(sweep: Sweep) -> str:
    return _("{metric} over {parameter}, {unit}", metric=sweep.title, parameter=sweep.parameter, unit=sweep.unit)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    package = sys.modules[__name__].__package__ or ""
    environment = Environment(
        loader=PackageLoader(package, "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # A sentence may be broken into lines in a template: it is one to who translates it.
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(translations(), newstyle=True)  # type: ignore[attr-defined]
    return environment


def _script() -> str:
    return files(__package__ or "").joinpath("templates/page.js").read_text("utf-8")


def _data_url(kind: str, text: str) -> str:
    # A name may hold half of a surrogate pair, which no encoding knows.
    return f"data:{kind};base64,{base64.b64encode(text.encode('utf-8', 'replace')).decode()}"


def _icon(page: Page) -> str:
    """The favicon: the gravest verdict's colour and how many there are."""
    colour, _ = _ICON.get(page.mark, ("#5b6570", "○"))
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
        f"<rect width='32' height='32' rx='7' fill='{colour}'/>"
        "<text x='16' y='23' font-family='sans-serif' font-weight='700' font-size='20' text-anchor='middle' "
        f"fill='#fff'>{page.count[:2]}</text></svg>"
    )
    return f"data:image/svg+xml,{quote(svg)}"
