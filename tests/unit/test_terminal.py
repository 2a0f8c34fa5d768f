"""The report in a terminal."""

from __future__ import annotations

import io

from rich.console import Console
from runs import METRICS, PRIMARY, Setting, build, hostile, troubled
from tare_bench.analysis import analyse
from tare_bench.model import Run
from tare_bench.reports.terminal import render_terminal


def _printed(run: Run, *, width: int = 160, colour: bool = False) -> str:
    target = io.StringIO()
    console = Console(
        file=target, width=width, force_terminal=colour, color_system="standard" if colour else None, _environ={}
    )
    render_terminal(analyse(run, METRICS, PRIMARY), console)
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
