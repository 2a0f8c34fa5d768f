"""`tare report`: stored runs, rendered again; and the end of `tare run`."""

from __future__ import annotations

import shlex
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from tare_bench.reports.exports import FORMATS, render

from .. import leases, registry, store
from ..errors import StoreError, UsageError
from ..model import Notice, Plan, Run
from .common import AS_JSON, LANG, RESULTS, program, repeated, stdout
from .exports import Export, write_exports

if TYPE_CHECKING:
    from ..across import Across
    from ..analysis import Analysis
    from ..nights import History


@click.command()
@click.argument("runs", metavar="[RUN...]", nargs=-1)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it; - is stdout.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="html",
    show_default=True,
    help="The page, a text, data, or what another tool reads.",
)
@click.option("--base", metavar="RUN", help="An earlier run to hold it against: what has changed since then.")
@click.option("--across-hosts", is_flag=True, help="Compare it with --base even if the machines are unlike.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@LANG
@RESULTS
@AS_JSON
def report(
    runs: tuple[str, ...],
    output: Path | None,
    form: str,
    base: str | None,
    across_hosts: bool,
    open_page: bool,
    lang: str,
    results: Path,
    as_json: bool,
) -> int:
    """Render stored runs again: offline, later, on another machine.

    RUN is a folder, an id, or `latest` (the default). What a killed run had finished is rendered too. A folder that
    holds runs is rendered as the latest of them, with the series of them all.
    """
    from tare_bench.reports.language import language

    form = "json" if as_json else form
    if base is not None and form != "html":
        raise UsageError("--base is for the page: other formats have one run each.", hint="Leave --format out.")
    if across_hosts and base is None:
        raise UsageError("--across-hosts says how to compare with --base, and there is none.", hint="--base RUN")
    joined = FORMATS[form].joined
    if output is not None and len(runs) > 1 and not joined:
        raise UsageError(f"--output is one file, and these are {len(runs)} runs.", hint="Render them one by one.")
    names = runs or (store.LATEST,)
    with language(lang):
        if joined:
            _text(form, [folder for name in names for folder in _folders(name, results)], output)
            return 0
        for name in names:
            if form == "html" and store.holds_runs(Path(name)):
                if base is not None:
                    raise UsageError(f"{name} is a folder of runs: --base is held against one.", hint="Name the run.")
                _over_time(Path(name), output, open_page=open_page)
                continue
            folder = store.find(name, results)
            if base is not None:
                _since(folder, store.find(base, results), output, open_page=open_page, across_hosts=across_hosts)
            elif form == "html":
                _page(folder, output, open_page=open_page)
            else:
                _text(form, [folder], output)
    return 0


def _folders(name: str, results: Path) -> list[Path]:
    """The run of that name, or all runs of a folder that holds some."""
    return store.runs(Path(name)) if store.holds_runs(Path(name)) else [store.find(name, results)]


def analysed(folder: Path) -> Analysis:
    """A stored run's analysis. Raises StoreError, UsageError."""
    from .. import analysis

    run = _told_alive(store.load(folder))
    planned = run.manifest.plan.workloads
    return analysis.analyse(run, registry.metrics(planned), registry.primaries(planned))


def _told_alive(run: Run) -> Run:
    """A run without an end that is still going on on this host is said to be."""
    if run.finished or not leases.alive(run.manifest.run):
        return run
    notice = Notice(
        code="in-flight",
        subject="run",
        message="This run is still going on: every trial that was finished is here.",
        hint="Render it again at its end.",
    )
    others = [each for each in run.notices if each.code != "unfinished"]
    return msgspec.structs.replace(run, in_flight=True, notices=[*others, notice])


def write_page(folder: Path, path: Path) -> Analysis:
    """Render a run's page to that path."""
    from tare_bench.reports.html import render_html

    found = analysed(folder)
    store.write_report(path, render_html(found))
    return found


def _page(folder: Path, output: Path | None, *, open_page: bool) -> None:
    found = analysed(folder)
    _write(found, None, None, output, folder / "report.html", open_page=open_page)


def _since(folder: Path, base: Path, output: Path | None, *, open_page: bool, across_hosts: bool) -> None:
    """The page of a run against an earlier one."""
    from ..across import across

    before, found = analysed(base), analysed(folder)
    held = across(before, found, across_hosts=across_hosts)
    _write(found, held, None, output, folder / f"since-{before.run.manifest.run}.html", open_page=open_page)


def _over_time(results: Path, output: Path | None, *, open_page: bool) -> None:
    """The page of the latest run of a folder, with the series of them all. One that cannot be read is said."""
    from .. import acknowledged
    from ..nights import history

    known, every = acknowledged.read(results), []
    for folder in store.runs(results):
        try:
            every.append(analysed(folder))
        except StoreError as error:
            click.echo(f"left out: {error.brief}", err=True)
    if not every:
        raise UsageError(f"None of the runs in {results} can be read.", hint="tare list runs")
    every.sort(key=lambda each: each.run.manifest.started_at)
    _write(every[-1], None, history(every, known), output, results / "history.html", open_page=open_page)


def _write(
    found: Analysis,
    since: Across | None,
    nights: History | None,
    output: Path | None,
    usual: Path,
    *,
    open_page: bool,
) -> None:
    from tare_bench.reports.html import render_html
    from tare_bench.reports.view import answer

    page = render_html(found, since, nights)
    if output is not None and str(output) == "-":
        click.echo(page)
        return
    path = output or usual
    store.write_report(path, page)
    for sentence in answer(found, since, nights):
        click.echo(sentence)
    click.echo(f"page: {path}")
    if open_page:
        webbrowser.open(path.resolve().as_uri())


def _text(form: str, folders: Sequence[Path], output: Path | None) -> None:
    printed = output is None or str(output) == "-"
    if printed and form == "text":  # which knows the terminal's width and colours
        from tare_bench.reports.terminal import render_terminal

        render_terminal(analysed(folders[0]), stdout())
        return
    text = render(form, [analysed(folder) for folder in folders])
    if output is None or printed:
        click.echo(text, nl=False)
    else:
        store.write_report(output, text)


def exit_status(run: Run) -> int:
    """0 when something was measured and every trial is ok or was skipped for a reason, else 1."""
    tried = [trial for trial in run.trials if trial.role == "measured"]
    good = any(trial.status == "ok" for trial in tried)
    return 0 if good and all(trial.status in ("ok", "skipped") for trial in run.trials) else 1


def finish(folder: Path, *, as_json: bool, open_page: bool, quick: bool, exports: Sequence[Export] = ()) -> int:
    """The end of a run: the answer, the table, the page, the exports, what to do next. Returns the exit status."""
    from tare_bench.reports.html import render_html
    from tare_bench.reports.terminal import render_terminal

    path = folder / "report.html"
    found = analysed(folder)
    if as_json:
        click.echo(render("json", [found]), nl=False)
    else:
        render_terminal(found, stdout(), whole=False)
    store.write_report(path, render_html(found))
    write_exports(exports, found)
    if not as_json:
        _next_steps(folder, path, _longer(found.run.manifest.plan, quick=quick))
    if open_page:
        webbrowser.open(path.resolve().as_uri())
    return exit_status(found.run)


def _next_steps(folder: Path, path: Path, longer: str) -> None:
    from tare_bench.reports.language import LANGUAGES, current

    lang = "" if current() == LANGUAGES[0] else f" --lang {current()}"
    click.echo()
    click.echo(f"page:           {path.resolve()}")
    click.echo(f"open it:        xdg-open {shlex.quote(str(path.resolve()))}")
    click.echo(f"render again:   {program()} report{lang} {shlex.quote(str(folder.resolve()))}")
    click.echo(f"run longer:     {longer}")


def _longer(plan: Plan, *, quick: bool) -> str:
    """The same command with more rounds, and without what would cut them short."""
    from ..planfile import MAX_ROUNDS
    from ..suites import QUICK, SUITES

    changes: dict[str, str | None] = {"rounds": str(min(3 * plan.rounds, MAX_ROUNDS)), "max_time": None, "quick": None}
    if quick and {each.name for each in plan.workloads} == set(SUITES[QUICK]):
        changes["suite"] = QUICK
    return repeated(click.get_current_context(), changes)
