"""What a report says of throughput: names of cells, sentences, tables, pictures, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from runs import HOSTILE, METRICS, PRIMARY, Outcome, Setting, build, hostile_rates
from tare_bench.analysis import Analysis, analyse
from tare_bench.compare import Row
from tare_bench.model import Notice, Run, canonical
from tare_bench.reports.view import headline, view
from tare_bench.reports.view_charts import forest, sweeps
from tare_bench.reports.view_format import NBSP
from tare_bench.reports.view_labels import swept, title
from tare_bench.reports.view_method import method
from tare_bench.reports.view_points import details
from tare_bench.reports.view_tables import Table, TableRow, tables
from tare_bench.workloads.network import RATE

TEN = Setting(rounds=10, throughput=10, workloads=("boot", "memory"))
TWO = replace(TEN, arms=("docker", "other"), names={"other": "docker"}, accelerators={})
OUT_OF_TIME = Notice(code="out-of-time", subject="run", message="3 blocks", hint="More --max-time, or fewer rounds.")


def _analyse(setting: Setting) -> Analysis:
    return analyse(build(setting), METRICS, PRIMARY)


def _row(metric: str, workload: str, **params: Any) -> Row:
    return Row(metric=metric, workload=workload, params=canonical(params))


def _table(analysis: Analysis, name: str = "throughput") -> Table:
    return next(table for table in tables(analysis) if table.id == name)


def _slow(**factors: float) -> Callable[[str, str, int], float]:
    """The factors of the arm `other` by the first word of a metric's name."""

    def factor(arm: str, metric: str, block: int) -> float:
        return factors.get(metric.partition(".")[0].replace("-", "_"), 1.0) if arm == "other" else 1.0

    return factor


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            _row("redis.get.rate", "redis", operation="get", connections=10),
            "Redis GET, 10 connections (inside, loopback)",
        ),
        (_row("redis.get.rate", "redis", operation="get", connections=1), "Redis GET, 1 connection (inside, loopback)"),
        (_row("fio-randread.iops", "fio-randread", block_size=4096, depth=1), "Random reads, 4 KiB, depth 1 (fio)"),
        (_row("sysbench-cpu.events", "sysbench-cpu", threads="all"), "CPU, all vCPUs (sysbench)"),
        (
            _row("net-stream.rate", "net-stream", direction="in", streams=1),
            "TCP stream, to the instance, 1 stream",
        ),
        (
            _row("net-stream.rate", "net-stream", direction="out", streams=4),
            "TCP stream, from the instance, 4 streams",
        ),
        (_row("sysbench-cpu.events", "sysbench-cpu", threads=2), "CPU, 2 threads (sysbench)"),
        (_row("sysbench-cpu.events", "sysbench-cpu"), "CPU (sysbench)"),
        (_row("boot.ready", "boot", cold_start=True), "Boot to ready, cold start True"),
        (_row("sysbench-cpu.events", "sysbench-cpu", threads="many"), "CPU, threads many (sysbench)"),
        (_row("boot.ready", "boot", depth="\x1b\n"), "Boot to ready, depth �"),
    ],
)
def test_a_cell_is_named_in_words(row: Row, words: str) -> None:
    assert title({**METRICS, RATE.name: RATE}[row.metric], row).replace(NBSP, " ") == words


def test_what_was_swept_is_the_one_number_that_differs() -> None:
    rows = [_row("redis.get.rate", "redis", operation="get", connections=number) for number in (1, 10)]
    assert swept(rows) == "connections"
    assert swept(rows[:1]) == ""
    assert swept([*rows, _row("redis.get.rate", "redis", operation="set", connections=50)]) == ""
    assert swept([_row("x", "x", threads=1), _row("x", "x", threads="all")]) == ""


def test_each_rate_is_followed_by_what_it_costs_the_host() -> None:
    rows = _table(_analyse(TEN)).rows
    assert [row.title.replace(NBSP, " ") for row in rows if row.lead] == [
        "CPU, 1 thread (sysbench)",
        "Memory writes (sysbench)",
        "Random reads, 4 KiB, depth 1 (fio)",
        "Random writes, 4 KiB, depth 1 (fio)",
        "Redis GET, 1 connection (inside, loopback)",
        "Redis GET, 10 connections (inside, loopback)",
        "Redis GET, 50 connections (inside, loopback)",
    ]
    assert [row.minor for row in rows] == [False, True] * 7
    assert all(row.primary == row.lead != row.minor for row in rows)
    assert rows[-1].detail == "GET, 50 connections"
    assert not any("{" in row.title + row.detail for row in rows)


def test_rates_have_readable_units_and_one_for_all_cells_of_a_metric() -> None:
    rows: dict[str, list[TableRow]] = {}
    for row in _table(_analyse(TEN)).rows:
        rows.setdefault(row.title.partition(",")[0], []).append(row)
    assert {row.unit for row in rows["Redis GET"]} == {"k/s"}
    assert rows["CPU"][0].unit == "1/s"
    assert rows["Memory writes (sysbench)"][0].unit == "GiB/s"
    assert rows["Host CPU for each MiB"][0].unit == "µs"


def test_what_a_unit_of_work_costs_the_host_is_judged_whatever_the_floor() -> None:
    row = next(row for row in _table(_analyse(TEN)).rows if row.minor)
    verdict = next(cell.verdict for cell in row.cells if cell.arm == "kvm")
    assert verdict is not None
    assert verdict.word == "larger"


def test_every_cell_of_an_emulated_arm_is_labelled_in_table_and_pictures() -> None:
    analysis = _analyse(TEN)
    assert all(cell.label == "EMULATED" for row in _table(analysis).rows for cell in row.cells if cell.arm == "kvm")
    ratios = forest(analysis)
    assert ratios is not None
    assert ("kvm", "EMULATED") in ratios.arms
    assert all(line.label == "EMULATED" for sweep in sweeps(analysis) for line in sweep.lines if line.arm == "kvm")


# Sentences


def test_throughput_has_a_sentence_of_its_own_that_names_every_cell() -> None:
    first, second, *_ = headline(_analyse(TEN))
    assert "CPU" not in first
    assert second.startswith(
        "Throughput of kvm (EMULATED) compared with docker: slower in CPU (sysbench), Memory writes (sysbench), "
        "Random reads (fio), Random writes (fio) and Redis GET (inside, loopback) at 1, 10 and 50 connections, at 0.0"
    )
    assert second.endswith(" times the rate.")


def test_cells_that_differ_and_cells_that_do_not_are_told_apart() -> None:
    setting = replace(TWO, factor=_slow(sysbench_memory=0.5, fio_randread=2.0))
    sentence = headline(_analyse(setting))[1]
    slower, faster, equal = sentence.removesuffix(".").partition(": ")[2].split("; ")
    assert slower.startswith("slower in Memory writes (sysbench), at 0.499 times the rate (0.4")
    assert faster.startswith("faster in Random reads (fio), at 2.0")
    assert equal.replace("\u202f", " ") == (
        "equally fast within 5 % in CPU (sysbench), Random writes (fio) and Redis GET (inside, loopback) at 1, 10 and "
        "50 connections"
    )


def test_one_of_several_cells_of_a_metric_is_named_with_what_sets_it_apart() -> None:
    run = build(TWO)

    def halved(trial: Any) -> Any:
        if trial.cell.arm != "other" or trial.cell.params.get("connections") != 50:
            return trial
        samples = [msgspec.structs.replace(sample, value=sample.value / 2) for sample in trial.samples]
        return msgspec.structs.replace(trial, samples=samples)

    changed = msgspec.structs.replace(run, trials=[halved(trial) for trial in run.trials])
    sentence = headline(analyse(changed, METRICS, PRIMARY))[1]
    assert "slower in Redis GET (inside, loopback) at 50 connections, at " in sentence
    assert "Redis GET (inside, loopback) at 1 and 10 connections" in sentence


def test_what_is_open_is_named_too() -> None:
    def uneven(arm: str, metric: str, block: int) -> float:
        return (0.7 if block % 2 else 1.4) if (arm, metric) == ("other", "fio-randwrite.iops") else 1.0

    def broken(arm: str, workload: str, block: int) -> Outcome | None:
        return ("failed", "broken") if (arm, workload) == ("other", "fio-randread") and block < 5 else None

    sentence = headline(_analyse(replace(TWO, factor=uneven, outcome=broken)))[1]
    assert "; undecided in Random writes (fio); not enough data in Random reads (fio)." in sentence


def test_one_cell_alone_is_said_to_be_only_one() -> None:
    setting = Setting(arms=("docker", "kvm"), rounds=10, workloads=("boot", "sysbench-cpu"))
    first, second, *_ = headline(_analyse(setting))
    assert "CPU" not in first
    assert second.startswith("Throughput of kvm (EMULATED) compared with docker, in one cell only: slower in CPU (s")


def test_nothing_is_said_twice_where_nothing_is_decided() -> None:
    sentences = headline(_analyse(replace(TEN, rounds=3, throughput=3)))
    assert sum("not enough data" in sentence for sentence in sentences) == 1


def test_too_few_blocks_of_throughput_beside_enough_of_boot() -> None:
    sentences = headline(_analyse(replace(TEN, throughput_done=2)))
    assert sentences[0].startswith("kvm (EMULATED) takes")
    assert sentences[1].startswith(
        "There is not enough data to compare the throughput of kvm (EMULATED) with that of docker: 2 pairs;"
    )


def test_what_was_planned_with_too_few_blocks_is_called_exploratory() -> None:
    sentences = headline(_analyse(replace(TEN, throughput=6)))
    assert any(
        sentence.startswith("Exploratory, from 6 pairs: throughput of kvm (EMULATED) compared with docker: slower in")
        for sentence in sentences
    )


# What was planned and not measured


def test_a_section_says_on_top_what_did_not_fit_and_each_cell_in_how_many_blocks() -> None:
    analysis = _analyse(replace(TEN, throughput_done=7, notices=(OUT_OF_TIME,)))
    table = _table(analysis)
    assert table.alerts == (
        "Not all of it fitted into the time: 7 of 10 planned blocks of throughput measured.",
        "More --max-time, or fewer rounds.",
    )
    said = {cell.n.replace(NBSP, " ") for row in table.rows if row.lead for cell in row.cells}
    assert said == {"7 of 10 blocks"}
    assert {cell.n for row in table.rows if row.minor for cell in row.cells} == {""}
    assert _table(analysis, "boot").alerts == ()


def test_throughput_that_was_never_begun_has_its_section_all_the_same() -> None:
    page = view(_analyse(replace(TEN, throughput_done=0, notices=(OUT_OF_TIME,))))
    table = next(table for table in page.tables if table.id == "throughput")
    assert (table.rows, table.notes) == ((), ())
    assert table.alerts[0].startswith("Not all of it fitted into the time: 0 of 10 planned blocks of throughput")
    assert page.sweeps == []


def test_an_interrupted_run_says_so_where_it_counts() -> None:
    run = build(replace(TEN, throughput_done=4))
    analysis = analyse(msgspec.structs.replace(run, finished=False), METRICS, PRIMARY)
    assert _table(analysis).alerts[0].startswith("The run did not come to its end: 4 of 10 planned blocks")


def test_a_whole_run_has_nothing_to_say_of_that() -> None:
    assert [table.alerts for table in tables(_analyse(TEN))] == [()] * len(tables(_analyse(TEN)))


def test_a_reason_that_most_cells_share_is_given_once() -> None:
    table = _table(_analyse(replace(TEN, throughput_done=2)))
    assert {cell.outlook for row in table.rows for cell in row.cells} == {""}
    assert any(note.startswith("Not enough data, where no other reason is given: 2 pairs;") for note in table.notes)


# Pictures


def test_the_forest_has_every_ratio_and_says_what_it_shows() -> None:
    found = forest(_analyse(TEN))
    assert found is not None
    assert (found.baseline, found.arms) == ("docker", (("native", ""), ("kvm", "EMULATED")))
    rates = {row.id for row in _table(_analyse(TEN)).rows if not row.minor}
    assert rates <= {lot.row_id for lot in found.lots}
    assert [lot.lower for lot in found.lots] == sorted((lot.lower for lot in found.lots), reverse=True)
    assert {"row-boot.ready", "row-boot.created"} <= {lot.row_id for lot in found.lots if lot.lower}
    assert not any("host_cpu" in lot.row_id or "memory.pss" in lot.row_id for lot in found.lots)
    reads = next(lot.ratios for lot in found.lots if "fio-randread" in lot.row_id)
    assert [ratio.kind for ratio in reads] == ["better", "worse"]
    assert reads[0].text.startswith("1.1")
    assert reads[0].text.endswith(", faster")


def test_a_forest_too_large_for_a_picture_says_how_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tare_bench.reports.view_charts.MAX_LOTS", 5)
    found = forest(_analyse(TEN))
    assert found is not None
    assert (len(found.lots), found.left_out > 5) == (5, True)


def test_one_ratio_makes_no_forest() -> None:
    page = view(analyse(build(Setting(arms=("docker",))), METRICS, PRIMARY))
    assert (page.forest, page.sweeps) == (None, [])


def test_a_sweep_runs_over_what_was_swept_in_its_order() -> None:
    (sweep,) = sweeps(_analyse(TEN))
    assert (sweep.title, sweep.parameter) == ("Redis GET (inside, loopback)", "connections")
    assert (sweep.values, sweep.names, sweep.unit) == ((1.0, 10.0, 50.0), ("1", "10", "50"), "k/s")
    docker = sweep.lines[0]
    assert docker.medians == pytest.approx((69.7, 75.9, 103.5), rel=0.02)
    assert all("(" in text and text.endswith("n = 10") for text in docker.texts)


def test_every_rate_has_a_chart_of_its_values() -> None:
    drawn = {each.strip.row_id for each in details(_analyse(TEN))}
    assert {row.id for row in _table(_analyse(TEN)).rows if row.lead} <= drawn


# How it was measured


def test_how_much_work_each_cell_was_given_is_said_with_blocks_and_cache() -> None:
    found = {each.name.replace(NBSP, " "): each for each in method(_analyse(replace(TEN, throughput_done=7))).workloads}
    reads = found["fio-randread, 4 KiB, depth 1"]
    assert (reads.blocks, reads.work, reads.cache) == ("10 of throughput, 7 measured", "5000 × request", "none")
    assert found["sysbench-memory"].work == "5000 × MiB"
    assert (found["boot"].blocks, found["boot"].work, found["boot"].cache) == ("10 of boot", "–", "not recorded")
    assert len(found) == 9


def test_without_a_guest_there_is_no_cache_mode() -> None:
    assert {each.cache for each in method(_analyse(TWO)).workloads} == {"–"}


def test_both_kinds_of_block_their_warm_up_and_the_order_are_said() -> None:
    found = method(_analyse(TEN))
    plan = dict(found.plan)
    assert plan["Blocks"] == (
        "10 of boot after 1 warm-up block, then 10 of throughput after 1 warm-up block in which the work is sized; "
        "warm-ups are kept apart"
    )
    assert "all arms do one back to back" in plan["Order"]
    last = found.order[-1][1].splitlines()
    assert len(last) == 7
    assert all(
        line.count(": ") == 1 and {"native", "docker", "kvm"} <= set(line.replace(",", "").split()) for line in last
    )
    assert any("tool's own clock" in bias for bias in found.biases)


def test_a_plan_without_throughput_says_nothing_of_it() -> None:
    plan = dict(method(analyse(build(), METRICS, PRIMARY)).plan)
    assert plan["Blocks"] == "12 of boot after 1 warm-up block, kept apart"
    assert "throughput" not in plan["Order"]


def test_hostile_parameters_are_text_on_one_line() -> None:
    run: Run = hostile_rates()
    analysis = analyse(run, METRICS, PRIMARY)
    for row in _table(analysis).rows:
        assert "\x1b" not in row.title + row.detail
        assert "\n" not in row.title
    assert any(HOSTILE[:8] in row.title for row in _table(analysis).rows)
