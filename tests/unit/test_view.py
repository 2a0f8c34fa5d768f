"""What a report says: numbers, words, sentences, and what it must never say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from runs import METRICS, PRIMARY, Outcome, Setting, build, troubled
from tare_bench.analysis import Analysis, analyse
from tare_bench.metrics import RESIDENT
from tare_bench.model import Accelerator, Run, Trial
from tare_bench.reports.view import KVM_EVIDENCE, headline, view
from tare_bench.reports.view_cells import TableCell
from tare_bench.reports.view_format import clean, identifier, measured, number, quantity, signed, span, unit_for
from tare_bench.reports.view_marks import WIDTH, difference_axis, mark, ratio_axis
from tare_bench.reports.view_method import MAX_EMBEDDED, method, samples_csv
from tare_bench.reports.view_tables import TableRow, tables
from tare_bench.stats import Estimate


def _analyse(run: Run) -> Analysis:
    return analyse(run, METRICS, PRIMARY)


def _rows(run: Run) -> Mapping[str, TableRow]:
    return {row.id: row for table in tables(_analyse(run)) for row in table.rows}


def _cell(row: TableRow, arm: str) -> TableCell:
    return next(cell for cell in row.cells if cell.arm == arm)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (171.4, "171"),
        (7213.0, "7210"),
        (2.0, "2.00"),
        (0.012699, "0.0127"),
        (0.9996, "1.00"),
        (9.999, "10.0"),
        (123456.0, "123\u202f000"),
        (-5.588, "−5.59"),
        (1e-7, "1.00e−07"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("unit", "values", "symbol"),
    [
        ("s", [0.173, 0.18], "ms"),
        ("s", [0.173, 7.2], "s"),
        ("s", [0.002, 7.2], "ms"),
        ("s", [2e-6], "µs"),
        ("B", [6.2 * 2**20, 245 * 2**20], "MiB"),
        ("B", [4096.0, 16384.0], "KiB"),
        ("1/s", [1200.0], "1/s"),
        ("1/s", [70900.0], "k/s"),
        ("1/s", [4e7], "M/s"),
        ("B/s", [31e9], "GiB/s"),
        ("1", [3.0], ""),
        ("s", [], "s"),
        ("s", [0.0, float("inf")], "s"),
        ("Wb", [3.0], "Wb"),
    ],
)
def test_the_unit_suits_the_whole_row(unit: str, values: list[float], symbol: str) -> None:
    assert unit_for(unit, values).symbol == symbol


def test_numbers_come_with_unit_and_interval() -> None:
    assert quantity(0.1734, "s") == "173 ms"
    assert quantity(143.0, "1") == "143"
    assert measured(Estimate(0.1734, 0.169, 0.178, 12), "s") == "173 ms (169 to 178)"
    assert measured(Estimate(0.1734, None, None, 2), "s") == "173 ms"
    assert span(None, 2.0) == ""
    assert (signed(2.0), signed(-2.0), signed(0.0)) == ("+2.00", "−2.00", "0")


def test_control_and_direction_characters_are_made_visible() -> None:
    assert clean("a\x1b[31m\u202eb\u2028c\x00d\x9b\ud800") == "a�[31m�b�c�d��"
    assert clean("line\n\ttab") == "line\n\ttab"


def test_an_id_holds_nothing_odd_and_differs_where_names_differ() -> None:
    odd = identifier("row", "<b>\"x'&")
    assert all(char.isalnum() or char in "-." for char in odd)
    assert odd != identifier("row", "<i>\"x'&")
    assert identifier("row", "boot.ready") == "row-boot.ready"
    assert identifier("") == "x"


def test_a_mark_lies_inside_its_drawing_whatever_its_interval() -> None:
    metric = METRICS["boot.ready"]
    for effect in (Estimate(41.0, 36.0, float("inf"), 12), Estimate(0.01, 0.0, 0.02, 12), Estimate(0.0, 0.0, 1.0, 9)):
        found = mark(ratio_axis([effect]), metric, effect)
        assert found.low is not None
        assert found.high is not None
        assert 0 < found.low <= found.middle <= found.high < WIDTH
        assert found.region_low < found.baseline < found.region_high


def test_a_ratio_axis_is_logarithmic_and_holds_one() -> None:
    axis = ratio_axis([Estimate(100.0, 90.0, 110.0, 12), Estimate(0.01, 0.009, 0.011, 12)])
    assert axis.x(100) - axis.x(10) == pytest.approx(axis.x(1) - axis.x(0.1), abs=0.2)
    assert "1×" in [tick.text for tick in axis.ticks]
    assert len(axis.ticks) <= 5


@pytest.mark.parametrize("value", [0.185, 0.5, 0.97, 1.1, 3.0, 40.0, 1e-3, 1e6])
def test_labels_on_an_axis_do_not_touch_and_one_is_there(value: float) -> None:
    ticks = ratio_axis([Estimate(value, value * 0.97, value * 1.02, 12)]).ticks
    places = [tick.x for tick in ticks]
    assert all(later - earlier >= 30 for earlier, later in pairwise(places))
    assert "1×" in [tick.text for tick in ticks]
    assert len(ticks) > 1


def test_one_endless_interval_does_not_squeeze_the_others() -> None:
    usual = ratio_axis([Estimate(2.0, 1.9, 2.1, 12)])
    wide = ratio_axis([Estimate(2.0, 1.9, 2.1, 12), Estimate(1.5, 1e-9, 1e9, 12)])
    assert wide.high - wide.low < 4 * (usual.high - usual.low)


def test_a_difference_axis_holds_zero() -> None:
    axis = difference_axis([Estimate(500.0, 400.0, 600.0, 12)], region=10.0)
    assert axis.x(0.0) < axis.x(400.0) < axis.x(600.0)


def test_the_headline_says_how_much_and_against_what() -> None:
    first, second = headline(_analyse(build(Setting(accelerators={"kvm": "kvm"}))))[:2]
    assert first.startswith("kvm takes 41.8 times as long to boot (")
    assert "MiB more memory for each instance (" in first
    assert first.endswith("compared with docker.")
    # one cell never makes a headline: it is said that it is only one
    assert second.startswith("Throughput of kvm compared with docker, in one cell only: slower in CPU (sysbench), at ")
    assert "0.0727 times the rate (" in second


def test_the_headline_names_the_emulated_and_not_its_memory() -> None:
    sentences = headline(_analyse(build()))
    assert sentences[0].startswith("kvm (EMULATED) takes")
    assert "memory" not in sentences[0]
    assert any("EMULATED" in sentence and "memory is not compared" in sentence for sentence in sentences[1:])


def test_native_is_the_floor_and_no_headline() -> None:
    assert not any("native" in sentence for sentence in headline(_analyse(build())))
    alone = headline(_analyse(build(Setting(arms=("native", "docker")))))
    assert alone[0].startswith("native takes 0.0")


def test_equal_arms_are_said_to_be_equal_within_the_region() -> None:
    setting = Setting(arms=("docker", "other"), names={"other": "docker"}, accelerators={}, rounds=150)
    first = headline(_analyse(build(setting)))[0]
    assert "boots equally fast within 5" in first
    assert "takes the same memory for each instance within 4.00 MiB" in first


def test_what_is_open_and_what_failed_is_counted() -> None:
    sentences = headline(_analyse(troubled()))
    assert (
        "1 primary comparison without enough data, 1 trial failed, 1 trial timed out, 12 trials skipped." in sentences
    )


def test_too_few_pairs_make_no_claim() -> None:
    first = headline(_analyse(build(Setting(rounds=2))))[0]
    assert first.startswith("There is not enough data to compare kvm (EMULATED) with docker: 2 pairs;")


def test_a_single_arm_is_told_as_it_is() -> None:
    first = headline(_analyse(build(Setting(arms=("docker",)))))[0]
    assert first.startswith("docker boots in 1")
    assert first.endswith("; no other arm was run.")


def test_a_run_in_which_nothing_worked_says_so() -> None:
    def outcome(arm: str, workload: str, block: int) -> Outcome:
        return "failed", "broken"

    page = view(_analyse(build(Setting(outcome=outcome))))
    assert "not enough data" in page.answer[0]
    assert page.waterfall is None
    assert page.details == []
    assert page.same_boot is None


def test_an_interrupted_run_says_so() -> None:
    page = view(_analyse(msgspec.structs.replace(build(), finished=False)))
    assert any("did not come to its end" in sentence for sentence in page.answer)
    assert any(badge.text == "partial" for badge in page.trust)
    assert page.title.startswith("partial · ")


def test_a_run_that_is_going_on_says_so_and_is_called_partial() -> None:
    page = view(_analyse(msgspec.structs.replace(build(), finished=False, in_flight=True)))
    assert any("still going on" in sentence for sentence in page.answer)
    assert any(badge.text == "partial: still going on" for badge in page.trust)
    assert page.title.startswith("partial · ")


def test_a_simulated_run_is_watermarked() -> None:
    run = build(Setting(accelerators={"docker": "simulated", "native": "simulated", "kvm": "simulated"}))
    page = view(_analyse(run))
    assert page.watermark == "SIMULATED"
    assert page.title.startswith("SIMULATED")
    assert any("nothing was measured" in sentence for sentence in page.answer)
    assert {column.label for column in page.seed.columns} == {"SIMULATED"}


def test_the_title_carries_the_answer() -> None:
    page = view(_analyse(build()))
    assert page.title.startswith("EMULATED · ◆ 2 slower/larger, ● 2 faster/smaller, ■ 1 equivalent")
    assert (page.mark, page.count) == ("worse", "2")


def test_every_row_has_a_unit_and_a_direction() -> None:
    for row in _rows(build()).values():
        assert row.unit
        assert "better" in row.better


def test_verdicts_fit_their_metric() -> None:
    rows = _rows(build())

    def word(row: str, arm: str) -> str:
        found = _cell(rows[row], arm).verdict
        assert found is not None
        return found.word

    assert word("row-boot.ready", "native") == "faster"
    assert word("row-boot.ready", "kvm") == "slower"
    assert word("row-boot.cpu", "kvm") == "larger"
    assert word("row-memory.pss", "native") == "smaller"
    assert _cell(rows["row-disk.instance"], "kvm").verdict is None
    assert word("row-sysbench-cpu.events", "kvm") == "slower"
    assert word("row-sysbench-cpu.events", "native") == "equivalent"
    assert word("row-memory.pss", "kvm") == "not compared: emulated"


def test_every_cell_of_an_emulated_arm_is_labelled() -> None:
    for row in _rows(build()).values():
        assert _cell(row, "kvm").label == "EMULATED"
        assert _cell(row, "docker").label == ""


def test_an_emulated_memory_has_neither_ratio_nor_mark() -> None:
    cell = _cell(_rows(build())["row-memory.pss"], "kvm")
    assert (cell.effect, cell.effect_interval, cell.mark) == ("", "", None)
    assert cell.value


def test_a_difference_of_nothing_has_a_unit_that_suits_its_interval() -> None:
    setting = Setting(arms=("docker", "other"), names={"other": "docker"}, accelerators={})
    run = build(setting)
    same = [
        msgspec.structs.replace(
            trial, samples=[msgspec.structs.replace(sample, value=2.0**21) for sample in trial.samples]
        )
        if trial.cell.workload == "memory"
        else trial
        for trial in run.trials
    ]
    cell = _cell(_rows(msgspec.structs.replace(run, trials=same))["row-memory.pss"], "other")
    assert (cell.effect, cell.effect_interval) == ("the same", "−256 to 256 KiB")


def test_a_primary_verdict_is_not_exploratory_and_all_others_are() -> None:
    rows = _rows(build())
    assert not _cell(rows["row-boot.ready"], "kvm").exploratory
    assert _cell(rows["row-boot.created"], "kvm").exploratory


def test_a_milestone_that_a_technology_lacks_is_not_there() -> None:
    cell = _cell(_rows(troubled())["row-boot.kernel"], "docker")
    assert (cell.value, cell.absent, cell.trouble) == ("", "not there", ())
    falls = view(_analyse(build())).waterfall
    assert falls is not None
    lane = next(lane for lane in falls.lanes if lane.arm == "docker")
    assert lane.texts[2:4] == ("not there", "not there")
    assert "kernel" not in lane.moments


def test_a_failed_cell_says_what_failed_once() -> None:
    rows = _rows(troubled())
    assert _cell(rows["row-boot.ready"], "docker").trouble == ("1 trial failed", "docker: no space left on device")
    assert _cell(rows["row-boot.created"], "docker").trouble == ("1 trial failed",)
    assert _cell(rows["row-sysbench-cpu.events"], "kvm").absent == "no value"
    assert "the rootfs has no sysbench" in _cell(rows["row-sysbench-cpu.events"], "kvm").trouble


def test_what_is_undecided_says_what_it_would_take() -> None:
    setting = Setting(arms=("docker", "other"), names={"other": "docker"}, accelerators={})
    cell = _cell(_rows(build(setting))["row-boot.ready"], "other")
    assert cell.verdict is not None
    assert cell.verdict.word == "undecided"
    assert cell.outlook.startswith("needs about ")
    assert cell.outlook.endswith("pairs; has 12")


def test_how_many_values_is_said_once_and_where_it_differs() -> None:
    analysis = _analyse(troubled())
    boot = next(table for table in tables(analysis) if table.id == "boot")
    assert boot.notes[0] == "n = 11 for each value, unless another number is given."
    rows = {row.id: row for row in boot.rows}
    assert _cell(rows["row-boot.created"], "docker").n == ""
    assert _cell(rows["row-boot.created"], "native").n == "n\u00a0=\u00a012"


def test_a_row_with_too_few_blocks_to_be_judged_is_not_called_primary() -> None:
    run = build(Setting(arms=("native", "docker")))
    plan = run.manifest.plan
    few = [msgspec.structs.replace(each, blocks=6) if each.name == "memory" else each for each in plan.workloads]
    manifest = msgspec.structs.replace(run.manifest, plan=msgspec.structs.replace(plan, workloads=few))
    rows = _rows(msgspec.structs.replace(run, manifest=manifest))
    assert rows["row-boot.ready"].primary
    assert not rows["row-memory.pss"].primary
    assert _cell(rows["row-memory.pss"], "native").exploratory


def test_a_cold_arm_says_so_in_every_table_whatever_its_name() -> None:
    run = build()
    plan = run.manifest.plan
    arms = [
        msgspec.structs.replace(arm, spec=msgspec.structs.replace(arm.spec, page_cache="cold"))
        if arm.name == "kvm"
        else arm
        for arm in plan.arms
    ]
    manifest = msgspec.structs.replace(run.manifest, plan=msgspec.structs.replace(plan, arms=arms))
    analysis = _analyse(msgspec.structs.replace(run, manifest=manifest))
    heads = [{column.arm: column.driver for column in table.columns} for table in tables(analysis)]
    assert len(heads) > 2
    assert all(head == {"docker": "", "native": "", "kvm": "cold page cache"} for head in heads)
    listed = dict(method(analysis).plan)["Arms"].splitlines()
    assert [line for line in listed if "cold" in line] == [line for line in listed if line.startswith("kvm")]


def test_how_much_of_an_image_was_in_memory_is_told_for_each_arm() -> None:
    run, key = build(), "Image in memory when asked for"
    assert key not in dict(method(_analyse(run)).plan)

    def told(trial: Trial) -> Trial:
        words = {"warmup": "no", "measured": f"{trial.block}% of 9 MB"}[trial.role]
        return msgspec.structs.replace(trial, facts={**trial.facts, RESIDENT: words})

    known = [told(each) if each.cell.arm == "docker" and each.cell.workload == "boot" else each for each in run.trials]
    last = max(each.block for each in known if each.cell.workload == "boot")
    shown = dict(method(_analyse(msgspec.structs.replace(run, trials=known))).plan)
    assert shown[key] == f"docker: {last}% of 9 MB"


def test_the_baseline_is_the_first_column() -> None:
    columns = tables(_analyse(build()))[0].columns
    assert [column.arm for column in columns] == ["docker", "native", "kvm"]
    assert [column.baseline for column in columns] == [True, False, False]


def test_the_seed_table_has_five_rows_and_links_to_its_evidence() -> None:
    page = view(_analyse(build()))
    assert [row.id for row in page.seed.rows] == [
        f"seed-{key}" for key in ("isolation", "weight", "speed", "environment", "technology")
    ]
    ids = {row.id for table in page.tables for row in table.rows} | {"method", "facts"}
    entries = [entry for row in page.seed.rows for cell in row.cells for entry in cell]
    assert {entry.link for entry in entries if entry.link} <= ids
    assert any(entry.text == "a kernel of its own" for entry in page.seed.rows[0].cells[2])
    assert page.seed.rows[2].cells[0][0].text == "171 ms"
    assert page.seed.rows[2].cells[0][0].interval


def test_a_workload_that_was_not_run_leaves_the_seed_open() -> None:
    page = view(_analyse(build(Setting(workloads=("boot",)))))
    assert page.seed.rows[1].cells[0][0].text == "not measured in this run"


@pytest.mark.parametrize(("accelerator", "said"), [("kvm", True), ("tcg", True), ("none", False)])
def test_a_run_with_guests_says_how_far_kvm_has_been_tried(accelerator: Accelerator, said: bool) -> None:
    assert KVM_EVIDENCE == "The KVM path is shown by a boot sector only."
    assert (KVM_EVIDENCE in method(_analyse(build(Setting(accelerators={"kvm": accelerator})))).biases) == said


def test_every_metric_that_is_shown_is_defined() -> None:
    analysis = _analyse(build())
    defined = {each.name for each in method(analysis).definitions}
    assert {row.metric for row in analysis.rows} | {"floor.run"} <= defined


def test_the_data_is_carried_unless_it_is_too_much() -> None:
    lines = samples_csv(_analyse(build())).splitlines()
    assert lines[0] == "trial,arm,workload,block,position,role,status,metric,value,unit,error"
    assert len(lines) == 1 + sum(len(trial.samples) for trial in build().trials)
    large = build(Setting(rounds=400))
    assert method(_analyse(large)).csv == ""
    assert len(samples_csv(_analyse(large))) < 2 * MAX_EMBEDDED


def test_a_name_is_no_formula_for_a_spreadsheet() -> None:
    setting = Setting(arms=("docker", "=1+1"), names={"=1+1": "docker"}, accelerators={})
    assert ",'=1+1," in samples_csv(_analyse(build(setting)))


def test_a_notice_is_shown_once() -> None:
    run = build()
    run = msgspec.structs.replace(run, notices=[*run.manifest.notices, *run.manifest.notices])
    assert len(view(_analyse(run)).notices) == 1


def test_the_view_is_the_same_for_the_same_run() -> None:
    assert view(_analyse(build())) == view(_analyse(build()))
    assert view(_analyse(build())) != view(_analyse(build(replace(Setting(), seed=8))))


def test_an_arm_is_told_what_its_own_drivers_options_came_to() -> None:
    run = build()
    arms = [
        msgspec.structs.replace(arm, driver="kvm", options={"uri": arm.name} if arm.name == "docker" else {})
        for arm in run.manifest.plan.arms
    ]
    arms = [msgspec.structs.replace(arm, name={"docker": "mine"}.get(arm.name, arm.name)) for arm in arms]
    plan = msgspec.structs.replace(run.manifest.plan, arms=arms, baseline="mine")
    drivers = {"kvm": {"uri": "embedded"}, "mine": {"uri": "of the host"}}
    manifest = msgspec.structs.replace(run.manifest, plan=plan, drivers=drivers)
    assert [manifest.described(arm)["uri"] for arm in arms if arm.name in drivers] == ["of the host", "embedded"]
    found = view(analyse(msgspec.structs.replace(run, manifest=manifest, trials=[]), METRICS, PRIMARY))
    technology = next(row for row in found.seed.rows if row.id == "seed-technology")
    shown = {
        head.arm: [entry.note for entry in cell]
        for head, cell in zip(found.seed.columns, technology.cells, strict=True)
    }
    assert "uri of the host" in shown["mine"]
    assert "uri embedded" in shown["kvm"]
    titles = [title for title, _ in found.facts]
    assert {"Driver kvm", "Driver of mine"} <= set(titles)


def test_the_host_after_the_run_and_its_tuning_are_shown() -> None:
    run = build()
    plan = msgspec.structs.replace(run.manifest.plan, tune=True)
    manifest = msgspec.structs.replace(run.manifest, plan=plan, host={"tuned": "KSM 1 → 0"})
    heat = {"host.overheated": "1", "host.seconds": "1", "kernel_release": "6.1"}
    trials = [msgspec.structs.replace(each, facts=heat) for each in run.trials]
    after = {"governor": "powersave"}
    run = msgspec.structs.replace(run, manifest=manifest, trials=trials, host_after=after)
    analysis = analyse(run, METRICS, PRIMARY)
    found = view(analysis)
    facts = dict(found.facts)
    assert facts["Host"] == (("tuned", "KSM 1 → 0"),)
    assert ("slowed down for heat", f"{sum(t.role == 'measured' for t in trials)} times") in facts[
        "Host, while measured trials ran"
    ]
    assert facts["Host, at the end"] == (("governor", "powersave"),)
    assert "asked for" in dict(found.method.plan)["Host tuning"]
    assert "host-overheated" in [notice.code for notice in found.notices]
    assert all(read == {"kernel_release": "6.1"} for read in analysis.facts.values())


def test_cpu_time_is_an_amount_whoever_spent_it() -> None:
    from tare_bench.reports.view_words import is_speed

    assert [is_speed(METRICS[name]) for name in ("boot.ready", "boot.cpu", "boot.cpu.instance", "redis.host_cpu")] == [
        True, False, False, False,
    ]  # fmt: skip
