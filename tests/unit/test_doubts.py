"""What takes a verdict away."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from runs import METRICS, PRIMARY, Setting, build
from tare_bench.analysis import Analysis, analyse
from tare_bench.compare import Comparison, Row
from tare_bench.doubts import aa_floor
from tare_bench.model import Run, Sample

READY = Row(metric="boot.ready", workload="boot")


def twice(*, twin: float = 1.0, other: float = 1.3, rounds: int = 12) -> Analysis:
    """docker, its twin and another arm: that much slower each, at every block."""

    def changed(arm: str, name: str, block: int) -> float:
        factor = {"docker A/A": twin, "other": other}.get(arm, 1.0)
        return factor if name.startswith("boot.") else 1.0

    arms = ("docker", "other", "docker A/A")
    names = {"other": "docker", "docker A/A": "docker"}
    setting = Setting(arms=arms, names=names, accelerators={}, factor=changed, rounds=rounds)
    run = build(replace(setting, workloads=("boot",)))
    plan = run.manifest.plan
    real = [arm for arm in plan.arms if arm.name != "docker A/A"]
    plan = msgspec.structs.replace(plan, arms=real, twins={"docker A/A": "docker"})
    run = msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, plan=plan))
    return analyse(run, METRICS, PRIMARY)


def ready(analysis: Analysis) -> Comparison:
    found = analysis.comparison(READY, "other")
    assert found is not None
    return found


def test_a_twin_is_no_arm_of_the_tables() -> None:
    analysis = twice()
    assert {cell.arm for cell in analysis.cells} == {"docker", "other"}
    assert {item.arm for item in analysis.comparisons} == {"other"}
    pair = next(item for item in analysis.aa if item.row == READY)
    assert (pair.arm, pair.baseline, pair.primary) == ("docker A/A", "docker", True)


def test_equal_twins_leave_a_verdict_as_it_is() -> None:
    analysis = twice()
    assert ready(analysis).verdict == "slower/larger"
    assert all(item.verdict in ("equivalent", "undecided") for item in analysis.aa)
    assert not [notice for notice in analysis.notices if notice.code == "false-alarm"]


def test_twins_that_are_called_different_take_every_verdict_of_their_metric() -> None:
    analysis = twice(twin=1.4)
    item = ready(analysis)
    assert (item.verdict, item.needed) == ("undecided", None)
    assert "same arm measured twice was called different" in item.reason
    notice = next(notice for notice in analysis.notices if notice.code == "false-alarm")
    assert "docker measured twice is called slower/larger than itself in Boot to ready" in notice.message


def test_a_difference_below_the_floor_of_the_twins_is_undecided_and_nothing_becomes_equivalent() -> None:
    # the twins may differ by 4 % and are called equivalent; 1.06 has an interval beyond the region
    analysis = twice(twin=1.03, other=1.062, rounds=40)
    pair = next(item for item in analysis.aa if item.row == READY)
    assert pair.verdict in ("equivalent", "undecided")
    assert 0.0 < aa_floor(pair) < 0.1
    small = twice(twin=1.03, other=1.2, rounds=40)
    assert ready(small).verdict == "slower/larger"
    same = twice(other=1.0)
    assert ready(same).verdict in ("equivalent", "undecided")


@pytest.mark.parametrize(("effect", "verdict"), [(1.10, "undecided"), (1.30, "slower/larger")])
def test_the_floor_is_the_far_end_of_the_twins_interval(effect: float, verdict: str) -> None:
    """The twins' interval is stretched by hand: only what lies beyond it keeps its verdict."""
    from tare_bench import stats
    from tare_bench.doubts import Doubts

    analysis = twice(other=effect)
    pair = next(item for item in analysis.aa if item.row == READY)
    wide = msgspec.structs.replace(pair, verdict="undecided", effect=stats.Estimate(1.0, 0.85, 1.05, 12))
    item = msgspec.structs.replace(
        ready(analysis), verdict="slower/larger", effect=stats.Estimate(effect, effect - 0.02, effect + 0.02, 12)
    )
    found = Doubts({}, [wide], {}).weigh(METRICS["boot.ready"], item)
    assert found.verdict == verdict
    assert ("not larger than" in found.reason) == (verdict == "undecided")


def with_clock(run: Run, arm: str, rate: float) -> Run:
    """Every trial of that arm has seen its instance's clock run at this rate."""
    clock = Sample(metric="clock.rate", value=rate, unit="1", error=0.001)
    trials = [
        msgspec.structs.replace(trial, samples=[*trial.samples, clock]) if trial.cell.arm == arm else trial
        for trial in run.trials
    ]
    return msgspec.structs.replace(run, trials=trials)


@pytest.mark.parametrize(
    ("rate", "trusted"), [(1.0, True), (0.995, True), (1.0105, True), (1.012, False), (1.02, False), (0.9, False)]
)
def test_rates_by_a_clock_that_runs_off_get_no_verdict_and_times_by_the_host_do(rate: float, trusted: bool) -> None:
    run = with_clock(build(Setting(arms=("docker", "kvm"), accelerators={"kvm": "kvm"}, rounds=12)), "kvm", rate)
    analysis = analyse(run, METRICS, PRIMARY)
    events = analysis.comparison(Row(metric="sysbench-cpu.events", workload="sysbench-cpu"), "kvm")
    booted = analysis.comparison(READY, "kvm")
    assert events is not None
    assert booted is not None
    assert (events.verdict != "undecided") == trusted
    assert ("clock of kvm" in events.reason) == (not trusted)
    assert booted.verdict == "slower/larger"
    assert [notice.subject for notice in analysis.notices if notice.code == "clock"] == ([] if trusted else ["kvm"])
    assert analysis.clocks == {"kvm": (rate, 0.001)}
    assert "clock.rate" not in {row.metric for row in analysis.rows}
