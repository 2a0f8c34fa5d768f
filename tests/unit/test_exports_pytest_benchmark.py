"""pytest-benchmark's own programs read what we write for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats
from runs import Setting, build
from tare_bench.reports.exports import render
from tare_bench.reports.exports.pytest_benchmark import stats
from test_exports import analysis, demo


def compare(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    return done.stdout


def test_its_compare_shows_the_demo_run_with_the_numbers_of_our_tables(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(render("pytest-benchmark", [demo()]))
    printed = compare(tmp_path, "--columns=min,median,max,rounds", "--time-unit=ms", "--sort=name", "demo.json")
    assert "benchmark 'boot.ready': 3 tests" in printed
    for cell in demo().cells:
        if cell.row.metric == "boot.ready" and cell.median is not None:
            label = f"{cell.arm} EMULATED" if cell.arm == "kvm" else cell.arm
            line = next(line for line in printed.splitlines() if line.startswith(f"boot.ready[{label}]"))
            numbers = [each for each in line.replace(",", "").split() if each.replace(".", "").isdigit()]
            assert [float(number) for number in numbers] == [
                round(1e3 * min(cell.points.values), 4),
                round(1e3 * cell.median.value, 4),
                round(1e3 * max(cell.points.values), 4),
                len(cell.points.values),
            ]


def test_its_histogram_draws_the_demo_run(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(render("pytest-benchmark", [demo()]))
    compare(tmp_path, "--histogram=drawn", "demo.json")
    assert "boot.ready[kvm EMULATED]" in (tmp_path / "drawn-boot.ready.svg").read_text()


def test_it_compares_two_runs_of_the_same_arms(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / f"{seed}.json").write_text(render("pytest-benchmark", [analysis(build(Setting(seed=seed)))]))
    assert "2 sources" in compare(tmp_path, "--between=median", "1.json", "2.json")


def test_what_is_known_of_a_trial_stands_beside_its_duration() -> None:
    found = json.loads(render("pytest-benchmark", [demo()]))
    bench = next(each for each in found["benchmarks"] if each["name"] == "boot.ready[kvm EMULATED]")
    info = bench["extra_info"]
    assert {info["driver"], info["accelerator"], info["unit"], info["label"]} == {"kvm", "tcg", "s", "EMULATED"}
    ready = next(cell for cell in demo().cells if (cell.row.metric, cell.arm) == ("boot.ready", "kvm"))
    assert info["block"] == list(ready.points.blocks)
    assert bench["stats"]["data"] == list(ready.points.values)
    assert found["machine_info"]["cpu"]["brand_raw"] == demo().run.manifest.host["cpu model name"]
    assert found["commit_info"]["id"] == "unversioned"


def test_only_times_are_in_it_and_late_trials_are_counted() -> None:
    late = Setting(outcome=lambda arm, workload, block: ("timeout", "late") if (arm, block) == ("kvm", 2) else None)
    found = json.loads(render("pytest-benchmark", [analysis(build(late))]))
    assert not [each for each in found["benchmarks"] if each["group"].startswith(("memory", "disk"))]
    ready = {each["param"]: each for each in found["benchmarks"] if each["group"] == "boot.ready"}
    usual, kvm = ready["docker"]["stats"]["rounds"], ready["kvm EMULATED"]
    assert kvm["stats"]["rounds"] == usual - 1
    assert kvm["extra_info"]["timed_out"] == 1


def _theirs(values: list[float]) -> dict[str, Any]:
    theirs = Stats()
    for value in values:
        theirs.update(value)
    return theirs.as_dict()


@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40))
def test_statistics_are_those_of_its_own_class(values: list[float]) -> None:
    theirs, ours = _theirs(values), stats(values)
    assert (ours.pop("data"), ours.pop("iterations")) == (values, 1)
    assert ours == theirs
