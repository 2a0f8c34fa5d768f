"""The workload of docs/adding-a-workload.md, as it stands there: in fake instances, and as a package beside Tare."""

from __future__ import annotations

import json
import shlex
import types
from collections.abc import Mapping
from pathlib import Path

import pytest
from documents import ROOT, blocks, installed
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, Reply
from tare_bench.model import Arm, Plan, Scalar, Spec, Trial, WorkloadPlan
from tare_bench.runner import Runner, TrialFinished
from tare_bench.schedule import Estimate, Fixed
from tare_bench.workloads.boot import Boot
from tare_bench.workloads.command import CommandWorkload

PAGE = ROOT / "docs/adding-a-workload.md"
PRINTED = blocks(PAGE, "text")[0]
PARAMS: Mapping[str, Scalar] = {"block_size": 1}


@pytest.fixture(scope="module")
def workload() -> CommandWorkload:
    module = types.ModuleType("tare_syscalls")
    exec(compile(blocks(PAGE, "python")[0], str(PAGE), "exec", dont_inherit=True), module.__dict__)
    made = module.Syscalls()
    assert isinstance(made, CommandWorkload)
    return made


def trials(workload: CommandWorkload, reply: Reply) -> list[Trial]:
    """What a run of two blocks makes of that reply."""
    arm = Arm(name="a", driver="fake", spec=Spec(vcpus=1, memory=1 << 29))
    planned = WorkloadPlan(name=workload.name, params=dict(PARAMS), together=True)
    plan = Plan(arms=[arm], workloads=[WorkloadPlan(name="boot"), planned], baseline="a", rounds=2, throughput_rounds=2)
    clock, command = FakeClock(), shlex.join(workload.argv(PARAMS))
    runner = Runner(
        drivers={"a": FakeDriver(Behaviour(replies={command: reply}), clock=clock)},
        accelerators={"a": "simulated"},
        workloads={"boot": Boot(), workload.name: workload},
        schedule=Fixed(plan, Estimate({})),
        clock=clock,
        boot_seconds={"a": 60.0},
    )
    found = [event.trial for event in runner.events() if isinstance(event, TrialFinished)]
    return [each for each in found if each.cell.workload == workload.name and each.role == "measured"]


def test_its_value_is_that_of_the_tools_own_words(workload: CommandWorkload) -> None:
    assert workload.parse(PRINTED) == pytest.approx({"syscalls.rate": 800_000 / 0.193706})


@pytest.mark.parametrize("words", ["", "dd: failed", PRINTED.replace("400000+0", "399999+0"), PRINTED[:60]])
def test_other_words_are_an_error_and_no_zero(workload: CommandWorkload, words: str) -> None:
    with pytest.raises(ValueError, match="records"):
        workload.parse(words)


def test_it_is_measured_and_what_the_tool_printed_is_kept(workload: CommandWorkload) -> None:
    found = trials(workload, Reply(PRINTED.encode(), seconds=0.2))
    assert len(found) == 2
    for trial in found:
        assert trial.status == "ok"
        rates = [sample for sample in trial.samples if sample.metric == "syscalls.rate"]
        assert [(each.value, each.unit) for each in rates] == [(pytest.approx(800_000 / 0.193706), "1/s")]
        assert trial.artifacts == [f"artifacts/{trial.trial}/syscalls.txt"]


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (Reply(b"dd: no space\n", status=1), "failed", "status 1"),
        (Reply(b"something else"), "failed", "What dd printed was not understood: no number of records and seconds"),
        (Reply(status=127), "skipped", "The rootfs has no `dd`."),
        (Reply(seconds=3600), "timeout", ""),
    ],
)
def test_what_goes_wrong_is_a_trial_with_its_reason(
    workload: CommandWorkload, reply: Reply, status: str, reason: str
) -> None:
    for trial in trials(workload, reply):
        assert (trial.status, reason in (trial.reason or "")) == (status, True)
        assert not [sample for sample in trial.samples if sample.metric == "syscalls.rate"]


def test_beside_tare_it_is_listed_and_planned_with_the_parameters_of_a_plan_file(tmp_path: Path) -> None:
    tare = installed(PAGE, tmp_path)
    assert "system calls by dd" in tare("list", "workloads", "syscalls").stdout
    assert "[1/s] higher is better: Calls of read(2)" in tare("list", "metrics", "syscalls.rate").stdout
    (tmp_path / "plan.toml").write_text('[[arm]]\ndriver = "fake"\n' + blocks(PAGE, "toml")[1])
    planned = tare("plan", "plan.toml", "--json")
    assert planned.returncode == 0, planned.stderr
    sizes = {each["params"].get("block_size") for each in json.loads(planned.stdout)["plan"]["workloads"]}
    assert sizes == {None, 1, 65536}


def test_the_commands_that_the_page_shows_know_it(tmp_path: Path) -> None:
    tare = installed(PAGE, tmp_path)
    for line in blocks(PAGE, "sh")[0].splitlines():
        words = shlex.split(line)[1:]
        done = tare("plan", "-d", "fake", *words[1:]) if words[0] == "run" else tare(*words)
        assert done.returncode == 0, done.stderr
        assert "syscalls" in done.stdout
