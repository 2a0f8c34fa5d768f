"""The memory sheet on the page and in the terminal."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console
from runs import HOSTILE
from sheets import analysed, docker, kvm, run, trial
from tare_bench.reports.exports.json_text import summary
from tare_bench.reports.html import render_html
from tare_bench.reports.terminal import render_terminal
from tare_bench.reports.view_memory import memory, mib


def test_a_sheet_says_what_one_more_costs_and_what_is_unexplained() -> None:
    found, guest = memory(analysed(run([*docker(), *kvm()])))
    assert "limit 512 MiB." in found.lede
    assert "One more idle instance takes 10.5 MiB (10" in found.lede
    assert "by 6 ramps" in found.lede
    assert "14.3\u202f% of it is explained by no row." in found.lede
    assert "whole size 512 MiB, its kernel included" in guest.lede
    assert "was not measured: workload memory-ramp" in guest.lede


def test_a_rest_that_cannot_be_told_is_no_share() -> None:
    [found] = memory(analysed(run(docker((9.1,)))))
    assert "What no row explains is less than can be told." in found.lede
    [found] = memory(analysed(run(docker((5.0,)))))
    assert "−80\u202f% of it" in found.lede


def test_an_emulated_guests_sheet_is_labelled() -> None:
    emulated = trial(40, "kvm", "memory-ramp", {"available": 2e8}, {"guest memory": "536870912"})
    [guest] = memory(analysed(run([*kvm(), emulated])))
    assert guest.label == "EMULATED"
    assert "nothing about a guest that runs on KVM" in guest.lede


def test_a_column_adds_up_as_it_is_read() -> None:
    [found] = memory(analysed(run(docker())))
    text = {row.title: row.each for row in found.rows}
    terms = [float(row.each.replace("−", "-")) for row in found.rows if row.kind == "term" and row.each != "–"]
    assert sum(terms) == pytest.approx(float(text["Explained"]), abs=0.05)
    assert text["Less: mapped files"] == "−1.00"
    assert next(row.alone for row in found.rows if row.title == "Engine's daemons") == "–"
    assert mib(None) == "–"


def test_the_page_has_the_sheet_its_chart_and_the_figures_beside() -> None:
    page = render_html(analysed(run([*docker(), *kvm()])))
    assert 'id="memory"' in page
    assert page.count("<polyline") == 6
    for words in ("Unexplained rest", "docker stats", "dommemstat rss", "Emulator&#39;s translation cache"):
        assert words in page
    assert '<a href="#memory">' in page


def test_a_run_without_memory_has_no_sheet() -> None:
    page = render_html(analysed(run([])))
    assert 'id="memory"' not in page
    assert '<a href="#memory">' not in page


def test_the_document_for_programs_has_the_sheets_in_bytes() -> None:
    document = msgspec.json.decode(msgspec.json.encode(summary(analysed(run(docker())))))
    [found] = document["memory"]
    assert found["arm"] == "docker"
    assert {line["key"]: line["each"] for line in found["lines"]}["rest"] == pytest.approx(1.5 * 2**20)


def test_ramps_are_called_crowds_and_are_no_blocks_of_boot() -> None:
    page = render_html(analysed(run(docker())))
    assert "6 of crowds" in page
    fewer = run(docker(), rounds=3)
    assert "1 of 3 planned blocks of boot measured" in render_html(analysed(fewer))


def test_hostile_facts_do_nothing() -> None:
    facts = {"parts": {"payload": {"pss": 1, "uss": 1}}, "memory settings": {HOSTILE: HOSTILE}, "age": HOSTILE}
    page = render_html(analysed(run([trial(1, "docker", "memory", {"pss": 1}, facts)])))
    assert page.count("<script>") == 1  # the page's own


def test_the_terminal_prints_the_sheet_with_the_whole_report_only() -> None:
    for whole in (True, False):
        console = Console(file=io.StringIO(), width=160)
        render_terminal(analysed(run(docker())), console, whole=whole)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("Unexplained rest" in text) == whole
