"""From stored runs to comparisons: what is compared, what is refused, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from runs import METRICS, MIB, PRIMARY, Outcome, Setting, build, hostile, troubled
from tare_bench import stats
from tare_bench.analysis import Analysis, analyse
from tare_bench.compare import CellSummary, Comparison, Row
from tare_bench.model import Run, Sample


def _analyse(run: Run) -> Analysis:
    return analyse(run, METRICS, PRIMARY)


def _row(metric: str, workload: str | None = None) -> Row:
    return Row(metric=metric, workload=workload or metric.partition(".")[0])


def _compared(analysis: Analysis, metric: str, arm: str, workload: str | None = None) -> Comparison:
    found = analysis.comparison(_row(metric, workload), arm)
    assert found is not None, f"{arm} is not compared in {metric}"
    return found


def _cell(analysis: Analysis, metric: str, arm: str) -> CellSummary:
    found = analysis.cell(_row(metric), arm)
    assert found is not None
    return found


def _two(factor: float, metric: str = "boot.ready", **settings: Any) -> Analysis:
    """docker against an arm that is the same but for a factor on one metric."""

    def changed(arm: str, name: str, block: int) -> float:
        return factor if (arm, name) == ("other", metric) else 1.0

    base = Setting(arms=("docker", "other"), names={"other": "docker"}, accelerators={}, factor=changed)
    return _analyse(build(replace(base, **settings)))


def test_every_arm_is_compared_with_the_baseline_and_never_with_itself() -> None:
    analysis = _analyse(build())
    assert {item.baseline for item in analysis.comparisons} == {"docker"}
    assert {item.arm for item in analysis.comparisons} == {"native", "kvm"}


def test_warm_up_is_kept_apart() -> None:
    def slow_start(arm: str, metric: str, block: int) -> float:
        return 100.0 if block == -1 else 1.0

    cell = _cell(_analyse(build(Setting(factor=slow_start))), "boot.ready", "docker")
    assert len(cell.points.values) == 12
    assert max(cell.points.values) < 1.0
    assert len(cell.warmup.values) == 1
    assert cell.warmup.values[0] > 10.0


def test_a_ratio_is_of_the_arm_over_the_baseline_by_block() -> None:
    def drift(arm: str, metric: str, block: int) -> float:
        return (1 + block) * (2.0 if arm == "other" else 1.0)

    setting = Setting(arms=("docker", "other"), names={"other": "docker"}, accelerators={}, factor=drift)
    item = _compared(_analyse(build(setting)), "boot.ready", "other")
    assert item.effect is not None
    # A drift of 1200 % that both arms share leaves the paired ratio alone.
    assert item.effect.value == pytest.approx(2.0, rel=0.1)
    assert item.verdict == "slower/larger"


@pytest.mark.parametrize(
    ("metric", "factor", "verdict"),
    [
        ("boot.ready", 0.5, "faster/smaller"),
        ("boot.ready", 2.0, "slower/larger"),
        ("sysbench-cpu.events", 0.5, "slower/larger"),
        ("sysbench-cpu.events", 2.0, "faster/smaller"),
        ("sysbench-cpu.events", 1.0, "equivalent"),
        ("memory.pss", 3.0, "slower/larger"),
        ("memory.pss", 1.1, "equivalent"),
        ("boot.ready", 1.06, "undecided"),
    ],
)
def test_the_four_verdicts(metric: str, factor: float, verdict: str) -> None:
    assert _compared(_two(factor, metric), metric, "other").verdict == verdict


def test_what_is_undecided_says_how_many_pairs_it_would_take() -> None:
    item = _compared(_two(1.06), "boot.ready", "other")
    assert item.needed is not None
    assert item.needed > item.pairs


def _ready(others: list[float]) -> Run:
    """docker boots in exactly a second, the other arm in these."""
    setting = Setting(
        arms=("docker", "other"), names={"other": "docker"}, accelerators={}, rounds=len(others), workloads=("boot",)
    )
    run = build(setting)
    return msgspec.structs.replace(
        run,
        trials=[
            msgspec.structs.replace(
                trial,
                samples=[
                    Sample(
                        metric="boot.ready", value=others[trial.block] if trial.cell.arm == "other" else 1.0, unit="s"
                    )
                ],
            )
            for trial in run.trials
        ],
    )


def test_what_these_pairs_left_undecided_takes_more_than_these() -> None:
    # Most are close together, so their spread promises a decision that the others took away.
    item = _compared(_analyse(_ready([1.08] * 7 + [0.9] * 5)), "boot.ready", "other")
    assert (item.verdict, item.needed) == ("undecided", 13)


def test_a_difference_is_in_the_unit() -> None:
    item = _compared(_two(10.0, "memory.pss"), "memory.pss", "other")
    assert item.scale == "difference"
    assert item.effect is not None
    assert item.effect.value == pytest.approx(9 * 6.2 * MIB, rel=0.05)


def test_an_exact_metric_has_neither_interval_nor_verdict() -> None:
    item = _compared(_two(2.0, "disk.image"), "disk.image", "other", "disk")
    assert item.verdict == ""
    assert item.effect == stats.Estimate(99 * MIB, None, None, 12)
    cell = _cell(_two(2.0, "disk.image"), "disk.image", "other")
    assert cell.median == stats.Estimate(198 * MIB, None, None, 12)


def test_primary_pairs_share_the_level_and_the_others_are_exploratory() -> None:
    analysis = _analyse(build())
    primary = _compared(analysis, "boot.ready", "kvm")
    assert primary.primary
    # Three metrics and two arms, less the emulated memory; disk is exact.
    assert primary.level == pytest.approx(1 - 0.05 / 5)
    other = _compared(analysis, "boot.created", "kvm")
    assert not other.primary
    assert other.level == 0.95


@pytest.mark.parametrize(("rounds", "verdict"), [(6, "not enough data"), (7, "faster/smaller")])
def test_seven_pairs_are_needed_at_97_percent(rounds: int, verdict: str) -> None:
    item = _compared(_two(0.2, rounds=rounds, workloads=("boot",)), "boot.ready", "other")
    assert item.verdict == verdict
    assert item.effect is not None
    assert (item.effect.low is None) == (verdict == "not enough data")


def test_resolution_floors_what_ties_would_make_exact() -> None:
    item = _compared(_analyse(_ready([1.0] * 12)), "boot.ready", "other")
    assert item.effect is not None
    assert item.effect.value == 1.0
    assert item.effect.low == pytest.approx(math.exp(-1e-4), abs=1e-9)
    assert item.effect.high == pytest.approx(math.exp(1e-4), abs=1e-9)
    assert item.verdict == "equivalent"


def test_more_pairs_are_not_asked_for_where_the_instrument_is_too_coarse() -> None:
    item = _compared(_analyse(build()), "boot.cpu", "native", "boot")
    assert item.verdict == "undecided"
    assert item.needed is None
    assert "instrument" in item.reason


def _failing(arm: str, workload: str, blocks: set[int], outcome: Outcome) -> Callable[[str, str, int], Outcome | None]:
    return lambda a, w, block: outcome if (a, w) == (arm, workload) and block in blocks else None


def test_a_failure_drops_its_pair_and_is_never_a_zero() -> None:
    analysis = _two(2.0, outcome=_failing("other", "boot", {4}, ("failed", "no space")))
    item, cell = _compared(analysis, "boot.ready", "other"), _cell(analysis, "boot.ready", "other")
    assert (item.pairs, item.lost, item.verdict) == (11, 1, "slower/larger")
    assert 4 not in cell.points.blocks
    assert min(cell.points.values) > 0
    assert (cell.failed, cell.reasons) == (1, ("no space",))


def test_more_than_a_tenth_of_the_pairs_lost_is_no_verdict() -> None:
    analysis = _two(2.0, outcome=_failing("other", "boot", {4, 7}, ("failed", "no space")))
    item = _compared(analysis, "boot.ready", "other")
    assert item.verdict == "not enough data"
    assert item.reason == "2 of 12 pairs were lost"


def test_a_failure_of_the_baseline_costs_a_pair_too() -> None:
    item = _compared(_two(2.0, outcome=_failing("docker", "boot", {4}, ("failed", ""))), "boot.ready", "other")
    assert (item.pairs, item.lost) == (11, 1)


def test_a_timeout_is_infinite_and_keeps_its_pair() -> None:
    analysis = _two(2.0, outcome=_failing("other", "boot", {4, 7}, ("timeout", "late")))
    item, cell = _compared(analysis, "boot.ready", "other"), _cell(analysis, "boot.ready", "other")
    assert (item.pairs, item.lost, item.verdict) == (12, 0, "slower/larger")
    assert cell.points.values[4] == cell.points.values[7] == math.inf
    assert cell.points.orders == tuple(sorted(cell.points.orders))


def test_a_rate_that_timed_out_is_below_every_other() -> None:
    analysis = _two(1.0, outcome=_failing("other", "sysbench-cpu", set(range(12)), ("timeout", "late")))
    item = _compared(analysis, "sysbench-cpu.events", "other")
    assert item.verdict == "slower/larger"
    assert item.effect is not None
    assert item.effect.value == 0


def test_a_memory_figure_that_timed_out_is_not_there() -> None:
    analysis = _two(1.0, outcome=_failing("other", "memory", {4}, ("timeout", "late")))
    item = _compared(analysis, "memory.pss", "other")
    assert (item.pairs, item.lost) == (11, 1)


def test_two_timeouts_in_one_block_say_nothing() -> None:
    def both(arm: str, workload: str, block: int) -> Outcome | None:
        return ("timeout", "late") if workload == "boot" and block == 4 else None

    item = _compared(_two(2.0, outcome=both), "boot.ready", "other")
    assert (item.pairs, item.lost) == (11, 1)


def test_an_arm_that_failed_always_is_compared_with_not_enough_data() -> None:
    analysis = _two(1.0, outcome=_failing("other", "boot", set(range(12)), ("failed", "no kernel")))
    item = _compared(analysis, "boot.ready", "other")
    assert (item.verdict, item.effect, item.pairs) == ("not enough data", None, 0)
    assert analysis.comparison(_row("boot.created"), "other") is None


def test_what_only_one_technology_has_is_not_compared() -> None:
    analysis = _analyse(troubled())
    assert analysis.comparison(_row("boot.kernel"), "kvm") is None
    assert _cell(analysis, "boot.kernel", "kvm").median is not None


def test_a_skipped_trial_is_no_lost_pair() -> None:
    analysis = _two(1.0, outcome=_failing("other", "sysbench-cpu", {0, 1, 2}, ("skipped", "no sysbench")))
    item = _compared(analysis, "sysbench-cpu.events", "other")
    assert (item.pairs, item.lost, item.verdict) == (9, 0, "equivalent")


def test_the_memory_of_an_emulated_guest_is_never_compared() -> None:
    analysis = _analyse(build())
    for metric in ("memory.pss", "memory.uss", "memory.anon"):
        item = _compared(analysis, metric, "kvm")
        assert item.verdict == "not compared: emulated"
        assert "translation cache" in item.reason
    assert _compared(analysis, "memory.pss", "native").verdict == "faster/smaller"
    assert _compared(analysis, "boot.ready", "kvm").verdict == "slower/larger"


def test_nor_is_any_memory_compared_with_an_emulated_baseline() -> None:
    analysis = _analyse(build(Setting(baseline="kvm")))
    assert _compared(analysis, "memory.pss", "docker").verdict == "not compared: emulated"


def test_the_memory_of_a_guest_on_kvm_is_compared() -> None:
    analysis = _analyse(build(Setting(accelerators={"kvm": "kvm"})))
    assert _compared(analysis, "memory.pss", "kvm").verdict == "slower/larger"


def test_no_verdict_below_the_measurement_floor() -> None:
    # The floor of docker is 6 ms: 5 ms between two times through the agent cannot be told apart, whatever the spread.
    below = _compared(_two(1 + 0.005 / 0.18, "boot.first_command", rounds=60), "boot.first_command", "other")
    assert below.verdict == "undecided"
    assert "measurement floor" in below.reason
    above = _compared(_two(1.5, "boot.first_command"), "boot.first_command", "other")
    assert above.verdict == "slower/larger"


def test_what_the_host_stamps_by_itself_has_no_such_floor() -> None:
    faster = _compared(_two(0.5, "stop.stopped"), "stop.stopped", "other", "boot")
    assert faster.verdict == "faster/smaller"
    native = _analyse(
        build(Setting(arms=("native", "other"), baseline="native", names={"other": "native"}, factor=_twice))
    )
    assert _compared(native, "boot.ready", "other").verdict == "slower/larger"


def _twice(arm: str, metric: str, block: int) -> float:
    return 2.0 if arm == "other" else 1.0


def test_floors_are_by_arm_and_no_row() -> None:
    analysis = _analyse(build())
    assert analysis.floors["kvm"].value == pytest.approx(0.12, rel=0.1)
    assert all(row.metric != "floor.run" for row in analysis.rows)


def test_an_unknown_metric_is_shown_and_not_compared() -> None:
    run = build()
    sample = Sample(metric="quantum.flux", value=3.0, unit="Wb")
    run = msgspec.structs.replace(
        run, trials=[msgspec.structs.replace(trial, samples=[*trial.samples, sample]) for trial in run.trials]
    )
    analysis = _analyse(run)
    metric = analysis.metrics["quantum.flux"]
    assert (metric.unit, metric.better, metric.scale) == ("Wb", "neither", "exact")
    assert _compared(analysis, "quantum.flux", "kvm", "boot").verdict == ""


def test_values_within_a_trial_are_one_value() -> None:
    run = build(Setting(workloads=("boot",)))
    trials = [
        msgspec.structs.replace(
            trial, samples=[Sample(metric="boot.ready", value=value, unit="s") for value in (1.0, 2.0, 9.0)]
        )
        for trial in run.trials
    ]
    cell = _cell(_analyse(msgspec.structs.replace(run, trials=trials)), "boot.ready", "docker")
    assert cell.points.values == (2.0,) * 12


def test_samples_of_a_failed_trial_are_no_values() -> None:
    run = build(Setting(workloads=("boot",)))
    trials = [
        msgspec.structs.replace(trial, status="failed", reason="odd") if trial.block == 2 else trial
        for trial in run.trials
    ]
    cell = _cell(_analyse(msgspec.structs.replace(run, trials=trials)), "boot.ready", "docker")
    assert 2 not in cell.points.blocks


def test_parameters_make_rows_of_their_own() -> None:
    run = build(Setting(workloads=("sysbench-cpu",)))
    trials = [
        msgspec.structs.replace(
            trial, cell=msgspec.structs.replace(trial.cell, params={"threads": 1 + trial.block % 2})
        )
        for trial in run.trials
    ]
    analysis = _analyse(msgspec.structs.replace(run, trials=trials))
    assert [row.params for row in analysis.rows] == ['{"threads":1}', '{"threads":2}']


def test_facts_and_outcomes_are_counted_from_the_trials() -> None:
    analysis = _analyse(troubled())
    assert analysis.facts["kvm"]["kernel_release"] == "6.1.0-28-cloud-amd64"
    assert analysis.outcomes == {"ok": 166, "failed": 1, "timeout": 1, "skipped": 12}


@pytest.mark.parametrize(("metric", "workload"), [("boot.cpu", "boot"), ("memory.anon", "memory")])
def test_an_interval_of_what_is_never_negative_does_not_reach_below_zero(metric: str, workload: str) -> None:
    cell = _analyse(build()).cell(Row(metric=metric, workload=workload), "native")
    assert cell is not None
    assert cell.median is not None
    assert cell.median.low == 0


def test_values_of_zero_have_no_ratio_and_that_is_said() -> None:
    analysis = _two(0.0, "boot.cpu")
    item = _compared(analysis, "boot.cpu", "other")
    assert (item.verdict, item.effect) == ("not enough data", None)
    assert item.reason == "12 of 12 pairs have a value of 0, of which there is no ratio"


def test_an_empty_run_is_an_empty_analysis() -> None:
    run = msgspec.structs.replace(build(), trials=[])
    analysis = _analyse(run)
    assert (analysis.rows, analysis.cells, analysis.comparisons, analysis.floors) == ([], [], [], {})


def test_a_hostile_run_is_analysed_like_any_other() -> None:
    assert {item.verdict for item in _analyse(hostile()).comparisons} >= {"equivalent", "undecided"}


def test_an_analysis_can_be_written_as_json_with_names() -> None:
    text = msgspec.json.encode(_analyse(build(Setting(rounds=2))).comparisons)
    assert b'"effect":{"value":' in text


def test_the_same_run_gives_the_same_analysis() -> None:
    assert _analyse(build()) == _analyse(build())


def _rates(factors: Mapping[tuple[str, str], float], **settings: Any) -> Analysis:
    base = Setting(
        rounds=10,
        throughput=10,
        workloads=("boot", "memory"),
        factor=lambda arm, metric, block: factors.get((arm, metric), 1.0),
    )
    return _analyse(build(replace(base, **settings)))


def test_an_instance_that_beats_native_is_a_notice_with_what_to_suspect() -> None:
    found = _rates({("docker", "fio-randread.iops"): 1.5, ("docker", "sysbench-memory.rate"): 1.2})
    reads, memory = sorted(found.notices, key=lambda notice: "fio" not in notice.message)
    assert {notice.code for notice in found.notices} == {"faster-than-native"}
    assert {notice.subject for notice in found.notices} == {"docker"}
    assert reads.message.startswith("docker beats native in Random reads (fio), block_size 4096, depth 1: 1.2")
    assert "page cache" in reads.hint
    assert "clock" in memory.hint


def test_a_guest_that_beats_native_is_one_too_whatever_the_baseline() -> None:
    for baseline in ("native", "docker"):
        found = _rates({("kvm", "fio-randwrite.iops"): 8.0}, baseline=baseline)
        assert [(notice.subject, "page cache" in notice.hint) for notice in found.notices] == [("kvm", True)]


@pytest.mark.parametrize(
    ("factor", "settings"),
    [
        (1.03, {}),  # inside the region
        (1.5, {"throughput_done": 4}),  # too few pairs for a verdict
        (1.5, {"arms": ("docker", "kvm")}),  # nothing to beat
        (0.5, {}),
    ],
)
def test_without_a_verdict_there_is_no_notice(factor: float, settings: dict[str, Any]) -> None:
    assert _rates({("docker", "sysbench-memory.rate"): factor}, **settings).notices == []


def test_what_costs_less_than_native_or_boots_faster_is_no_notice() -> None:
    assert _rates({("docker", "redis.host_cpu"): 0.1, ("docker", "boot.ready"): 0.001}).notices == []
