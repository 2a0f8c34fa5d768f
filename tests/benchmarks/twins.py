"""The same arm twice, on real engines: 30 blocks for each driver, in which nothing must be called different."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from killing import tare
from tare_bench import analysis, registry, store
from tare_bench.compare import DIFFERENT
from tare_bench.doubts import aa_floor

BLOCKS = 30
Say = Callable[[str], None]


def measured(results: Path, *options: str) -> analysis.Analysis:
    """Run it to its end, and analyse it. Raises CalledProcessError where a trial failed."""
    argv = tare("run", *options, "--progress", "none", "--results", results)
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=results.parent, check=True)
    run = store.load(store.find(store.LATEST, results))
    planned = run.manifest.plan.workloads
    return analysis.analyse(run, registry.metrics(planned), registry.primaries(planned))


def line(driver: str, blocks: int) -> dict[str, Any]:
    """One driver, measured with its twin."""
    with tempfile.TemporaryDirectory(prefix="tare-twins-") as folder:
        found = measured(Path(folder) / "results", "-d", driver, "-w", "boot", "--aa", "--rounds", str(blocks))
    return {
        "driver": driver,
        "accelerator": found.run.manifest.accelerators[driver],
        "blocks": blocks,
        "metrics": [
            {
                "metric": item.row.metric,
                "primary": item.primary,
                "verdict": item.verdict,
                "pairs": item.pairs,
                "level": item.level,
                "effect": item.effect and [item.effect.value, item.effect.low, item.effect.high],
                "floor": aa_floor(item),
            }
            for item in found.aa
        ],
        "floor.run": {arm: floor.value for arm, floor in found.floors.items()},
        "host": found.run.manifest.host,
    }


def measure(drivers: Sequence[str], say: Say, blocks: int = BLOCKS) -> dict[str, Any]:
    """Each driver: a document for JSON."""
    lines = []
    for driver in drivers:
        lines.append(line(driver, blocks))
        for each in lines[-1]["metrics"]:
            if each["primary"]:
                say(f"{driver} twice: {each['metric']} is {each['verdict']}, floor {each['floor']:.3f} (of logs)")
    wrong = [each for one in lines for each in one["metrics"] if each["primary"] and each["verdict"] in DIFFERENT]
    return {
        "claim": "The same arm measured twice is never called different in what makes headlines.",
        "shown": bool(lines) and not wrong,
        "date": store.utc_now(),
        "lines": lines,
    }
