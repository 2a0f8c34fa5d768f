"""Bencher, github-action-benchmark, OpenMetrics, hyperfine, Otava: the numbers arrive as they were."""

from __future__ import annotations

import json
import statistics
from datetime import datetime

import msgspec
import pytest
from consumers import read_openmetrics, read_otava
from runs import HOSTILE, METRICS, Setting, build, hostile
from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary
from tare_bench.metrics import Metric
from tare_bench.reports.exports import render
from tare_bench.reports.exports.series import series
from test_exports import TEN, analysis, demo


def cell(found: Analysis, metric: str, arm: str, **params: object) -> CellSummary:
    return next(
        each for each in found.cells
        if (each.row.metric, each.arm) == (metric, arm) and (not params or json.loads(each.row.params) == params)
    )  # fmt: skip


def test_bencher_gets_latency_in_ns_and_throughput_in_operations_a_second() -> None:
    found = json.loads(render("bmf", [demo()]))
    boot = cell(demo(), "boot.ready", "docker").median
    assert boot is not None
    assert boot.low is not None
    assert found["boot.ready docker"]["latency"]["value"] == 1e9 * boot.value
    assert found["boot.ready docker"]["latency"]["lower_value"] == 1e9 * boot.low
    rate = cell(demo(), "sysbench-cpu.events", "kvm").median
    assert rate is not None
    assert found["sysbench-cpu.events threads=1 kvm (EMULATED)"]["throughput"] == {
        "value": rate.value, "lower_value": rate.low, "upper_value": rate.high,
    }  # fmt: skip
    assert set(found["memory.pss docker"]) == {"bytes"}


def test_each_direction_has_its_file_and_what_has_none_is_in_no_file() -> None:
    found = analysis(build(TEN))
    names = {
        better: {each["name"] for each in json.loads(render(f"github-benchmark-{better}", [found]))}
        for better in ("smaller", "bigger")
    }
    for better, word in (("smaller", "lower"), ("bigger", "higher")):
        assert names[better] == {each.name for each in series(found) if each.metric.better == word}
    assert "boot.ready docker" in names["smaller"]
    assert "fio-randread.iops block_size=4096 depth=1 docker" in names["bigger"]
    assert not [name for name in names["smaller"] | names["bigger"] if name.startswith("isolation")]


def test_a_result_for_github_has_its_interval_and_its_comparison() -> None:
    results = json.loads(render("github-benchmark-smaller", [demo()]))
    found = next(each for each in results if each["name"] == "boot.ready kvm (EMULATED)")
    boot = cell(demo(), "boot.ready", "kvm").median
    assert boot is not None
    assert (found["value"], found["unit"]) == (boot.value, "s")
    assert found["range"] == f"{boot.low!r} to {boot.high!r}"
    assert "against docker: 21.7× (19.6 to 25.3) slower/larger" in found["extra"]


def test_openmetrics_has_units_labels_and_the_numbers() -> None:
    found = read_openmetrics(render("openmetrics", [demo()]))
    family = found["tare_boot_ready_seconds"]
    assert (family.type, family.unit) == ("gauge", "seconds")
    held = {(each.labels["arm"], each.labels["stat"]): each for each in family.samples}
    boot = cell(demo(), "boot.ready", "kvm").median
    assert boot is not None
    assert [held["kvm", stat].value for stat in ("median", "low", "high")] == [boot.value, boot.low, boot.high]
    assert set(held["kvm", "low"].labels) == {"arm", "driver", "accelerator", "workload", "params", "stat", "label"}
    assert held["kvm", "low"].labels["label"] == "EMULATED"
    assert found["tare_memory_pss_bytes"].unit == "bytes"
    assert found["tare_sysbench_cpu_events_per_second"].unit == "per_second"
    verdicts = {
        (each.labels["metric"], each.labels["arm"]): each.labels["verdict"] for each in found["tare_verdict"].samples
    }
    assert verdicts["boot.ready", "kvm"] == "slower/larger"
    ratio = next(item.effect for item in demo().comparisons if (item.row.metric, item.arm) == ("boot.ready", "kvm"))
    assert ratio is not None
    assert ratio.value in {each.value for each in found["tare_effect_ratio"].samples}


def test_openmetrics_keeps_metrics_apart_whose_names_become_the_same() -> None:
    run = build(Setting(arms=("docker", "native"), accelerators={}))
    odd = [Metric(name=name, unit="s", better="lower", title=name, definition=name) for name in ("x.a_b", "x.a.b")]
    trials = [
        msgspec.structs.replace(
            trial,
            samples=[msgspec.structs.replace(trial.samples[0], metric=each.name, unit="s", value=0.1) for each in odd],
        )
        for trial in run.trials
        if trial.cell.workload == "boot"
    ]
    text = render("openmetrics", [analysis(msgspec.structs.replace(run, trials=trials))])
    names = [name for name in read_openmetrics(text) if name.startswith("tare_x_a_b")]
    assert len([name for name in names if "difference" not in name]) == 2


def test_a_hostile_label_is_one_value() -> None:
    found = read_openmetrics(render("openmetrics", [analysis(hostile())]))
    arms = {each.labels["arm"] for each in found["tare_boot_ready_seconds"].samples}
    assert arms == {"docker", HOSTILE.replace("\x1b", "�").replace("\u2028", "�").replace("\u202e", "�")}


def test_hyperfine_gets_each_trial_as_a_run() -> None:
    found = {each["command"]: each for each in json.loads(render("hyperfine", [demo()]))["results"]}
    boot, kept = found["boot.ready kvm (EMULATED)"], cell(demo(), "boot.ready", "kvm").points.values
    assert boot["times"] == list(kept)
    assert boot["exit_codes"] == [0] * len(kept)
    assert (boot["mean"], boot["stddev"]) == (statistics.mean(kept), statistics.stdev(kept))
    assert {key: boot["parameters"][key] for key in ("arm", "label")} == {"arm": "kvm", "label": "EMULATED"}
    assert not {"user", "system"} & set(boot)
    assert not [name for name in found if name.startswith("memory")]


def test_otava_gets_a_line_for_each_run_the_earliest_first() -> None:
    later = build(Setting(seed=3))
    later = msgspec.structs.replace(
        later, manifest=msgspec.structs.replace(later.manifest, run="later", started_at="2026-11-25T04:40:00Z")
    )
    one, other = read_otava(render("otava", [analysis(later), analysis(build(Setting(arms=("docker", "native"))))]))
    assert (one["run"], other["run"]) == ("20261124T044000Z-8c1f", "later")
    assert datetime.fromisoformat(one["time"]).tzinfo is not None
    assert one["boot.ready kvm (EMULATED)"] == "nan"
    median = cell(analysis(later), "boot.ready", "kvm").median
    assert median is not None
    assert float(other["boot.ready kvm (EMULATED)"]) == median.value
    assert other["labels"] == "kvm: EMULATED"


@pytest.mark.parametrize("name", ["boot.ready docker", "boot.ready kvm (EMULATED)"])
def test_a_cell_has_the_same_name_in_all_of_them(name: str) -> None:
    assert "boot.ready" in METRICS
    for form in ("bmf", "github-benchmark-smaller", "hyperfine", "otava"):
        assert name in render(form, [demo()])
