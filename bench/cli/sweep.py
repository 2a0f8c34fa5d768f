"""`tare sweep`: finds and removes what a killed run left behind."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import click

from .. import leases, registry, tuning
from .. import sweep as sweeping
from ..errors import TareError
from .common import AS_JSON, print_json, say


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@AS_JSON
def sweep(dry_run: bool, as_json: bool) -> int:
    """Find and remove what a killed run left behind on this host.

    By the runs' own leases and by label: instances, cgroups, overlays, a private engine. Runs that are alive, and
    whatever is not Tare's, are not touched.
    """
    dead, things = sweeping.find()
    try:
        found = _tuned() + [(thing.run, thing.kind, thing.name, thing.remove) for thing in things]
        labelled, unasked = _labelled({run.run for run in dead})
        found += labelled
        rows = [{"run": run, "kind": kind, "name": name} for run, kind, name, _ in found]
        if as_json:
            print_json(rows)
        for row in rows if not as_json else []:
            click.echo(f"{'would remove' if dry_run else 'removing'} {row['kind']} {row['name']} (run {row['run']})")
        if not found and not unasked and not as_json:
            click.echo("nothing is left behind")
        stays = [] if dry_run else leases.remove_all([(f"{kind} {name}", remove) for _, kind, name, remove in found])
    finally:
        for run in dead:
            run.close()
    if stays or unasked:
        brief = "Not everything could be removed." if stays else "Not every engine could be asked."
        raise TareError(brief, details="\n".join([*stays, *unasked]), hint="Run it as root, once more.")
    return 0


def _tuned() -> _Labelled:
    """What killed runs have left tuned."""
    return [(journal.run, "tuning", tuning.described(journal), partial(_undo, path)) for path, journal in tuning.left()]


def _undo(path: Path) -> None:
    for line in tuning.undo(path):
        say(line)


_Labelled = list[tuple[str, str, str, Callable[[], None]]]


def _labelled(dead: Collection[str]) -> tuple[_Labelled, list[str]]:
    """What drivers find by label in engines that are the user's own, and what those say that could not be asked."""
    # The dead ones' locks are held by us just now: they look alive.
    live = [run for run in leases.live_runs() if run not in dead]
    found: _Labelled = []
    unasked: list[str] = []
    for name in registry.names(registry.DRIVERS):
        try:
            driver = registry.driver(name)
        except TareError:
            continue  # a driver that does not load has nothing here
        try:
            found += [("by label", each.kind, each.name, each.remove) for each in driver.leftovers(live)]
        except TareError as error:
            unasked.append(f"{name}: {error}")
    return found, unasked
