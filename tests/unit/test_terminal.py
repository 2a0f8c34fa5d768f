"""The report in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console
from runs import METRICS, PRIMARY, Setting, build, hostile, hostile_rates, troubled
from tare_bench.analysis import analyse
from tare_bench.model import Notice, Run
from tare_bench.reports.terminal import render_terminal
from tare_bench.reports.view_tables import tables

TEN = Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk", "isolation"))


def _printed(run: Run, *, width: int = 160, colour: bool = False, whole: bool = True) -> str:
    target = io.StringIO()
    console = Console(
        file=target, width=width, force_terminal=colour, color_system="standard" if colour else None, _environ={}
    )
    render_terminal(analyse(run, METRICS, PRIMARY), console, whole=whole)
    return target.getvalue()


def test_the_answer_comes_first() -> None:
    assert _printed(build()).startswith("kvm (EMULATED) takes 41.8 times as long to boot (")


def test_every_group_has_its_table() -> None:
    printed = _printed(build())
    for title in ("Boot time", "Memory and disk", "Throughput", "Isolation"):
        assert f"\n{title}" in printed


def test_rows_have_unit_direction_value_interval_and_verdict() -> None:
    printed = _printed(build())
    assert "ms, lower is better" in printed
    assert "1/s, higher is better" in printed
    assert "171 (165 to 180)" in printed
    assert "◆ slower EMULATED" in printed
    assert "● faster exploratory" in printed
    assert "– not compared: emulated" in printed


def test_failures_and_notices_are_told() -> None:
    printed = _printed(troubled())
    assert "docker: no space left on device" in printed
    assert "not READY within 180 s" in printed
    assert "kvm: The guest ran without KVM" in printed
    assert "tare check kvm says what is missing" in printed


def test_a_simulated_run_says_so_before_anything_else() -> None:
    run = build(Setting(accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated")))
    assert _printed(run).startswith("SIMULATED: nothing was measured")


def test_markup_and_escapes_in_names_do_nothing() -> None:
    printed = _printed(hostile())
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    markup = Setting(arms=("docker", "[bold red]x[/]"), names={"[bold red]x[/]": "docker"}, accelerators={})
    assert "[bold red]x[/] takes" in _printed(build(markup))


def test_a_narrow_terminal_gets_all_of_it() -> None:
    printed = _printed(troubled(), width=60)
    assert max(map(len, printed.splitlines())) <= 60
    assert "EMULATED" in printed


def test_colour_adds_to_the_words_and_replaces_none() -> None:
    import re

    plain = re.sub("\x1b\\[[0-9;]*m", "", _printed(build(), colour=True))
    assert plain == _printed(build())


def test_a_run_without_results_prints() -> None:
    assert "not enough data" in _printed(build(Setting(outcome=lambda *_: ("failed", "broken"))))


def test_the_end_of_a_run_fits_on_two_screens_and_names_every_cell() -> None:
    lines = _printed(build(TEN), width=80, whole=False).splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "Redis GET (inside, loopback) at 1, 10 and 50 connections" in text
    assert "Host CPU" not in text
    assert "Memory (USS)" not in text
    assert "host's CPU time for each unit of work are on the page" in text


def test_all_rows_are_printed_where_they_are_asked_for() -> None:
    printed = _printed(build(TEN))
    assert printed.count("Host CPU for each") == 7
    assert "on the page" not in printed


@pytest.mark.parametrize("width", [60, 66, 80])
def test_nothing_of_a_number_is_cut_off(width: int) -> None:
    words = set(_printed(build(TEN), width=width).replace("(", " ").replace(")", " ").split())
    for table in tables(analyse(build(TEN), METRICS, PRIMARY)):
        for cell in (cell for row in table.rows for cell in row.cells):
            said = f"{cell.value} {cell.interval} {cell.effect.partition(' ')[0]} {cell.effect_interval}"
            assert set(said.replace("not there", "").split()) <= words


SIX = replace(
    TEN, arms=("native", "docker", "kvm", "gvisor", "crun", "cold"),
    names=dict.fromkeys(("gvisor", "crun", "cold"), "docker"),
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100])
def test_many_arms_are_printed_as_several_tables_with_the_baseline_in_each(width: int) -> None:
    lines = _printed(build(SIX), width=width).splitlines()
    assert max(map(len, lines)) <= width
    parts = [line for line in lines if line.startswith("Boot time (")]
    assert parts == [f"Boot time ({place}/{len(parts)})" for place in range(1, len(parts) + 1)]
    assert len(parts) > 1
    heads = [" ".join(lines[lines.index(part) + 1 :][:3]).split() for part in parts]
    assert all("baseline" in head for head in heads)
    for arm in ("native", "kvm", "gvisor", "crun", "cold"):
        assert sum(head.count(arm) for head in heads) == 1


def test_few_arms_are_one_table() -> None:
    assert "Boot time (1/" not in _printed(build(TEN), width=80)


def test_what_did_not_fit_is_said_above_its_table() -> None:
    notice = Notice(code="out-of-time", subject="run", message="3 blocks", hint="More --max-time, or fewer rounds.")
    run = build(replace(TEN, throughput_done=7, notices=(notice,)))
    short = " ".join(_printed(run, width=80, whole=False).split())
    said = (
        "Throughput Not all of it fitted into the time: 7 of 10 planned blocks of throughput measured. More --max-time"
    )
    assert said in short
    assert "3 blocks" not in short
    assert "run: 3 blocks" in _printed(run)


def test_a_cell_with_fewer_blocks_than_its_table_says_so() -> None:
    run = build(TEN)
    last = max(trial.block for trial in run.trials)
    trials = [trial for trial in run.trials if not (trial.block == last and trial.cell.workload == "redis")]
    assert _printed(msgspec.structs.replace(run, trials=trials)).count("9\xa0of\xa010\xa0blocks") == 9


def test_hostile_parameters_do_nothing() -> None:
    printed = _printed(hostile_rates())
    assert "\x1b" not in printed
    assert "\u202e" not in printed
