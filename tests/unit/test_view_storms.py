"""What a page shows of launch storms and of density."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache

import msgspec
import pytest
from runs import HOSTILE, METRICS, PRIMARY, Setting, build
from tare_bench.analysis import Analysis, analyse
from tare_bench.model import Cell, Run, Sample, Trial, WorkloadPlan
from tare_bench.reports.html import render_html
from tare_bench.reports.view import headline
from tare_bench.reports.view_format import NBSP
from tare_bench.reports.view_storms import Storms, storms
from tare_bench.reports.view_tables import tables
from tare_bench.workloads.density import Density
from tare_bench.workloads.storm import Storm

KNOWN = {**METRICS, **{metric.name: metric for metric in (*Storm.metrics, *Density.metrics)}}
PRIMARIES = {**PRIMARY, "storm": "storm.rate", "density": "density.instances"}
ALONE = {"native": 0.004, "docker": 0.18, "kvm": 2.8}


def stormy(sizes: Sequence[int] = (1, 2, 16), blocks: int = 3) -> Run:
    """A run with storms of these sizes after its boots, and one filling."""
    run = build(Setting(rounds=2, workloads=("boot",)))
    dice, plan = random.Random(3), run.manifest.plan
    cells = [WorkloadPlan(name="storm", params={"parallel": size}, blocks=blocks, crowd=True) for size in sizes]
    cells.append(WorkloadPlan(name="density", params={"max_instances": 16}, blocks=1, crowd=True))
    trials = list(run.trials)
    for block in range(blocks):
        for cell in cells[: None if block == 0 else -1]:
            for position, arm in enumerate(plan.arms):
                trials.append(
                    Trial(
                        trial=f"c{len(trials)}",
                        cell=Cell(
                            arm=arm.name, driver=arm.driver, accelerator=run.manifest.accelerators[arm.name],
                            workload=cell.name, params=cell.params, spec=arm.spec,
                        ),
                        instance="", age_s=None, block=10 + block, position=position, role="measured", status="ok",
                        started_at="2026-11-24T04:40:00Z", samples=_samples(cell, ALONE[arm.name], dice),
                        facts=_facts(cell, block),
                    )
                )  # fmt: skip
    manifest = msgspec.structs.replace(
        run.manifest, plan=msgspec.structs.replace(plan, workloads=[*plan.workloads, *cells])
    )
    return msgspec.structs.replace(run, manifest=manifest, trials=trials)


def _facts(cell: WorkloadPlan, block: int) -> dict[str, str]:
    if cell.name == "density":
        return {"stopped": "max_instances: 16"}
    return {"asked_within": f"{0.001 * (block + 1)}", "read_late": "0.0005", "harness_cpu": "0.04"}


def _samples(cell: WorkloadPlan, alone: float, dice: random.Random) -> list[Sample]:
    if cell.name == "density":
        values = [("density.instances", 16.0, "1"), ("density.available", 11e6, "B")]
        return [Sample(metric=name, value=value, unit=unit) for name, value, unit in values]
    size = int(cell.params["parallel"])
    ready = [alone * size * (0.9 + 0.2 * dice.random()) for _ in range(size)]
    return [
        Sample(metric="storm.rate", value=size / max(ready), unit="1/s"),
        *(Sample(metric="storm.ready", value=each, unit="s", error=1e-4) for each in ready),
        Sample(metric="storm.slowest", value=max(ready), unit="s"),
        Sample(metric="storm.cpu", value=alone, unit="s"),
    ]


@cache
def analysed(blocks: int = 3) -> Analysis:
    return analyse(stormy(blocks=blocks), KNOWN, PRIMARIES)


def shown(analysis: Analysis) -> Storms:
    found = storms(analysis)
    assert found is not None
    return found


def test_rate_median_and_slowest_are_drawn_over_the_number_at_once() -> None:
    charts = shown(analysed()).charts
    assert [chart.title for chart in charts] == [
        "Starts in a storm", "Boot to ready in a storm", "Slowest boot in a storm",
    ]  # fmt: skip
    for chart in charts:
        assert (chart.parameter, chart.values) == ("instances at once", (1.0, 2.0, 16.0))
        assert [line.arm for line in chart.lines] == ["docker", "native", "kvm"]
        assert [line.label for line in chart.lines] == ["", "", "EMULATED"]
        assert all(value is not None for line in chart.lines for value in line.medians)
    assert all("n = 3" in text for chart in charts for line in chart.lines for text in line.texts)


def test_a_storm_counts_as_one_value_however_many_start_in_it() -> None:
    analysis = analysed()
    cells = [cell for cell in analysis.cells if cell.row.metric == "storm.ready"]
    assert {len(cell.points.values) for cell in cells} == {3}


def test_the_table_has_each_metric_over_the_numbers_in_their_order() -> None:
    table = next(table for table in tables(analysed()) if table.id == "storm")
    titles = [row.title.replace(NBSP, " ") for row in table.rows]
    assert titles[:3] == [f"Starts in a storm, {size} at once" for size in (1, 2, 16)]
    assert titles[3:6] == [f"Boot to ready in a storm, {size} at once" for size in (1, 2, 16)]
    assert len(titles) == 12


def test_density_stands_with_memory_and_is_not_compared() -> None:
    analysis = analysed()
    weight = next(table for table in tables(analysis) if table.id == "weight")
    assert [row.title.replace(NBSP, " ") for row in weight.rows] == [
        "Idle instances at once, at most 16", "Host memory for an idle instance, at most 16",
    ]  # fmt: skip
    assert not [each for each in analysis.comparisons if each.row.workload == "density" and each.verdict]


def test_percentiles_come_from_299_starts_only() -> None:
    few = shown(analysed())
    assert few.tails == ()
    assert few.note == "A 99th percentile takes 299 starts; no cell has more than 48 starts."
    many = shown(analysed(blocks=20))
    assert many.names == ("1", "2", "16")
    docker = next(row for row in many.tails if row.arm == "docker")
    assert docker.texts[:2] == ("20 of 299 starts", "40 of 299 starts")
    assert re.fullmatch(r"3\.\d+.s \(at most 3\.\d+.s\), n = 320", docker.texts[2])
    assert "pooled over all storms" in many.note


def test_the_page_has_a_section_of_them_with_each_chart_as_a_table_too() -> None:
    page = render_html(analysed(blocks=20))
    section = page.partition('<section id="storms"')[2].partition("</section>")[0]
    assert section.count("<svg") == 3
    assert section.count("The same as a table") == 3
    assert "99th percentile of the single starts" in section
    assert '<a href="#storms">' in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_a_run_without_storms_has_no_such_section() -> None:
    analysis = analyse(build(), METRICS, PRIMARY)
    assert storms(analysis) is None
    assert 'id="storms"' not in render_html(analysis)


@pytest.mark.parametrize("sizes", [(8,), (4, 8)])
def test_one_number_at_once_is_no_chart(sizes: tuple[int, ...]) -> None:
    analysis = analyse(stormy(sizes=sizes), KNOWN, PRIMARIES)
    assert len(shown(analysis).charts) == (0 if len(sizes) == 1 else 3)
    assert 'id="storms"' in render_html(analysis)


def test_a_rate_is_called_one_in_the_answer() -> None:
    words = " ".join(headline(analysed(blocks=20))).replace(NBSP, " ")
    assert "times the rate in Starts in a storm" in words
    assert "16 at once" in words


def test_what_was_tares_own_in_the_largest_storms_is_said() -> None:
    docker = next(text for text in shown(analysed()).harness if text.startswith("docker"))
    assert re.fullmatch(
        r"docker, 16 at once: asked for within 2.00 ms, read at most 0.500 ms late; "
        r"Tare itself computed for 40.0 of \d+ ms\.",
        docker.replace(NBSP, " "),
    )
    assert len(shown(analysed()).harness) == 3


def test_why_a_filling_ended_stands_below_its_table() -> None:
    weight = next(table for table in tables(analysed()) if table.id == "weight")
    assert "docker: filled up to max_instances: 16." in weight.notes


def test_storms_that_say_odd_things_are_shown_all_the_same() -> None:
    run = stormy()
    trials = [
        msgspec.structs.replace(
            trial,
            facts=dict.fromkeys(trial.facts, HOSTILE),
            cell=msgspec.structs.replace(trial.cell, params={"parallel": HOSTILE} if number % 2 else trial.cell.params),
        )
        for number, trial in enumerate(run.trials)
    ]
    page = render_html(analyse(msgspec.structs.replace(run, trials=trials), KNOWN, PRIMARIES))
    assert HOSTILE not in page
    assert 'id="storms"' in page
