"""The documentation's site: built once, without a warning; nothing in it leads nowhere, and nothing is fetched."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
from tare_bench import registry
from tare_bench.cli import cli

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "docs/build.py"
SAMPLE = Path("docs/sample/report.html")

FETCHED = {("a", "href"): False, ("form", "action"): False}
"""Which attributes with an address are followed by a reader only; a browser fetches all others by itself."""


@dataclass
class Page(HTMLParser):
    """What a page names, and what in it can be named."""

    text: str
    ids: list[str] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", self.text, re.DOTALL))
        self.fetches += _fetched_by(styles)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.ids.append(value)
            elif name in ("href", "src", "action", "poster", "data", "xlink:href") and value is not None:
                (self.fetches if FETCHED.get((tag, name), True) else self.leads).append(value)
            elif name == "srcset" and value:
                self.fetches += [each.split()[0] for each in value.split(",")]
            elif name == "style" and value:
                self.fetches += _fetched_by(value)


def _fetched_by(style: str) -> list[str]:
    return re.findall(r"""url\(\s*['"]?([^'")]+)""", style) + re.findall(r"""@import\s+['"]([^'"]+)""", style)


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run([sys.executable, BUILD, folder], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def _pages(site: Path) -> Iterator[tuple[Path, Page]]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 10
    for path in found:
        yield path, _page(path)


def test_the_build_takes_no_folder_that_holds_something_else(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    done = subprocess.run([sys.executable, BUILD, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "holds something else" in done.stderr
    assert kept.read_text() == "mine"


def test_every_link_in_the_site_leads_somewhere(site: Path) -> None:
    assert not [f"{path.relative_to(site)}: {link[:80]}" for path, link in _inner(site) if not _leads(path, link)]


def _inner(site: Path) -> Iterator[tuple[Path, str]]:
    for path, page in _pages(site):
        for link in (*page.leads, *page.fetches):
            if not urlsplit(link).scheme:
                yield path, link


def _leads(path: Path, link: str) -> bool:
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    named = parts.fragment and target.suffix == ".html"
    return target.is_file() and (not named or unquote(parts.fragment) in _page(target).ids)


def test_a_link_that_leads_nowhere_would_be_seen(site: Path) -> None:
    here = site / "index.html"
    assert _leads(here, "docs/methodology.html#metrics")
    assert not _leads(here, "docs/methodology.html#no-such-place")
    assert not _leads(here, "docs/no-such-page.html")
    page = Page("<a href='one'><img src='two'><p style='background: url(\"three\")'><style>@import 'four';</style>")
    assert (page.leads, page.fetches) == (["one"], ["two", "three", "four"])


def test_no_page_of_the_site_has_an_id_twice(site: Path) -> None:
    assert not [path.relative_to(site) for path, page in _pages(site) if len(page.ids) != len(set(page.ids))]


def test_nothing_in_the_site_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = [(path, each) for path, page in _pages(site) for each in page.fetches]
    fetched += [(path, each) for path in site.rglob("*.css") for each in _fetched_by(path.read_text(encoding="utf-8"))]
    assert len(fetched) > 100
    for path, each in fetched:
        parts = urlsplit(each)
        here = parts.scheme == "data" or not (parts.scheme or parts.netloc)
        assert here, f"{path.relative_to(site)}: {each[:80]}"
        assert parts.scheme or _leads(path, each), f"{path.relative_to(site)}: {each[:80]}"


def test_links_out_of_the_site_are_addresses(site: Path) -> None:
    out = [(path, urlsplit(link)) for path, page in _pages(site) for link in page.leads if urlsplit(link).scheme]
    bad = [(path.name, parts.netloc) for path, parts in out if (parts.scheme, bool(parts.hostname)) != ("https", True)]
    assert not [each for each in bad if each != (SAMPLE.name, "")]  # a report carries its own data


def test_every_metric_is_defined_at_a_place_of_its_own(site: Path) -> None:
    page = _page(site / "docs/metrics.html")
    words = _plain(page.text)
    for name, metric in registry.metrics().items():
        assert re.sub(r"[^a-z0-9]+", "-", name) in page.ids, name
        assert _plain(metric.definition).replace("`", "") in words, name
        assert _plain(metric.title).replace("`", "") in words, name


def test_every_command_is_there_with_all_of_its_options(site: Path) -> None:
    ids = set(_page(site / "docs/commands.html").ids)
    for path, command in _commands(cli, "tare"):
        section = path.replace(" ", "-")
        options = [each for each in command.params if isinstance(each, click.Option)]
        names = [name.lstrip("-") for each in options for name in (*each.opts, *each.secondary_opts)]
        assert {section, *(f"cmdoption-{section}-{name}" for name in names)} <= ids, path


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, f"{path} {name}")


@pytest.mark.parametrize(("page", "language"), [("index.html", "en"), ("index.ko.html", "ko")])
def test_there_is_a_home_in_either_language(site: Path, page: str, language: str) -> None:
    text = (site / page).read_text(encoding="utf-8")
    assert re.search(rf'<html[^>]* lang="{language}"', text)
    assert {"index.html", "index.ko.html"} - {page} <= set(_page(site / page).leads)


def test_the_search_needs_no_server(site: Path) -> None:
    """An index that is a script loads from disk; one that is fetched does not."""
    assert (site / "searchindex.js").read_text(encoding="utf-8").startswith("Search.setIndex(")
    assert any(urlsplit(each).path == "searchindex.js" for each in _page(site / "search.html").fetches)


def test_the_shipped_run_is_embedded_as_it_is_kept(site: Path) -> None:
    assert "report.html" in _page(site / SAMPLE.with_name("index.html")).fetches
    refresh = "the page has changed: if that is meant, run ./noxw -s docs -- --refresh-sample, and commit"
    assert (site / SAMPLE).read_bytes() == (ROOT / SAMPLE).read_bytes(), refresh


def test_the_cell_that_is_explained_is_one_of_that_run() -> None:
    """Boot to ready, of the arm `native`."""
    row = re.search(r'<tr[^>]* id="row-boot\.ready".*?</tr>', (ROOT / SAMPLE).read_text(encoding="utf-8"), re.DOTALL)
    assert row is not None
    drawn = re.findall(r"<text (?!class=.note).*?</text>", (ROOT / "docs/cell.svg").read_text(encoding="utf-8"))
    assert len(drawn) == 3
    for each in drawn:
        assert _plain(each) in _plain(row[0])


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", html.unescape(re.sub(r"<[^>]+>", "", text)))
