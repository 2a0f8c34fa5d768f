"""`tare list`: what there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from .. import registry, store, suites
from ..errors import StoreError, UsageError, cut
from .common import AS_JSON, RESULTS, print_json


@click.command("list")
@click.argument("what", type=click.Choice(["drivers", "workloads", "suites", "metrics", "runs"]))
@click.argument("names", metavar="[NAME...]", nargs=-1)
@RESULTS
@AS_JSON
def list_(what: str, names: tuple[str, ...], results: Path, as_json: bool) -> int:
    """List drivers, workloads, suites, metrics or runs, one a line: all of them, or those that are named."""
    listed: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "drivers": _drivers,
        "workloads": _workloads,
        "suites": lambda: [(name, ", ".join(names)) for name, names in suites.SUITES.items()],
        "metrics": _metrics,
        "runs": lambda: _runs(results),
    }
    rows = _named(what, names, listed[what]())
    if as_json:
        print_json([{"name": name, "about": about} for name, about in rows])
        return 0
    width = max((len(name) for name, _ in rows), default=0)
    for name, about in rows:
        click.echo(f"{name:{width}}  {about}".rstrip())
    if not rows:
        click.echo(f"none in {results}; measure one: tare run --quick", err=True)
    return 0


def _named(what: str, names: tuple[str, ...], rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    known = dict(rows)
    for name in names:
        if name not in known:
            hint = registry.nearest(name, known)
            raise UsageError(f"There is no {what.removesuffix('s')} named `{cut(name)}`.", hint=hint)
    return [(name, known[name]) for name in names] if names else rows


def _drivers() -> list[tuple[str, str]]:
    found = []
    for name in registry.names(registry.DRIVERS):
        driver = registry.driver(name)
        about = (type(driver).__doc__ or "").strip().partition("\n")[0]
        options = f" Options: {', '.join(driver.OPTIONS)}." if driver.OPTIONS else ""
        found.append((name, about + options))
    return found


def _workloads() -> list[tuple[str, str]]:
    return [(name, registry.workload(name).title) for name in registry.names(registry.WORKLOADS)]


def _metrics() -> list[tuple[str, str]]:
    return [(m.name, f"[{m.unit}] {m.better} is better: {m.definition}") for m in registry.metrics().values()]


def _runs(results: Path) -> list[tuple[str, str]]:
    found = []
    for folder in store.runs(results):
        try:
            manifest = store.manifest(folder)
        except StoreError as error:
            found.append((folder.name, f"cannot be read: {error.brief}"))
        else:
            arms = ", ".join(arm.name for arm in manifest.plan.arms)
            found.append((folder.name, f"{manifest.started_at}  {arms}"))
    return found
