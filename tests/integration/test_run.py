"""A whole run of the three technologies by one command, on this host for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import Tare
from tare_bench import store
from tare_bench.model import canonical

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


def test_throughput_comes_after_boot_on_instances_that_stay_up(tare: Tare, tmp_path: Path) -> None:
    done = tare("run", "--rounds", "1", "--seed", "1", "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    run = store.load(store.find("latest", tmp_path / "results"))
    assert [trial for trial in run.trials if trial.status != "ok"] == []
    # two blocks of boot, then two of throughput, of each of which the first is the warm-up
    together = {each.key for each in run.manifest.plan.workloads if each.together}
    assert len(together) == 7
    for block, role in ((2, "warmup"), (3, "measured")):
        inside = [trial for trial in run.trials if trial.block == block]
        assert {trial.role for trial in inside} == {role}
        assert len(inside) == len(together) * len(ARMS)
        assert len({trial.instance for trial in inside}) == len(ARMS)
        turns = [inside[at : at + len(ARMS)] for at in range(0, len(inside), len(ARMS))]
        # what an empty command costs in each of these instances is in the record of its first trial
        floors = [trial.instance for trial in inside if any(each.metric == "floor.run" for each in trial.samples)]
        assert sorted(floors) == sorted({trial.instance for trial in inside})
        for turn in turns:
            assert len({(trial.cell.workload, canonical(trial.cell.params)) for trial in turn}) == 1
            assert {trial.cell.arm for trial in turn} == set(ARMS)
    # the same work for all, and what it cost the host beside each rate
    work: dict[str, set[str]] = {}
    for trial in run.trials:
        if trial.block == 3:
            work.setdefault(f"{trial.cell.workload} {canonical(trial.cell.params)}", set()).add(trial.facts["work"])
            assert [sample.metric for sample in trial.samples][1] == f"{trial.cell.workload}.host_cpu"
            assert all(sample.value > 0 for sample in trial.samples)
    assert all(len(amounts) == 1 for amounts in work.values())
    # the baseline has a twin, which boots and stops in blocks of boot
    assert run.manifest.plan.twins == {"docker A/A": "docker"}
    twins = [(trial.block, trial.cell.workload) for trial in run.trials if trial.cell.arm == "docker A/A"]
    assert sorted(twins) == [(0, "boot"), (0, "stop"), (1, "boot"), (1, "stop")]
    # every instance that lived for long enough has had its clock held against the host's
    clocks = {
        (trial.cell.arm, sample.value)
        for trial in run.trials
        for sample in trial.samples
        if sample.metric == "clock.rate"
    }
    assert {arm for arm, _ in clocks} >= set(ARMS)
    assert all(abs(rate - 1) < 0.03 for arm, rate in clocks if arm != "kvm")  # these read the host's own clock
    # storage is measured past the host's page cache, boot with it
    caches = {(trial.cell.workload, trial.cell.spec.cache) for trial in run.trials}
    assert {("boot", "writeback"), ("fio-randread", "none")} <= caches


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
