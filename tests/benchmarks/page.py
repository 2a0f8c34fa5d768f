"""How big the page is and how long it takes, with many values; pytest-benchmark draws the same ones beside it."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from tare_bench import hostfacts, store
from tare_bench.model import Run, Sample

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from runs import Setting, build

ARMS = ("native", "docker", "kvm", "four", "five", "six")
MIB = 1 << 20
LIMITS = {
    "50 metrics x 6 drivers x 40 rounds": (50, 40, {"bytes": 2_000_000, "seconds": 5.0}),
    "1,000,000 samples": (50, 3333, {"seconds": 10.0, "peak": 1 << 30}),
}
"""Metrics, rounds, and what they may take."""
REPETITIONS = 3
Say = Callable[[str], None]

OURS = """
import json, resource, sys, time
begun = time.perf_counter()
from pathlib import Path
from tare_bench import analysis, registry, store
from tare_bench.metrics import Metric
from tare_bench.reports.html import render_html
run = store.load(Path(sys.argv[1]))
names = {each.metric for trial in run.trials for each in trial.samples}
metrics = {name: Metric(name=name, unit="s", better="lower", scale="ratio", title=name, definition="As drawn.")
           for name in names}
page = render_html(analysis.analyse(run, metrics, {"boot": "bench.m00"}))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.perf_counter() - begun, "bytes": len(page.encode()), "peak": peak}))
"""


def many(metrics: int, rounds: int) -> Run:
    """A run of six arms, each boot with so many values."""
    dice = random.Random(7)
    names = dict.fromkeys(ARMS[3:], "docker")
    run = build(Setting(arms=ARMS, names=names, rounds=rounds, workloads=("boot",), accelerators={}))
    trials = [
        msgspec.structs.replace(
            trial,
            samples=[
                Sample(metric=f"bench.m{number:02d}", value=dice.lognormvariate(number / 50, 0.05), unit="s")
                for number in range(metrics)
            ],
        )
        for trial in run.trials
    ]
    return msgspec.structs.replace(run, trials=trials)


def stored(run: Run, results: Path) -> Path:
    """It as `tare run` would have stored it."""
    folder = results / run.manifest.run
    folder.mkdir(parents=True)
    (folder / store.MANIFEST).write_bytes(msgspec.json.encode(run.manifest))
    (folder / store.TRIALS).write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in run.trials))
    (folder / store.END).write_bytes(msgspec.json.encode(store.End(finished=True, ended_at=store.utc_now())))
    return folder


def theirs(run: Run, folder: Path) -> Path:
    """The same values in pytest-benchmark's own storage: a benchmark for each arm and metric."""
    values: dict[str, list[float]] = {}
    for trial in run.trials:
        for sample in trial.samples:
            values.setdefault(f"{trial.cell.arm}[{sample.metric}]", []).append(sample.value)
    benchmarks = [_benchmark(name, found) for name, found in values.items()]
    at = folder / "Linux" / "0001_run.json"
    at.parent.mkdir(parents=True)
    about = {"machine_info": {"node": "here"}, "commit_info": {"id": "none"}, "datetime": "2026-11-24T00:00:00"}
    at.write_text(json.dumps({**about, "version": "5.3.1", "benchmarks": benchmarks}))
    return folder


def _benchmark(name: str, values: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(values, n=4)
    stats = {
        "min": min(values), "max": max(values), "mean": statistics.fmean(values), "stddev": statistics.stdev(values),
        "rounds": len(values), "median": middle, "iqr": high - low, "q1": low, "q3": high, "iqr_outliers": 0,
        "stddev_outliers": 0, "outliers": "0;0", "ld15iqr": min(values), "hd15iqr": max(values),
        "ops": 1 / statistics.fmean(values), "total": sum(values), "iterations": 1, "data": values,
    }  # fmt: skip
    return {"group": name.split("[")[1], "name": name, "fullname": name, "params": None, "param": None,
            "extra_info": {}, "options": {}, "stats": stats}  # fmt: skip


def ours_once(folder: Path) -> dict[str, float]:
    """Load, analyse and render in a process of its own."""
    done = subprocess.run([sys.executable, "-c", OURS, folder], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def theirs_once(storage: Path, target: Path) -> float:
    """Seconds of `pytest-benchmark compare --histogram`."""
    words = ["--storage", f"file://{storage}", "compare", "--group-by=group", f"--histogram={target / 'h'}"]
    begun = time.perf_counter()
    code = "from pytest_benchmark.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode or not list(target.glob("h*.svg")):
        raise RuntimeError(done.stderr[-2000:])
    return time.perf_counter() - begun


def line(name: str, metrics: int, rounds: int, limits: dict[str, float], repetitions: int) -> dict[str, Any]:
    """Both, by turns, on the same values."""
    run = many(metrics, rounds)
    samples = sum(len(trial.samples) for trial in run.trials if trial.role == "measured")
    with tempfile.TemporaryDirectory(prefix="tare-page-") as made:
        folder = Path(made)
        ours, others = stored(run, folder / "results"), theirs(run, folder / "storage")
        del run
        pairs = list(_turns(ours, others, folder, repetitions))
    middle = {key: statistics.median(each[key] for each, _ in pairs) for key in ("seconds", "bytes", "peak")}
    beside = statistics.median(seconds for _, seconds in pairs)
    return {
        "what": name, "samples": samples, "limits": limits, "tare": middle, "pytest-benchmark seconds": beside,
        "ratio": statistics.median(each["seconds"] / seconds for each, seconds in pairs),
        "within": all(middle[key] < most for key, most in limits.items()), "repetitions": pairs,
    }  # fmt: skip


def _turns(ours: Path, others: Path, folder: Path, repetitions: int) -> Iterator[tuple[dict[str, float], float]]:
    for number in range(repetitions):
        target = folder / f"histograms-{number}"
        target.mkdir()
        yield ours_once(ours), theirs_once(others, target)


def measure(say: Say, repetitions: int = REPETITIONS) -> dict[str, Any]:
    """Each size: a document for JSON."""
    lines = []
    for name, (metrics, rounds, limits) in LIMITS.items():
        lines.append(found := line(name, metrics, rounds, limits, repetitions))
        seen = found["tare"]
        size = f"{seen['bytes'] / 1e6:.2f} MB, {seen['seconds']:.1f} s, {seen['peak'] / MIB:.0f} MiB at most"
        say(f"{name}: {size}; {found['ratio']:.2f} times the time of pytest-benchmark")
    return {
        "claim": "50 metrics of 6 drivers in 40 rounds are a page under 2 MB made within 5 s, and a million samples "
        "one made within 10 s and 1 GiB.",
        "shown": all(each["within"] for each in lines),
        "date": store.utc_now(),
        "lines": lines,
        "facts": {"host": hostfacts.collect()},
    }
