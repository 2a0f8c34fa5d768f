"""A whole `tare run --quick`: how long it takes, and how near the time left that it says came to the truth."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from killing import tare
from tare_bench import store

LIMIT = 90.0
"""Seconds that it may take once the images are built."""
TOLERANCE = 0.25
"""By what share of the truth the time left may be off, from the first measured block on."""
LEAST = 5.0
"""Seconds left below which a share says nothing: settling alone may take as long."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The time left as it was said before one session, and as it came to be."""

    block: int
    arm: str
    said: float
    true: float

    @property
    def error(self) -> float:
        """Share of the truth; positive where too much was said."""
        return (self.said - self.true) / self.true if self.true > 0 else 0.0


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Run it, and return the evidence: a document for JSON."""
    with tempfile.TemporaryDirectory(prefix="tare-quick-") as folder:
        results = Path(folder) / "results"
        began = time.monotonic()
        status, events = watched(results, say)
        seconds = time.monotonic() - began
        run = store.load(store.find(store.LATEST, results))
    failed = [trial.trial for trial in run.trials if trial.status not in ("ok", "skipped")]
    return {
        "claim": f"It takes at most {LIMIT:.0f} s once the images are built, and no trial fails.",
        "shown": status == 0 and not failed and seconds <= LIMIT,
        "date": store.utc_now(),
        "exit status": status,
        "seconds": seconds,
        "trials": len(run.trials),
        "failed": failed,
        "accelerators": run.manifest.accelerators,
        "time left": time_left(compared(events)),
        "facts": {"host": run.manifest.host, "drivers": run.manifest.drivers},
    }


def watched(results: Path, say: Callable[[str], None]) -> tuple[int, list[tuple[float, dict[str, Any]]]]:
    """Run it to its end. Returns its exit status, and its events with the moment at which each was read."""
    process = subprocess.Popen(
        tare("run", "--quick", "--progress", "json", "--results", results),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        cwd=results.parent, start_new_session=True,
    )  # fmt: skip
    try:
        events = read_events(process, say)
    finally:
        if process.poll() is None:
            process.terminate()
        status = process.wait()
    return status, events


def time_left(estimates: list[Estimate]) -> dict[str, Any]:
    """How near it came; printed, not promised: how long the host takes to settle is not the tool's to know."""
    counted = [each for each in estimates if each.block >= 1 and each.true >= LEAST]
    errors = [abs(each.error) for each in counted]
    return {
        "tolerance": TOLERANCE,
        "within": all(error <= TOLERANCE for error in errors),
        "share within": sum(error <= TOLERANCE for error in errors) / max(1, len(errors)),
        "worst": max(errors, default=None),
        "estimates": [{**asdict(each), "error": each.error} for each in estimates],
    }


def read_events(process: subprocess.Popen[str], say: Callable[[str], None]) -> list[tuple[float, dict[str, Any]]]:
    """Its events until it ends; everything else that it says is passed on."""
    assert process.stderr is not None
    events = []
    for line in process.stderr:
        at = time.monotonic()
        if line.startswith("{"):
            events.append((at, json.loads(line)))
        else:
            say(line.rstrip())
    process.wait()
    return events


def compared(events: list[tuple[float, dict[str, Any]]]) -> list[Estimate]:
    """What was said before each session, against when the last trial was done."""
    ended = max((at for at, event in events if event["event"] == "trial"), default=0.0)
    return [
        Estimate(event["block"], event["arm"], event["seconds_left"], ended - at)
        for at, event in events
        if event["event"] == "session"
    ]
