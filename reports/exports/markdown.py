"""Markdown for a job summary or a pull request: the answer in words, counts, then the tables.

It holds no HTML, and no text of the run is markup: every sign that Markdown knows is escaped in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tare_bench.analysis import Analysis

from ..language import _
from ..view import Page, view
from ..view_cells import Column, TableCell
from ..view_format import one_line, short
from ..view_tables import Table, TableRow

_INLINE = re.compile(r"[\\`*_\[\]<>#|~&$@^{}]|:(?=\S)|(?<=www)\.")
"""Emphasis, code, links, HTML, entities, mentions, mathematics, emoji, addresses."""
_BLOCK = re.compile(r"^(?:\d+(?=[.)](?:\s|$))|(?=[-+](?:[\s-]|$)|=))")
"""Before what of it a line would be a list, a rule or a heading's underline."""

LONGEST_REASON = 200


def render(analysis: Analysis) -> str:
    """The report, whole. What was emulated or simulated is said first, in the heads of tables and beside verdicts."""
    page = view(analysis)
    return "\n".join(_lines(page, analysis)) + "\n"


def escaped(text: str) -> str:
    """A text on one line that Markdown shows as it is."""
    plain = _INLINE.sub(lambda found: f"\\{found[0]}", one_line(text))
    return _BLOCK.sub(r"\g<0>\\", plain)


def _lines(page: Page, analysis: Analysis) -> Iterator[str]:
    if page.watermark:
        yield f"**{escaped(_('{label}: nothing was measured', label=page.watermark))}**"
        yield ""
    for place, sentence in enumerate(page.answer):
        yield f"**{escaped(sentence)}**" if place == 0 else escaped(sentence)
        yield ""
    for badges in (page.counts, page.trust):
        if badges:
            yield " · ".join(escaped(f"{badge.shape} {badge.text}".strip()) for badge in badges)
            yield ""
    for table in page.tables:
        yield from _table(table)
    if page.notices:
        yield f"### {escaped(_('Machine and notices'))}"
        yield ""
        yield from (
            f"- {escaped(notice.subject)}: {escaped(short(one_line(notice.message), 1000))} "
            f"{escaped(short(one_line(notice.hint), 1000))}".rstrip()
            for notice in page.notices
        )
        yield ""
    yield f"{escaped(_('Run'))}: {escaped(page.run)}. {escaped(_('Started'))}: {escaped(page.started)}."
    yield ""
    yield from _code(one_line(analysis.run.manifest.command))


def _code(text: str) -> Iterator[str]:
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}sh", text, fence)


def _table(table: Table) -> Iterator[str]:
    yield f"### {escaped(table.title)}"
    yield ""
    if table.alerts:
        yield f"**{escaped(' '.join(table.alerts))}**"
        yield ""
    if table.rows:
        yield _row([escaped(_("Metric")), *map(_head, table.columns)])
        yield _row(["---"] * (1 + len(table.columns)))
        yield from (_row([_title(row), *map(_cell, row.cells)]) for row in table.rows)
        yield ""
    for note in table.notes:
        yield escaped(note)
        yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(column: Column) -> str:
    notes = [note for note in (column.driver, _("baseline") if column.baseline else "", _(column.label)) if note]
    return escaped(f"{column.name} ({', '.join(notes)})" if notes else column.name)


def _title(row: TableRow) -> str:
    text = escaped(f"{row.title}, {row.detail}" if row.detail else row.title)
    return f"{f'**{text}**' if row.primary else text}, {escaped(row.unit)}, {escaped(row.better)}"


def _cell(cell: TableCell) -> str:
    value = cell.value or cell.absent
    first = " ".join(filter(None, (value, f"({cell.interval})" if cell.interval else "", cell.n)))
    second = " ".join(filter(None, (cell.effect, f"({cell.effect_interval})" if cell.effect_interval else "")))
    parts = [first, second, _verdict(cell), cell.outlook, *(short(line, LONGEST_REASON) for line in cell.trouble)]
    return "; ".join(escaped(part) for part in parts if part)


def _verdict(cell: TableCell) -> str:
    if cell.verdict is None:
        return ""
    label = "" if _(cell.label) in cell.verdict.word.upper() else _(cell.label)
    words = (cell.verdict.shape, cell.verdict.word, label, _("exploratory") if cell.exploratory else "")
    return " ".join(filter(None, words))
