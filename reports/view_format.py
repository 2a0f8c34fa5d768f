"""How a report writes numbers, units and texts: three significant digits, a unit for each row, nothing hostile."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from tare_bench.model import Scalar
from tare_bench.stats import Estimate

from .language import _, ngettext

NBSP = "\N{NO-BREAK SPACE}"
NARROW = "\N{NARROW NO-BREAK SPACE}"

# What could steer a terminal, or turn the reading order of a page around.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

LONGEST = 5000
"""Letters of one text of the run that are shown: a tool may print a line of megabytes; the run's files have it all."""


class Unit(NamedTuple):
    """A unit to show values in: its symbol, and how many SI base units it is."""

    symbol: str
    size: float


_STEPS: dict[str, tuple[Unit, ...]] = {
    "s": (Unit("ns", 1e-9), Unit("µs", 1e-6), Unit("ms", 1e-3), Unit("s", 1.0)),
    "B": (Unit("B", 1.0), Unit("KiB", 1024.0), Unit("MiB", 1024.0**2), Unit("GiB", 1024.0**3)),
    "B/s": (Unit("B/s", 1.0), Unit("KiB/s", 1024.0), Unit("MiB/s", 1024.0**2), Unit("GiB/s", 1024.0**3)),
    "1/s": (Unit("1/s", 1.0), Unit("k/s", 1e3), Unit("M/s", 1e6)),
}
_FROM = {"1/s": 10.0}
"""From how many of it on a larger unit is taken, where that isn't 1: a rate of 5270 is read as it is."""


def clean(text: Scalar) -> str:
    """Text with control and direction characters made visible, and cut; escaping for HTML is the template's."""
    return UNSAFE.sub("\N{REPLACEMENT CHARACTER}", cut_off(str(text)))


def cut_off(text: str) -> str:
    """A text of the run, as much of it as is shown."""
    return (
        text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters, the rest is in the run's files)"
    )


def inert(value: object) -> object:
    """A value as a field of CSV: spreadsheets run a text that begins with one of these; a number is none."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def one_line(text: Scalar) -> str:
    """The same, on one line."""
    return " ".join(clean(text).split())


def short(text: str, most: int = 22) -> str:
    """A text that has room in a chart: what is cut off is marked, and the chart's table has it whole."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def unit_for(unit: str, values: Iterable[float]) -> Unit:
    """The unit that suits all values of a row: by the middle, on a log scale, of the least and the greatest."""
    steps = _STEPS.get(unit)
    if steps is None:
        return Unit("" if unit == "1" else one_line(unit), 1.0)
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return next(step for step in steps if step.size == 1.0)
    middle = math.sqrt(min(sizes)) * math.sqrt(max(sizes))
    least = middle * 1.0001 / _FROM.get(unit, 1.0)
    return max((step for step in steps if step.size <= least), default=steps[0], key=lambda step: step.size)


def number(value: float) -> str:
    """Three significant digits; a narrow space between thousands from 10 000."""
    if math.isnan(value):
        return _("not a number")
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 <= exponent < 15:
        return f"{value:.2e}".replace("-", "−")
    rounded = round(value, 2 - exponent)
    text = f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
    text = text.replace(",", NARROW) if abs(rounded) >= 10_000 else text.replace(",", "")
    return text.replace("-", "−")


def quantity(value: float, unit: str) -> str:
    """A single value with the unit that suits it: `173 ms`."""
    if unit == "1" and float(value).is_integer() and abs(value) < 1e15:
        return f"{value:.0f}"
    chosen = unit_for(unit, [value])
    return f"{number(value / chosen.size)} {chosen.symbol}".strip()


def span(low: float | None, high: float | None, size: float = 1.0) -> str:
    """`2.90 to 3.90`; empty where there is no interval."""
    if low is None or high is None:
        return ""
    return _("{low} to {high}", low=number(low / size), high=number(high / size))


def signed(value: float) -> str:
    """A difference: with its sign, also where it is more."""
    return f"+{number(value)}" if value > 0 else number(value)


def measured(found: Estimate, unit: str) -> str:
    """A median with its interval and unit: `173 ms (169 to 178)`."""
    chosen = unit_for(unit, [found.value])
    interval = span(found.low, found.high, chosen.size)
    text = f"{number(found.value / chosen.size)} {chosen.symbol}".strip()
    return f"{text} ({interval})" if interval else text


def percent(share: float) -> str:
    """`97.5 %`."""
    return _("{number}\u202f%", number=f"{100 * share:.3g}")


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `2 trials`: in the catalogues as `{n} trial`."""
    return ngettext(f"{{n}} {one}", f"{{n}} {many or one + 's'}", n)


LONGEST_ID = 120


def identifier(*parts: Scalar) -> str:
    """An id for a row or a chart, from names that may be hostile: letters, digits, dots and dashes; never empty."""
    text = "-".join(str(part) for part in parts)
    safe = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    # Names that differ only in what was replaced must not share an id.
    same = safe == text and len(text) <= LONGEST_ID
    suffix = "" if same else f"-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
    return f"{safe[:LONGEST_ID] or 'x'}{suffix}"
