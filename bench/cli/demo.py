"""`tare demo`: a run of real hardware that ships with the package."""

from __future__ import annotations

import webbrowser
from importlib.resources import as_file, files
from pathlib import Path

import click

from .. import store
from ..errors import StoreError
from .common import AS_JSON, LANG
from .report import write_page


@click.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("tare-demo.html"), show_default=True
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@LANG
@AS_JSON
def demo(output: Path, open_page: bool, lang: str, as_json: bool) -> int:
    """Render a stored run of real hardware that ships with the package, and say where it came from."""
    from tare_bench.reports.exports import render
    from tare_bench.reports.language import language
    from tare_bench.reports.view import headline

    shipped = files("tare_bench").joinpath("demo")
    with as_file(shipped) as folder:
        if not (folder / store.MANIFEST).is_file():
            raise StoreError("This installation has no demo run.", hint="Measure one of your own: tare run --quick")
        with language(lang):
            found = write_page(folder, output)
            document, answer = render("json", [found]), headline(found)
    if as_json:
        click.echo(document, nl=False)
        return 0
    host = found.run.manifest.host
    click.echo(
        f"A run of {found.run.manifest.started_at} on {host.get('cpu model name', 'an unnamed CPU')}, {host.get('os')}."
    )
    for notice in found.run.notices:
        if notice.code in ("emulated", "host-is-a-guest"):
            click.echo(f"note: {notice.message}")
    for sentence in answer:
        click.echo(sentence)
    click.echo(f"page: {output}")
    if open_page:
        webbrowser.open(output.resolve().as_uri())
    return 0
