"""Differences that were planted into a real engine's arm: are they found, at their size, in the rounds predicted?

The arm is Docker a second time, behind a driver of this module's own: it starts each container a share of the median
later, or lets it hold 8 MiB more. Everything else is `tare run` as it is.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import click.testing
from tare_bench import analysis, registry, stats, store
from tare_bench.cli import cli
from tare_bench.cli import run as run_command
from tare_bench.compare import Comparison, Row

SHARES = (0.05, 0.10, 0.20)
ROUNDS_OF_SMALLEST = 60
MOST = 200
HELD = 8 << 20
ARM = "planted"
PLAN = """
[run]
baseline = "docker"
aa = false
{rounds}

[[arm]]
driver = "docker"

[[arm]]
name = "{arm}"
driver = "docker"
options = {{ runtime = "runc" }}
"""
Say = Callable[[str], None]


class Planted:
    """A driver whose instances differ from another's by what was planted."""

    def __init__(self, inner: Any, delay: float, held: int) -> None:
        self._inner, self._delay, self._held = inner, delay, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, spec: Any, *, name: str) -> Any:
        return PlantedInstance(self._inner.create(spec, name=name), self._inner.client, self._delay, self._held)


class PlantedInstance:
    """A container that starts later, or holds more."""

    def __init__(self, inner: Any, client: Any, delay: float, held: int) -> None:
        self._inner, self._client, self._delay, self._held = inner, client, delay, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self) -> None:
        if self._delay:
            time.sleep(self._delay)
        self._inner.start()
        if self._held:
            # dd has its whole buffer filled before it writes, and the pipe takes 64 KiB of it
            hold = f"dd if=/dev/zero bs={self._held} count=1 2>/dev/null | sleep 600"
            made = self._client.exec_create(self._inner.container, ["sh", "-c", hold])
            self._client.exec_start(made["Id"], detach=True)


@contextmanager
def planted(delay: float = 0.0, held: int = 0) -> Iterator[None]:
    """Let `tare run` find the planted driver behind the arm of that name."""
    make_ready = run_command.make_ready

    def changed(*given: Any) -> Any:
        ready = make_ready(*given)
        ready.drivers[ARM] = Planted(ready.drivers[ARM], delay, held)
        return ready

    with mock.patch.object(run_command, "make_ready", changed):
        yield


def run(workloads: str, rounds: str) -> analysis.Analysis:
    """Measure docker and the planted arm."""
    with tempfile.TemporaryDirectory(prefix="tare-planted-") as folder:
        plan = Path(folder) / "plan.toml"
        plan.write_text(PLAN.format(arm=ARM, rounds=rounds))
        argv = ["run", str(plan), "-w", workloads, "--progress", "none", "--results", str(Path(folder) / "results")]
        argv += ["--max-time", "900"]
        outcome = click.testing.CliRunner().invoke(cli, argv)
        if outcome.exit_code or outcome.exception:
            raise RuntimeError(f"tare run ended with {outcome.exit_code}:\n{outcome.output[-2000:]}")
        found = store.load(store.find(store.LATEST, Path(folder) / "results"))
    planned = found.manifest.plan.workloads
    return analysis.analyse(found, registry.metrics(planned), registry.primaries(planned))


def compared(found: analysis.Analysis, metric: str) -> Comparison:
    item = found.comparison(Row(metric=metric, workload=metric.partition(".")[0]), ARM)
    assert item is not None
    assert item.effect is not None
    return item


def predicted(found: analysis.Analysis, metric: str, at: int) -> int | None:
    """The number of pairs that was predicted after the first look."""
    row = Row(metric=metric, workload=metric.partition(".")[0])
    cells = [found.cell(row, arm) for arm in (found.run.manifest.plan.baseline, ARM)]
    by_block = [dict(zip(cell.points.blocks, cell.points.values, strict=True)) for cell in cells if cell]
    blocks = sorted(by_block[0].keys() & by_block[1].keys())[:at]
    definition = found.metrics[metric]
    ratio = definition.scale == "ratio"
    pairs = stats.paired([by_block[0][b] for b in blocks], [by_block[1][b] for b in blocks], ratio=ratio)
    return stats.pairs_predicted(pairs, stats.region(definition.region, ratio=ratio), compared(found, metric).level)


def line(found: analysis.Analysis, metric: str, truth: float, slack: float = 0.0) -> dict[str, Any]:
    """`slack`: how much more than the truth it may be, for what the holder's processes share with others."""
    item = compared(found, metric)
    assert item.effect is not None
    low, high = item.effect.low or -math.inf, item.effect.high or math.inf
    return {
        "metric": metric,
        "truth": truth,
        "verdict": item.verdict,
        "pairs": item.pairs,
        "predicted after ten": predicted(found, metric, 10),
        "effect": [item.effect.value, low, high],
        "inside": low <= truth + slack and truth <= high,
        "stops": [(stop.why, stop.pairs, stop.needed) for stop in found.run.stops],
    }


def measure(say: Say) -> dict[str, Any]:
    """Each planted difference: a document for JSON."""
    with planted():
        pilot = run("boot", "min_rounds = 10\nmax_rounds = 10")
    median = pilot.cell(Row(metric="boot.ready", workload="boot"), "docker")
    assert median is not None
    assert median.median is not None
    lines = []
    for share in SHARES:
        fixed = share == min(SHARES)
        rounds = f"min_rounds = {ROUNDS_OF_SMALLEST if fixed else 10}\nmax_rounds = "
        with planted(delay=share * median.median.value):
            found = run("boot", rounds + str(ROUNDS_OF_SMALLEST if fixed else MOST))
        lines.append({"planted": f"{100 * share:g} % later", **line(found, "boot.ready", 1 + share)})
        say(json_line(lines[-1]))
    with planted(held=HELD):
        found = run("memory", "min_rounds = 10\nmax_rounds = 60")
    own = holders(found)
    lines.append({"planted": "8 MiB held", "holder's own bytes": own, **line(found, "memory.pss", HELD, own)})
    say(json_line(lines[-1]))
    return {
        "claim": "10 % and 20 % of a boot's median, and 8 MiB, get their verdict with their size inside the interval; "
        f"5 % is judged by its interval after {ROUNDS_OF_SMALLEST} rounds.",
        "shown": all(each["inside"] for each in lines)
        and all(each["verdict"] == "slower/larger" for each in lines if not each["planted"].startswith("5 %")),
        "date": store.utc_now(),
        "baseline's median": median.median.value,
        "lines": lines,
        "facts": {"host": found.run.manifest.host, "drivers": found.run.manifest.drivers},
    }


def holders(found: analysis.Analysis) -> float:
    """What the processes that hold the 8 MiB weigh beside them: their PSS less those, in bytes."""
    own = []
    for trial in found.run.trials:
        if trial.cell.arm == ARM and trial.cell.workload == "memory" and trial.role == "measured":
            each = [word.rsplit(" ", 1) for word in trial.facts.get("processes", "").split(", ") if " " in word]
            held = [int(size) for name, size in each if name in ("dd", "sleep")]
            shells = sorted(int(size) for name, size in each if name == "sh")
            own.append(sum(held) + (shells[0] if len(shells) > 1 else 0) - HELD)
    return float(sorted(own)[len(own) // 2]) if own else 0.0


def json_line(each: dict[str, Any]) -> str:
    low, high = each["effect"][1:]
    return f"{each['planted']}: {each['verdict']} after {each['pairs']} pairs, {low:.4g} to {high:.4g}"
