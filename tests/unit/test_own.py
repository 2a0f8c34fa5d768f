"""Workloads of the user's own: what they run, what they read, and how a report knows them from the stored plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tare_bench import registry
from tare_bench.analysis import analyse
from tare_bench.driver import Accounts
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, FakeInstance, Reply
from tare_bench.model import Arm, Manifest, OwnWorkload, Plan, RootfsFacts, Run, Sample, Spec, Trial, WorkloadPlan
from tare_bench.runner import Runner, TrialFinished
from tare_bench.schedule import Estimate, Fixed

TIMED = OwnWorkload(command="work", setup="prepare")
VALUED = OwnWorkload(command="work", pattern=r"^score: ([\d.e]*|nan)$", unit="1/s", better="higher")
ARMS = [Arm(name=name, driver="fake", spec=Spec(vcpus=1, memory=1 << 29)) for name in ("a", "b")]


def plan(own: OwnWorkload, *, together: bool = True) -> Plan:
    workloads = [WorkloadPlan(name="boot"), WorkloadPlan(name="mine", own=own, together=together)]
    return Plan(arms=ARMS, workloads=workloads, baseline="a", rounds=8, throughput_rounds=8 if together else 0)


def trials(planned: Plan, replies: Mapping[str, Reply]) -> list[Trial]:
    clock = FakeClock()
    runner = Runner(
        drivers={arm.name: FakeDriver(Behaviour(replies=dict(replies)), clock=clock) for arm in ARMS},
        accelerators=dict.fromkeys(("a", "b"), "simulated"),
        workloads={each.name: registry.planned(each) for each in planned.workloads},
        schedule=Fixed(planned, Estimate({})),
        clock=clock,
        boot_seconds=dict.fromkeys(("a", "b"), 60.0),
    )
    found = [event.trial for event in runner.events() if isinstance(event, TrialFinished)]
    return [each for each in found if each.cell.workload == "mine"]


def stored(planned: Plan, found: list[Trial]) -> Run:
    manifest = Manifest(
        run="x",
        tare_version="0",
        started_at="",
        command="tare run",
        plan=planned,
        host={},
        drivers={},
        accelerators=dict.fromkeys(("a", "b"), "simulated"),
        rootfs=RootfsFacts(digest="", recipe="", size=0),
    )
    return Run(path="x", manifest=manifest, trials=found)


def measured(trial: Trial) -> list[Sample]:
    """What it measured, without what the instruments are worth."""
    return [sample for sample in trial.samples if sample.metric not in ("floor.run", "clock.rate")]


@pytest.mark.parametrize("together", [True, False])
def test_without_a_pattern_it_is_the_wall_time_and_set_up_is_not_part_of_it(together: bool) -> None:
    planned = plan(TIMED, together=together)
    found = trials(planned, {"prepare": Reply(seconds=9), "work": Reply(b"done\n", seconds=0.25)})
    assert len(found) == (18 if together else 16)
    for trial in found:
        assert [(each.metric, each.unit) for each in measured(trial)] == [("mine.seconds", "s")]
        assert trial.samples[0].value == pytest.approx(0.25, abs=0.01)
        assert trial.artifacts == [f"artifacts/{trial.trial}/output.txt"]


def test_set_up_runs_once_in_an_instance() -> None:
    ran: list[str] = []

    class Listening(Behaviour):
        def reply(self, command: str) -> Reply | None:
            ran.append(command)
            return super().reply(command)

    workloads = [WorkloadPlan(name=name, own=TIMED) for name in ("one", "two")]
    planned = Plan(arms=ARMS[:1], workloads=[WorkloadPlan(name="boot"), *workloads], baseline="a", rounds=1, warmup=0)
    clock = FakeClock()
    runner = Runner(
        drivers={"a": FakeDriver(Listening(replies={"prepare": Reply(), "work": Reply()}), clock=clock)},
        accelerators={"a": "simulated"},
        workloads={each.name: registry.planned(each) for each in planned.workloads},
        schedule=Fixed(planned, Estimate({})),
        clock=clock,
        boot_seconds={"a": 60.0},
    )
    list(runner.events())
    assert (ran.count("prepare"), ran.count("work")) == (1, 2)


def test_with_a_pattern_it_is_what_its_first_group_finds_on_a_line() -> None:
    found = trials(plan(VALUED), {"work": Reply(b"warming up\nscore: 12.5\nscore: 99\n")})
    assert {(each.samples[0].metric, each.samples[0].value, each.samples[0].unit) for each in found} == {
        ("mine.value", 12.5, "1/s")
    }


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (Reply(b"nothing\n"), "failed", "its pattern is not there"),
        (Reply(b"score: \n"), "failed", "has no value"),
        (Reply(b"score: nan\n"), "failed", "is not finite"),
        (Reply(b"score: 1e999\n"), "failed", "is not finite"),
        (Reply(b"score: 1\n", b"broken\n", status=3), "failed", "Ended with status 3: work"),
        (Reply(b"", b"sh: work: not found\n", status=127), "skipped", "sh: work: not found"),
        (Reply(b"score: 1\n", seconds=61), "timeout", "Killed at its deadline"),
    ],
)
def test_what_has_no_value_is_no_zero(reply: Reply, status: str, words: str) -> None:
    for trial in trials(plan(VALUED), {"work": reply}):
        assert (trial.status, trial.samples) == (status, [])
        assert words in trial.reason


def test_what_it_costs_the_host_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter(range(1000))
    monkeypatch.setattr(FakeInstance, "accounts", lambda self: Accounts())
    monkeypatch.setattr("tare_bench.footprint.cpu_seconds", lambda where: float(next(spent)))
    for trial in trials(plan(TIMED), {"prepare": Reply(), "work": Reply()}):
        assert [(each.metric, each.value) for each in measured(trial)][1:] == [("mine.host_cpu", 1.0)]


def test_a_cost_that_went_backwards_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # a daemon that ended in the middle took its own CPU time along
    spent = iter(range(1000, 0, -1))
    monkeypatch.setattr(FakeInstance, "accounts", lambda self: Accounts())
    monkeypatch.setattr("tare_bench.footprint.cpu_seconds", lambda where: float(next(spent)))
    for trial in trials(plan(TIMED), {"prepare": Reply(), "work": Reply()}):
        assert [each.metric for each in measured(trial)] == ["mine.seconds"]


@pytest.mark.parametrize(("own", "metric"), [(TIMED, "mine.seconds"), (VALUED, "mine.value")])
def test_a_report_knows_it_from_the_stored_plan_alone(own: OwnWorkload, metric: str) -> None:
    planned = plan(own)
    reply: dict[str, Any] = {"prepare": Reply(), "work": Reply(b"score: 2\n", seconds=0.1)}
    run = stored(planned, trials(planned, reply))
    known = registry.metrics(planned.workloads)
    found = analyse(run, known, registry.primaries(planned.workloads))
    assert metric not in registry.metrics()
    assert found.metrics[metric] == known[metric]
    assert found.metrics[metric].better == own.better
    assert [each.row.metric for each in found.comparisons] == [metric]
    assert found.primary["mine"] == metric
