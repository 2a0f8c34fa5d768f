"""What takes long of what is to be shown, run once and kept with the host's facts: `nox -s evidence`.

\b
overhead  what Tare itself costs: its boots against a bare script's (overhead-DRIVER.json)
kill      each signal in the middle of each phase, on each driver (kill.json)
memory    the memory sheet of each driver, from ramps of idle instances (memory.json)
quick     a whole `tare run --quick`: its duration, and the time left that it said (quick.json)
stopping  the stopping rule in simulation: how often a run is wrong (stopping.json)
twins     each driver measured twice in 30 blocks: nothing is called different (twins.json)
planted   planted differences are found, at their size, in the rounds predicted (planted.json)
page      how big the page is and how long it takes, beside pytest-benchmark's histograms (page.json)
tuned     each signal while the host is tuned: it is given back (tuned.json)
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import killing
import overhead
import page
import planted
import quick
import sheet
import stopping
import tuned
import twins
from phases import PHASES
from tare_bench import hostfacts, registry, store
from tare_bench.errors import DriverUnavailable

DRIVERS = ("native", "docker", "kvm")
PARTS = ("overhead", "kill", "memory", "quick", "stopping", "twins", "planted", "page", "tuned")
SIGNALS = {each.name: each for each in killing.SIGNALS}


def say(text: str) -> None:
    """A line of progress."""
    click.echo(text, err=True)


def words(known: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Reads `a,b` and refuses what is not known."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        chosen = tuple(word.strip() for word in value.split(","))
        if unknown := [word for word in chosen if word not in known]:
            raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(known)}")
        return chosen

    return read


def choice(flag: str, known: tuple[str, ...]) -> Callable[[Any], Any]:
    """An option that takes some of these words, by default all."""
    return click.option(flag, default=",".join(known), show_default=True, callback=words(known))


@click.command(help=__doc__)
@choice("--only", PARTS)
@choice("--drivers", DRIVERS)
@choice("--signals", tuple(SIGNALS))
@choice("--phases", tuple(PHASES))
@click.option("--pairs", type=int, help="Pairs of boots, in place of the 60 or 30 of the claim.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/evidence"))
def main(
    only: tuple[str, ...],
    drivers: tuple[str, ...],
    signals: tuple[str, ...],
    phases: tuple[str, ...],
    pairs: int | None,
    output: Path,
) -> None:
    shown = []
    if "overhead" in only:
        shown += [costs(driver, pairs, output) for driver in drivers if driver in overhead.CLAIMS]
    if "kill" in only:
        shown.append(kept(kills(drivers, signals, phases), output / "kill.json"))
    if "quick" in only:
        shown.append(kept(quick.measure(say), output / "quick.json"))
    if "memory" in only:
        able = tuple(driver for driver in drivers if registry.driver(driver).check().ok)
        shown.append(kept(sheet.measure(able, say), output / "memory.json"))
    if "stopping" in only:
        shown.append(kept(stopping.simulate(say), output / "stopping.json"))
    if "twins" in only:
        able = tuple(driver for driver in drivers if registry.driver(driver).check().ok)
        shown.append(kept(twins.measure(able, say), output / "twins.json"))
    if "planted" in only:
        shown.append(kept(planted.measure(say), output / "planted.json"))
    if "page" in only:
        shown.append(kept(page.measure(say), output / "page.json"))
    if "tuned" in only:
        able = [driver for driver in drivers if registry.driver(driver).check().ok]
        shown.append(kept(tuned.measure(able, say), output / "tuned.json"))
    raise SystemExit(0 if all(shown) else 1)


def costs(driver: str, pairs: int | None, output: Path) -> bool:
    """What Tare itself costs on one driver. A driver that cannot run here is said, and nothing is shown by it."""
    claim = overhead.CLAIMS[driver]
    try:
        document = overhead.measure(claim, pairs or claim.pairs, say)
    except DriverUnavailable as error:
        say(f"{driver}: not shown: {error}")
        return False
    say(overhead.summary(document))
    return kept(document, output / f"overhead-{driver}.json")


def kills(drivers: tuple[str, ...], signals: tuple[str, ...], phases: tuple[str, ...]) -> dict[str, Any]:
    """The whole matrix. One that fails is a line of it, and does not end it."""
    able = [driver for driver in drivers if registry.driver(driver).check().ok]
    lines = list(matrix(able, signals, phases))
    return {
        "claim": "Whatever ends a run, no finished trial is lost, and after `tare sweep` nothing of it is left on the "
        "host and nothing that isn't Tare's was touched.",
        "shown": bool(lines) and all(line["ok"] for line in lines),
        "date": store.utc_now(),
        "drivers that cannot run here": sorted(set(drivers) - set(able)),
        "kills": lines,
        "facts": {"host": hostfacts.collect()},
    }


def matrix(drivers: list[str], signals: tuple[str, ...], phases: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A line for each driver, phase and signal."""
    for driver, phase, name in itertools.product(drivers, phases, signals):
        if (driver, phase) == ("native", "stopping"):
            continue  # a process stops within a millisecond: nothing can be aimed at that
        line = one_kill(driver, phase, SIGNALS[name])
        say(f"{driver} {phase} {name}: {'ok' if line['ok'] else line['problems']}")
        yield line


def one_kill(driver: str, phase: str, signum: signal.Signals) -> dict[str, Any]:
    """One kill; where it could not be tried that is its problem."""
    try:
        return killing.kill_once(signum, phase, [driver]).as_json()
    except (TimeoutError, RuntimeError) as error:
        tried = {"signal": signum.name, "phase": phase, "drivers": [driver]}
        return {"ok": False, **tried, "problems": [f"not tried: {error}"]}


def kept(document: dict[str, Any], path: Path) -> bool:
    """Write it down at once: what comes next may fail. Returns whether it shows its claim."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, default=list) + "\n")
    say(f"{'shown' if document['shown'] else 'NOT shown'}: {document['claim']} ({path})")
    return bool(document["shown"])


if __name__ == "__main__":
    main()
