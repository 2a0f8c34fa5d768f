"""The report in a terminal: the answer, then a table for each group of metrics.

Every text is put in as text: neither markup nor an escape sequence in a name does anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tare_bench.analysis import Analysis

from .language import N_, _
from .view import Badge, Page, view
from .view_cells import TableCell
from .view_memory import SheetView
from .view_method import NoticeView
from .view_tables import OUT_OF_TIME, Table, TableRow

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

_STYLES = {"better": "blue", "worse": "dark_orange", "same": "bold", "alarm": "bold red", "open": "", "none": "dim"}


def render_terminal(analysis: Analysis, console: Console, *, whole: bool = True) -> None:
    """Print the report. Colour and width are the console's; nothing is said by colour alone.

    Without `whole` only the rows that the workloads are run for are printed: about two screens.
    """
    from rich.text import Text

    page = view(analysis)
    if page.watermark:
        console.print(Text(_("{label}: nothing was measured", label=page.watermark), style="bold red reverse"))
    for place, sentence in enumerate(page.answer):
        console.print(Text(sentence, style="bold" if place == 0 else ""))
    console.print(_badges(page))
    if page.audit_line:
        console.print(Text(page.audit_line))
    for table in page.tables:
        console.print()
        _print_table(console, table, whole=whole)
    for sheet in page.memory if whole else ():
        console.print()
        console.print(_sheet(sheet))
    if not whole:
        console.print(Text(_(_LEFT_OUT), style="dim"))
    told = any(table.alerts for table in page.tables) and not whole
    for notice in page.notices:
        if not (told and notice.code == OUT_OF_TIME):
            console.print(_notice(notice))


_LEFT_OUT = N_("Other moments, other kinds of memory and the host's CPU time for each unit of work are on the page.")


def _print_table(console: Console, table: Table, *, whole: bool) -> None:
    from rich.text import Text

    rows = [row for row in table.rows if whole or row.lead]
    parts = _side_by_side(replace(table, rows=tuple(rows)), console.width) if rows else []
    console.print(Text(_numbered(table.title, 0, parts), style="bold"))
    if table.alerts:
        console.print(Text(" ".join(table.alerts), style="bold red"))
    usual = _usual_number(table)
    for place, part in enumerate(parts):
        if place:
            console.print(Text(f"\n{_numbered(table.title, place, parts)}", style="bold"))
        console.print(_table(part, usual))
    if rows:
        for note in table.brief if whole or table.id != "weight" else ():
            console.print(Text(note, style="dim"))


_ROW_HEAD, _ARM = 18, 16
"""Columns of the terminal that a row's head and an arm need at least to be read."""


def _side_by_side(table: Table, width: int) -> list[Table]:
    """A table of many arms as several of as many as fit, the baseline in each of them."""
    fit = max(1, (width - _ROW_HEAD) // _ARM - 1)
    others = range(1, len(table.columns))
    return [_with_columns(table, [0, *others[first : first + fit]]) for first in range(0, max(1, len(others)), fit)]


def _with_columns(table: Table, kept: list[int]) -> Table:
    rows = tuple(replace(row, cells=tuple(row.cells[place] for place in kept)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[place] for place in kept), rows=rows)


def _numbered(title: str, place: int, parts: list[Table]) -> str:
    return f"{title} ({place + 1}/{len(parts)})" if len(parts) > 1 else title


def _sheet(sheet: SheetView) -> RichTable:
    """The memory sheet of one arm, without what stands beside it on the page."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    name = f"{sheet.arm} ({_(sheet.label)})" if sheet.label else sheet.arm
    title = Text(_("Memory sheet of {arm}. {lede}", arm=name, lede=sheet.lede))
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title, title_justify="left")
    drawn.add_column(_("MiB for each instance"))
    for head in (_("alone, PSS"), _("alone, USS"), _("each of many"), _("share")):
        drawn.add_column(head, justify="right")
    for row in sheet.rows:
        style = "" if row.kind == "term" else "bold"
        drawn.add_row(*(Text(text, style=style) for text in (row.title, row.alone, row.private, row.each, row.share)))
    return drawn


def _badges(page: Page) -> Text:
    from rich.text import Text

    badges: list[Badge] = [*page.counts, *page.trust]
    parts = [Text(f"{badge.shape} {badge.text}".strip(), style=_STYLES.get(badge.kind, "")) for badge in badges]
    return Text("  ").join(parts)


def _table(table: Table, usual: str) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    drawn.add_column("")
    for column in table.columns:
        notes = [note for note in (column.driver, _("baseline") if column.baseline else "", _(column.label)) if note]
        drawn.add_column(Text("\n".join([column.name, *notes])), overflow="fold")
    for row in table.rows:
        drawn.add_row(_head(row), *(_cell(cell, usual) for cell in row.cells))
    return drawn


def _usual_number(table: Table) -> str:
    """In how many blocks most cells were measured: what is said above the table is not said in each of them."""
    found = Counter(cell.n for row in table.rows if row.lead for cell in row.cells if cell.fewer)
    return found.most_common(1)[0][0] if found and table.alerts else ""


def _head(row: TableRow) -> Text:
    from rich.text import Text

    text = Text(row.title, style="bold" if row.primary else "")
    if row.unit not in (_("count"), _("as read")):
        text.append(f"\n{row.unit}, {row.better}", style="not bold dim")
    if row.detail:
        text.append(f"\n{row.detail}", style="not bold dim")
    return text


def _cell(cell: TableCell, usual: str) -> Text:
    from rich.text import Text

    text = Text(cell.value or cell.absent, style="" if cell.value else "dim")
    if cell.interval:
        text.append(f" ({cell.interval})", style="dim")
    if cell.fewer and cell.n != usual:
        text.append(f"\n{cell.n}", style="dim")
    if cell.effect:
        text.append(f"\n{cell.effect}")
        text.append(f" ({cell.effect_interval})" if cell.effect_interval else "", style="dim")
    if cell.verdict is not None:
        text.append(f"\n{cell.verdict.shape} {cell.verdict.word}", style=_STYLES[cell.verdict.kind])
        label = "" if _(cell.label) in cell.verdict.word.upper() else _(cell.label)
        marks = [label, _("exploratory") if cell.exploratory else ""]
        text.append("".join(f" {mark}" for mark in marks if mark), style="dim")
        text.append(f"\n{cell.outlook}" if cell.outlook else "", style="dim")
    for line in cell.trouble:
        text.append(f"\n{line}", style="red")
    return text


def _notice(notice: NoticeView) -> Text:
    from rich.text import Text

    text = Text("! ", style="bold")
    text.append(f"{notice.subject}: {notice.message}", style="not bold")
    text.append(f"\n  {notice.hint}" if notice.hint else "", style="not bold dim")
    return text
