"""What a row is called: a metric with its workload's parameters in words, and which rows belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence

from tare_bench.analysis import Analysis
from tare_bench.compare import Row
from tare_bench.metrics import Metric
from tare_bench.model import Scalar

from .language import N_, _
from .view_format import NBSP, count, one_line, quantity

COST = ".host_cpu"
"""How the name of a metric ends that says what a unit of a workload's work costs the host."""
COST_TITLE = "Host CPU for each "
"""How its title begins."""


_GROUPS = {
    "boot": "boot", "stop": "boot", "storm": "storm", "memory": "weight", "disk": "weight", "density": "weight",
    "commit": "weight", "isolation": "isolation", "neighbour": "neighbour",
}  # fmt: skip
"""Tables by the first word of a metric's name."""


def group_of(metric: Metric) -> str:
    """Which table a metric belongs to."""
    prefix = metric.name.partition(".")[0]
    if prefix in _GROUPS:
        return _GROUPS[prefix]
    return "other" if metric.better == "neither" else "throughput"


def leads(analysis: Analysis, row: Row) -> bool:
    """Whether a row is what its workload is run for: its primary metric, or another rate that it yields."""
    metric = analysis.metrics[row.metric]
    return analysis.primary.get(row.workload) == row.metric or (
        metric.unit.endswith("/s") and metric.better != "neither"
    )


def is_throughput(analysis: Analysis, row: Row) -> bool:
    """Whether a row is the rate of a cell of throughput."""
    return leads(analysis, row) and group_of(analysis.metrics[row.metric]) == "throughput"


def parameters(row: Row) -> dict[str, Scalar]:
    """The parameters of a row's workload."""
    found: dict[str, Scalar] = json.loads(row.params)
    return found


def _size(value: Scalar) -> str:
    return re.sub(r"\.0+(?=\D|$)", "", quantity(float(value), "B")).replace(" ", NBSP)


_NEIGHBOURS = {"cpu": N_("CPU"), "memory": N_("memory"), "forks": N_("fork bomb"), "disk": N_("disk")}
_WORDS: dict[str, Callable[[Scalar], str]] = {
    "operation": lambda value: str(value).upper(),
    "threads": lambda value: _("all vCPUs") if value == "all" else count(int(value), "thread"),
    "block_size": _size,
    "written": _size,
    "depth": lambda value: _("depth\u00a0{n}", n=int(value)),
    "direction": lambda value: _("to the instance") if value == "in" else _("from the instance"),
    "streams": lambda value: count(int(value), "stream"),
    "connections": lambda value: count(int(value), "connection"),
    "parallel": lambda value: _("{n}\u00a0at once", n=int(value)),
    "most": lambda value: _("up to {n}", n=int(value)),
    "neighbour": lambda value: _(_NEIGHBOURS.get(str(value), str(value))),
    "max_instances": lambda value: _("at most\u00a0{n}", n=int(value)),
}
"""In the order in which they are said."""


def _word(key: str, value: Scalar) -> str:
    try:
        return one_line(_WORDS[key](value)) if key in _WORDS else one_line(f"{key.replace('_', ' ')} {value}")
    except ValueError:
        return one_line(f"{key} {value}")


def parameter_words(row: Row, said: str = "") -> list[str]:
    """The parameters in words, but for an operation that `said` names already."""
    found = parameters(row)
    order = [*(key for key in _WORDS if key in found), *(key for key in found if key not in _WORDS)]
    words = [(key, _word(key, found[key])) for key in order]
    return [word for key, word in words if not (key == "operation" and word in said.split())]


def title(metric: Metric, row: Row) -> str:
    """The metric with its parameters: `Redis GET, 10 connections (inside, loopback)`."""
    head, tail = _split(metric)
    return ", ".join([head, *parameter_words(row, head)]) + tail


def _split(metric: Metric) -> tuple[str, str]:
    """The title, and what stands in brackets at its end."""
    whole = _(one_line(metric.title))
    found = re.fullmatch(r"(.+?)( ?\([^()]*\))", whole)
    return (found[1], found[2]) if found else (whole, "")


def swept(rows: Sequence[Row]) -> str:
    """The one parameter, a number, in which these rows of a metric differ; empty where there is none."""
    found = [parameters(row) for row in rows]
    keys = {key for each in found for key in each}
    differ = [key for key in keys if len({each.get(key) for each in found}) > 1]
    if len(rows) < 2 or len(differ) != 1:
        return ""
    numbers = all(isinstance(each.get(differ[0]), int | float) for each in found)
    return differ[0] if numbers else ""


def together(analysis: Analysis, rows: Iterable[Row]) -> list[str]:
    """Cells as a sentence names them: those of one metric at once, with the parameters that tell its cells apart."""
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    return [_cells(analysis, name, found) for name, found in by_metric.items()]


def _cells(analysis: Analysis, name: str, rows: list[Row]) -> str:
    metric = analysis.metrics[name]
    of_metric = [row for row in analysis.rows if row.metric == name]
    said = "".join(_split(metric))
    if len(of_metric) == 1:
        return said
    key = swept(rows)
    if not key:
        each = [joined(parameter_words(row, said)) for row in rows]
        return _("{metric} at {parameters}", metric=said, parameters=joined(each))
    values = [parameters(row)[key] for row in rows]
    if key in _SEVERAL:
        words = _(_SEVERAL[key], values=joined([one_line(value) for value in values]))
    else:
        words = joined([_word(key, value) for value in values])
    return _("{metric} at {parameters}", metric=said, parameters=words)


_SEVERAL = {"connections": N_("{values} connections"), "threads": N_("{values} threads")}
"""Parameters whose word is said once for all of their values."""


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return _("{first} and {last}", first=", ".join(words[:-1]), last=words[-1]) if len(words) > 1 else "".join(words)
