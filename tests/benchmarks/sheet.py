"""The memory sheet of Docker and of guests on this host, from ramps: its numbers, and whether they are narrow."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from killing import tare
from tare_bench import reconcile, store
from tare_bench.reconcile import Sheet
from tare_bench.stats import Estimate

ROUNDS = 6
GUEST_SHARE = 0.10
CONTAINER_SHARE, CONTAINER_BYTES = 0.25, 512 * 1024
"""How wide the interval of the ramps' slopes may be: as a share of the slope, and for a container at least this."""


def measure(drivers: tuple[str, ...], say: Callable[[str], None]) -> dict[str, Any]:
    """Run the ramps, and return the evidence: a document for JSON."""
    with tempfile.TemporaryDirectory(prefix="tare-sheet-") as folder:
        results = Path(folder) / "results"
        chosen = [word for driver in drivers for word in ("--driver", driver)]
        words = ("run", *chosen, "--workload", "memory,memory-load,memory-ramp", "--rounds", ROUNDS)
        done = subprocess.run(
            tare(*words, "--progress", "plain", "--results", results),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, cwd=folder, start_new_session=True,
        )  # fmt: skip
        run = store.load(store.find(store.LATEST, results))
    found = reconcile.sheets(run)
    shown = [narrow(sheet) and told(sheet) for sheet in found]
    for sheet in found:
        say(summary(sheet))
    return {
        "claim": f"The interval of the ramps' slopes is narrower than {GUEST_SHARE:.0%} for guests, "
        f"{CONTAINER_SHARE:.0%} or {CONTAINER_BYTES / 2**20} MiB for containers, and what no row explains is under "
        f"{reconcile.EXPLAINED:.0%} or said why.",
        "shown": done.returncode == 0 and len(found) == len(drivers) and all(shown),
        "date": store.utc_now(),
        "exit status": done.returncode,
        "failed": [f"{each.trial} {each.reason}" for each in run.trials if each.status not in ("ok", "skipped")],
        "accelerators": run.manifest.accelerators,
        "sheets": [
            {**asdict(sheet), "width": width(sheet.slope), "width steadied": width(sheet.steadied)} for sheet in found
        ],
        "slopes": {sheet.arm: slopes(run.trials, sheet.arm) for sheet in found},
        "facts": {"host": run.manifest.host, "drivers": run.manifest.drivers},
    }


def width(found: Estimate | None) -> float | None:
    """Bytes from one end of the interval to the other."""
    return None if found is None or found.low is None or found.high is None else found.high - found.low


def narrow(sheet: Sheet) -> bool:
    """Whether the ramps agree well enough."""
    found = width(sheet.slope)
    if found is None or sheet.slope is None:
        return False
    if sheet.guest:
        return found < GUEST_SHARE * sheet.slope.value
    return found < max(CONTAINER_SHARE * sheet.slope.value, CONTAINER_BYTES)


def told(sheet: Sheet) -> bool:
    """Whether nothing is unexplained without a reason."""
    rest = next((line for line in sheet.lines if line.kind == "rest"), None)
    return rest is not None and rest.each is not None and bool(rest.why)


def slopes(trials: list[Any], arm: str) -> list[float]:
    """Of every ramp, in bytes for each instance."""
    return [
        sample.value
        for trial in trials
        for sample in trial.samples
        if trial.cell.arm == arm and sample.metric == reconcile.AVAILABLE
    ]


def summary(sheet: Sheet) -> str:
    """A line about it."""
    if sheet.slope is None:
        return f"{sheet.arm}: no ramp"
    said = [f"{name} {interval(found)}" for name, found in (("", sheet.slope), ("steadied", sheet.steadied)) if found]
    return f"{sheet.arm}: {', '.join(said)}; {sheet.unexplained or 0.0:.1%} unexplained"


def interval(found: Estimate) -> str:
    """It in MiB, and how wide."""
    return f"{found.value / 2**20:.2f} MiB, {(width(found) or 0.0) / 2**20:.2f} MiB wide"
