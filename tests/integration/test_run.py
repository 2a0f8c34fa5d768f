"""A whole run of the three technologies by one command, on this host for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import Tare
from tare_bench import store

pytestmark = [pytest.mark.needs(name) for name in ("root", "native", "docker", "kvm")]

ARMS = ("native", "docker", "kvm")


def test_a_quick_run_measures_keeps_and_shows_all(tare: Tare, tmp_path: Path) -> None:
    done = tare("run", "--quick", "--rounds", "2", "--seed", "1", "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["finished"]
    assert document["answer"]

    folder = store.find("latest", tmp_path / "results")
    assert {"manifest.json", "trials.jsonl", "end.json", "report.html"} <= {each.name for each in folder.iterdir()}
    run = store.load(folder)
    assert run.finished
    assert [trial for trial in run.trials if trial.status not in ("ok", "skipped")] == []
    # a warm-up block and two measured ones, each with every arm once
    boots = [(trial.block, trial.cell.arm) for trial in run.trials if trial.cell.workload == "boot"]
    assert sorted(boots) == sorted((block, arm) for block in range(3) for arm in ARMS)
    assert {trial.role for trial in run.trials if trial.block == 0} == {"warmup"}

    # what each cell says of its accelerator was read back from the instances
    accelerators = {trial.cell.arm: trial.cell.accelerator for trial in run.trials}
    assert accelerators == run.manifest.accelerators
    assert accelerators["native"] == accelerators["docker"] == "none"
    assert accelerators["kvm"] in ("kvm", "tcg")
    assert document["emulated"] == [arm for arm in ARMS if accelerators[arm] == "tcg"]

    measured = {(trial.cell.arm, sample.metric) for trial in run.trials for sample in trial.samples}
    for arm in ARMS:
        # boot.cpu is not given where the host was not quiet
        for metric in ("boot.ready", "stop.stopped", "memory.pss", "disk.image", "isolation.same_kernel"):
            assert (arm, metric) in measured
    assert {arm for arm, metric in measured if metric == "boot.kernel"} == {"kvm"}
    assert all(sample.value > 0 for trial in run.trials for sample in trial.samples if sample.metric == "boot.ready")

    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ("EMULATED" in page) == (accelerators["kvm"] == "tcg")

    again = tare("report", folder, "--format", "csv")
    assert again.returncode == 0, again.stderr
    assert len(again.stdout.splitlines()) == 1 + sum(len(trial.samples) for trial in run.trials)


def test_the_same_seed_is_the_same_order(tare: Tare) -> None:
    first, second, other = (
        json.loads(tare("plan", "--seed", seed, "--rounds", "8", "--json").stdout)["order"] for seed in ("3", "3", "4")
    )
    assert first == second
    assert first != other


def test_a_simulated_run_says_so(tare: Tare, tmp_path: Path) -> None:
    done = tare("run", "-d", "fake", "--rounds", "6", "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["simulated"]
    page = (store.find("latest", tmp_path / "results") / "report.html").read_text(encoding="utf-8")
    assert "SIMULATED" in page
