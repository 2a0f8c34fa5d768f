"""The same number for the same cell, wherever it is read: page, terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import lxml.html
import pytest
from consumers import READ
from rich.console import Console
from runs import Setting, build, hostile_rates, troubled
from tare_bench.analysis import Analysis
from tare_bench.reports.exports import render
from tare_bench.reports.terminal import render_terminal
from tare_bench.reports.view_cells import WORDS
from tare_bench.reports.view_format import clean
from tare_bench.reports.view_tables import columns, row_id
from test_exports import analysis, demo

SIX = Setting(
    arms=("native", "docker", "kvm", "a", "b", "c"), names=dict.fromkeys("abc", "docker"), rounds=10, throughput=10
)
RUNS: dict[str, Callable[[], Analysis]] = {
    "demo": demo,
    "usual": lambda: analysis(build()),
    "throughput": lambda: analysis(build(Setting(rounds=10, throughput=10))),
    "troubled": lambda: analysis(troubled()),
    "six arms": lambda: analysis(build(SIX)),
    "alone": lambda: analysis(build(Setting(arms=("docker",), rounds=2))),
    "timed out": lambda: analysis(
        build(Setting(outcome=lambda arm, workload, block: ("timeout", "late") if arm == "kvm" and block > 2 else None))
    ),
    "hostile": lambda: analysis(hostile_rates()),
}
SIZES = {
    "ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3,
    "B/s": 1.0, "KiB/s": 1024.0, "MiB/s": 1024.0**2, "GiB/s": 1024.0**3, "1/s": 1.0, "k/s": 1e3, "M/s": 1e6,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A cell as it is printed: what is not there is empty."""

    unit: str
    value: str
    interval: str
    effect: str
    effect_interval: str


Place = tuple[str, int, int]
"""The section's title, the row's place in it, the column's."""


def _words(text: str) -> str:
    return " ".join(text.split())


@cache
def _analysis(run: str) -> Analysis:
    return RUNS[run]()


@cache
def _html(run: str) -> str:
    return render("html", [_analysis(run)])


def _page(run: str) -> tuple[dict[Place, Cell], dict[tuple[str, int], str]]:
    """The page's cells, and the ids of its rows."""
    cells, ids = {}, {}
    for section in lxml.html.fromstring(_html(run)).iter("section"):
        table = section.find(".//table")
        if table is None or table.get("class") != "wide rows":
            continue
        title = _words(section.find("h2").text_content())
        for place, row in enumerate(table.xpath(".//tbody/tr")):
            ids[title, place] = row.get("id")
            unit = re.search(r"(\S+|as read), \w+ is better", " ".join(row.xpath("th/small//text()")))
            assert unit is not None
            for column, cell in enumerate(row.findall("td")):
                cells[title, place, column] = _page_cell(cell, unit[1])
    return cells, ids


def _page_cell(cell: Any, unit: str) -> Cell:
    def text(path: str) -> str:
        return _words(cell.xpath(f"string({path})")).strip("()")

    return Cell(
        unit=unit,
        value=text("div/span[@class='value']") or text("span[@class='muted']"),
        interval=text("div[span[@class='value']]/span[@class='interval']"),
        effect=text("div//span[@class='effect']"),
        effect_interval=text("div//div[span[@class='effect']]/span[@class='interval']"),
    )


_PRINTED = re.compile(
    r"(?P<value>[^()]+?)(?: \((?P<interval>[^()]* to [^()]*)\))?(?: (?:n = \d+|\d+ of \d+ blocks).*)?"
)


_EFFECT = re.compile(r"(?:[+−]?[\d. ∞e+−]+(?:×| ?[nµm]?s| ?(?:[KMG]i)?B)|the same)(?= \(|$)")


def _printed(unit: str, lines: list[str]) -> Cell:
    """A cell from its lines: the value, the effect where it has one, and words."""
    first = _PRINTED.fullmatch(lines[0])
    assert first is not None, lines
    effects = [found for line in lines[1:] if _EFFECT.match(line) and (found := _PRINTED.fullmatch(line))]
    effect = effects[0] if effects else None
    return Cell(
        unit=unit,
        value=first["value"],
        interval=first["interval"] or "",
        effect=effect["value"] if effect else "",
        effect_interval=(effect["interval"] or "") if effect else "",
    )


def _markdown(found: Analysis) -> dict[Place, Cell]:
    cells: dict[Place, Cell] = {}
    title, row, column = "", -1, -1
    tokens = READ["markdown"](render("markdown", [found]))
    for before, token in pairwise(tokens):
        text = "".join(each.content for each in token.children or ())
        if before.type == "heading_open":
            title, row = text, -1
        elif before.type == "tr_open":
            row, column = row + (token.type == "td_open"), -2
        if token.type == "td_open":
            column += 1
        elif token.type == "inline" and before.type == "td_open" and column == -1:
            unit = text.split(", ")[-2]
        elif token.type == "inline" and before.type == "td_open" and column >= 0:
            cells[title, row, column] = _printed(unit, [_words(part) for part in text.split("; ")])
    return cells


def _terminal(found: Analysis, titles: dict[str, list[str]]) -> Iterator[tuple[Place, Cell]]:
    """Printed so wide that nothing is broken: a table's columns begin where the heads of its arms do."""
    target = io.StringIO()
    render_terminal(found, Console(file=target, width=1000, color_system=None, _environ={}))
    lines = target.getvalue().splitlines()
    for top, title in ((place, line) for place, line in enumerate(lines) if line in titles):
        rule = next((place for place in range(top, len(lines)) if set(lines[place]) == {"─"}), 0)
        if rule:
            starts = [0, *_starts(lines[top + 1 : rule]), 1000]
            for place, held in enumerate(_rows(lines[rule + 1 :], titles[title], starts[1])):
                yield from _terminal_row(title, place, starts, held)


def _rows(lines: list[str], names: list[str], width: int) -> Iterator[list[str]]:
    """The lines of each row: it begins with its name, and ends where the next begins."""
    held: list[str] = []
    wanted = iter(names)
    name = next(wanted)
    for line in lines:
        if line[:width].strip() == name:
            if held:
                yield held
            held, name = [], next(wanted, "\0")
        elif not line[:width].strip() and not line.strip():
            break
        held.append(line)
    yield held


def _starts(head: list[str]) -> list[int]:
    """Where a column begins: after two spaces in every line of the head."""
    width = max(map(len, head))
    blank = [all(line[at : at + 1] in ("", " ") for line in head) for at in range(width)]
    return [at for at in range(2, width) if blank[at - 1] and blank[at - 2] and not blank[at]]


def _terminal_row(title: str, place: int, starts: list[int], lines: list[str]) -> Iterator[tuple[Place, Cell]]:
    unit = lines[1][: starts[1]].strip() if len(lines) > 1 else ""
    for column, (start, end) in enumerate(pairwise(starts[1:])):
        parts = [_words(line[start:end]) for line in lines]
        yield (title, place, column), _printed(unit, [part for part in parts if part])


def _titles(run: str) -> dict[str, list[str]]:
    page = lxml.html.fromstring(_html(run))
    return {
        _words(section.find("h2").text_content()): [
            _words(head.text_content()) for head in section.xpath(".//tbody/tr/th/b")
        ]
        for section in page.iter("section")
        if section.xpath(".//table[@class='wide rows']")
    }


@pytest.mark.parametrize("run", RUNS)
def test_the_page_the_terminal_and_markdown_print_the_same(run: str) -> None:
    found = _analysis(run)
    page, _ = _page(run)
    assert page
    strip = {place: _without_unit(cell) for place, cell in page.items()}
    assert {place: _without_unit(cell) for place, cell in _markdown(found).items()} == strip
    assert {place: _without_unit(cell) for place, cell in _terminal(found, _titles(run))} == strip


def _without_unit(cell: Cell) -> tuple[str, ...]:
    return (cell.value, cell.interval, cell.effect, cell.effect_interval)


@pytest.mark.parametrize("run", RUNS)
def test_what_is_printed_is_what_csv_and_json_hold(run: str) -> None:
    found = _analysis(run)
    page, ids = _page(run)
    exact, seen = _from_csv(found), 0
    rows, heads = {row_id(row): row for row in found.rows}, columns(found)
    for (title, place, column), cell in page.items():
        row = rows[ids[title, place]]
        held = exact.get(tuple(map(clean, (row.metric, row.workload, row.params, heads[column].arm))))
        assert (held is None) == (cell.value == "not run")
        if held is not None:
            _agree(row.metric, cell, *held)
            seen += 1
    assert seen == len(exact)


Numbers = tuple[float | None, float | None, float | None]


def _from_json(found: Analysis) -> dict[tuple[str, ...], tuple[Numbers, Numbers]]:
    """By metric, workload, parameters and arm: median and effect, each with its interval."""
    document = json.loads(render("json", [found]))
    effects = {_key(item): _numbers(item["effect"]) for item in document["comparisons"]}
    nothing = (None, None, None)
    return {_key(cell): (_numbers(cell["median"]), effects.get(_key(cell), nothing)) for cell in document["cells"]}


def _from_csv(found: Analysis) -> dict[tuple[str, ...], tuple[Numbers, Numbers]]:
    frame = READ["csv-cells"](render("csv-cells", [found]))
    return {
        (row["metric"], row["workload"], row["params"], row["arm"]): (
            _held(row["median"], row["low"], row["high"]),
            _held(row["effect"], row["effect_low"], row["effect_high"]),
        )
        for row in frame.astype(object).to_dict("records")
    }


def _held(*ends: float) -> Numbers:
    value, low, high = (None if math.isnan(end) else end for end in ends)
    return value, low, high


def _key(item: dict[str, Any]) -> tuple[str, ...]:
    """As CSV has it: JSON's own escapes make a text harmless, and keep it."""
    return tuple(map(clean, (item["row"]["metric"], item["row"]["workload"], item["row"]["params"], item["arm"])))


def _numbers(found: dict[str, float | None] | None) -> Numbers:
    return (found["value"], found["low"], found["high"]) if found else (None, None, None)


def _agree(metric: str, cell: Cell, median: Numbers, effect: Numbers) -> None:
    if cell.value in ("not there", "no value"):
        assert median[0] is None
    elif cell.value == "timed out":
        assert median[0] is not None
        assert math.isinf(median[0])
    elif metric in WORDS and cell.value in WORDS[metric].values():
        assert median[0] is not None
        assert WORDS[metric][median[0]] == cell.value
    else:
        _same(cell.value, median[0], SIZES.get(cell.unit, 1.0))
        if median[1] is not None:  # of an exact metric it is the least and the greatest value
            _same_interval(cell.interval, median[1:], SIZES.get(cell.unit, 1.0))
    if cell.effect:
        own = (re.search(r"[A-Za-zµ/]+$", cell.effect.removeprefix("the same") or cell.effect_interval) or "x")[0]
        size = SIZES.get(own, 1.0)
        _same("0" if cell.effect == "the same" else cell.effect, effect[0], size)
        if cell.effect_interval:
            _same_interval(cell.effect_interval, effect[1:], size)


def _same_interval(printed: str, ends: tuple[float | None, ...], size: float) -> None:
    for text, end in zip(printed.split(" to "), ends, strict=True):
        _same(text, end, size)


def _same(printed: str, exact: float | None, size: float) -> None:
    """To the three digits that are printed."""
    assert exact is not None, printed
    plain = re.match(r"[+-]?(?:[\d.]+(?:e[+-]?\d+)?|inf)", re.sub(r"\s(?=\d)", "", _ascii(printed)))
    assert plain is not None, printed
    value = float(plain[0])
    digit = 10.0 ** (math.floor(math.log10(abs(value))) - 2) if value and math.isfinite(value) else 0.0
    assert value == exact / size or abs(value - exact / size) <= 0.5000001 * digit, (printed, exact, size)


def _ascii(printed: str) -> str:
    return printed.replace("−", "-").replace("∞", "inf")


@pytest.mark.parametrize("run", RUNS)
def test_csv_and_json_hold_the_same_to_the_last_digit(run: str) -> None:
    found = _analysis(run)
    text, data = _from_json(found), _from_csv(found)
    assert set(text) == set(data)
    for place, numbers in data.items():
        for held, whole in zip((*text[place][0], *text[place][1]), (*numbers[0], *numbers[1]), strict=True):
            # JSON has no infinity: there it is null, and how many trials timed out stands beside it
            assert held == (whole if whole is not None and math.isfinite(whole) else None)


def test_the_samples_of_csv_give_the_medians_that_json_holds() -> None:
    frame = READ["csv"](render("csv", [demo()]))
    kept = frame[(frame.role == "measured") & (frame.status == "ok")]
    medians = kept.groupby(["metric", "workload", "params", "arm"]).value.median()
    exact = _from_json(demo())
    assert len(exact) > 100
    for key, (median, _) in exact.items():
        assert median[0] is None or medians[key] == median[0]
