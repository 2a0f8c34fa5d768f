"""Workloads that do not come with Tare, in real instances: a plan file's, and the one that the documents show."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import ROOT, installed
from program import Tare
from tare_bench import store

PLAN = r"""
[run]
max_rounds = 2
workloads = ["boot"]

[[arm]]
driver = "native"

[[arm]]
name = "docker 'small'"
driver = "docker"
memory = "256 MiB"

[[workload]]
name = "hash"
command = "sha256sum </work/data"
setup = "head -c 20000000 /dev/zero >/work/data"

[[workload]]
name = "count"
command = "printf 'lines\n'; wc -c </etc/passwd"
pattern = '^(\d+)$'
unit = "B"
better = "lower"
together = false

[[workload]]
name = "gone"
command = "no-such-program"
"""


@pytest.mark.needs("root", "native", "docker")
def test_it_is_measured_in_every_arm_and_known_to_the_report(tare: Tare, tmp_path: Path) -> None:
    (tmp_path / "tare.toml").write_text(PLAN)
    done = tare("run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "plan: tare.toml"
    run = store.load(store.find("latest", tmp_path / "results"))
    assert set(run.manifest.drivers) == {"native", "docker"}
    found = {
        (trial.cell.arm, sample.metric): sample.value
        for trial in run.trials
        for sample in trial.samples
        if trial.cell.workload in ("hash", "count") and trial.role == "measured"
    }
    for arm in ("native", "docker 'small'"):
        assert 0.001 < found[arm, "hash.seconds"] < 30
        assert found[arm, "count.value"] > 10
        assert found[arm, "hash.host_cpu"] >= 0
    assert {trial.status for trial in run.trials if trial.cell.workload == "gone"} == {"skipped"}
    page = (Path(run.path) / "report.html").read_text()
    assert "Wall time of the command of the plan&#39;s own workload <code>hash</code>" in page
    assert "has no definition of it" not in page


@pytest.mark.needs("root", "native", "docker")
def test_the_worked_workload_is_measured_in_every_arm(tmp_path: Path) -> None:
    tare = installed(ROOT / "docs/adding-a-workload.md", tmp_path)
    done = tare("run", "-d", "native,docker", "-w", "boot,syscalls", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    run = store.load(store.find("latest", tmp_path / "results"))
    found = [
        (trial.cell.arm, sample.value)
        for trial in run.trials
        for sample in trial.samples
        if sample.metric == "syscalls.rate" and trial.role == "measured"
    ]
    assert sorted(arm for arm, _ in found) == ["docker"] * 2 + ["native"] * 2
    assert all(1e4 < value < 1e9 for _, value in found)
    assert "Calls of read(2) and write(2) for each second" in (Path(run.path) / "report.html").read_text()
