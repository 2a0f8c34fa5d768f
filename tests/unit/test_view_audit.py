"""The fairness audit on the page and in the terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
from audits import GOT, audited, hostile_audit, reading
from rich.console import Console
from runs import HOSTILE, METRICS, PRIMARY, build
from tare_bench import store
from tare_bench.analysis import Analysis, analyse
from tare_bench.model import Run
from tare_bench.reports.exports.json_text import summary
from tare_bench.reports.html import render_html
from tare_bench.reports.terminal import render_terminal
from tare_bench.reports.view import view
from tare_bench.reports.view_audit import NO_AUDIT, audit_line, audit_view


def analysed(run: Run | None = None) -> Analysis:
    return analyse(run or audited(reading(1, "native"), reading(2, "docker"), reading(3, "kvm")), METRICS, PRIMARY)


def printed(analysis: Analysis) -> str:
    console = Console(file=io.StringIO(), width=400)
    render_terminal(analysis, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_comparison_has_its_grade_and_says_why() -> None:
    found = audit_view(analysed())
    assert [(each.arm, each.baseline, each.grade, each.alarm) for each in found.grades] == [
        ("native", "docker", "A", False),
        ("kvm (EMULATED)", "docker", "C", True),
    ]
    assert "(Accelerator)" in found.grades[1].meaning
    emulated = found.grades[1].rows[0]
    assert emulated.alarm
    assert "EMULATED" in emulated.why
    assert [row.cause for row in found.grades[0].rows] == ["the technology"] * len(found.grades[0].rows)
    assert found.missing == ""


def test_what_each_arm_got_is_there_whole_with_its_units() -> None:
    got = {what: values for what, _, values in audit_view(analysed()).got}
    assert got["Memory"] == ("512 MiB",) * 3
    assert got["Kernel"] == ("6.1.0-28-amd64",) * 3
    assert len(got) == len(audit_view(analysed()).got)


def test_of_two_lists_only_what_differs_is_shown() -> None:
    kvm = GOT["kvm"] | {"inside.environment": "HOME=/\nPATH=/sbin", "inside.payload": "sh: bbbb"}
    found = audit_view(analysed(audited(reading(1, "docker"), reading(2, "kvm", facts=kvm)))).grades[1]
    rows = {row.what: row for row in found.rows}
    assert (rows["Environment"].baseline, rows["Environment"].arm) == ("PATH=/bin", "PATH=/sbin")
    assert (rows["Programs"].baseline, rows["Programs"].arm) == ("fio: aaaa", "nothing more")


def test_what_was_not_read_is_said() -> None:
    found = audit_view(analysed(audited(reading(1, "docker"), reading(2, "kvm")))).grades[0]
    assert found.grade == "C"
    assert {row.arm for row in found.rows} == {"not read"}
    assert "20 more" in found.meaning or "more)" in found.meaning


def test_a_run_without_an_audit_says_so_and_has_no_grade() -> None:
    found = analysed(build())
    assert audit_view(found).missing == NO_AUDIT
    assert audit_line(found) == ""
    assert not [badge for badge in view(found).trust if "fairness" in badge.text]
    assert NO_AUDIT in render_html(found)
    assert summary(found)["fairness"] is None


def test_a_stored_run_from_before_there_was_one_still_loads() -> None:
    found = analysed(store.load(Path(__file__).parents[1] / "data/runs/before-throughput"))
    assert found.fairness is None
    assert audit_view(found).missing == NO_AUDIT


def test_the_header_has_a_badge_for_each_grade() -> None:
    badges = {badge.text: badge.kind for badge in view(analysed()).trust if "fairness" in badge.text}
    assert badges == {"fairness A: native": "plain", "fairness C: kvm": "alarm"}


def test_the_terminal_has_one_line_with_the_gravest_first() -> None:
    [line] = [line for line in printed(analysed()).splitlines() if line.startswith("Fairness against")]
    assert line.strip() == "Fairness against docker: C kvm (EMULATED) (Accelerator); A native."


def test_the_document_has_all_of_it() -> None:
    document = msgspec.json.decode(msgspec.json.encode(summary(analysed())))["fairness"]
    assert [each["grade"] for each in document["audits"]] == ["A", "C"]
    assert document["audits"][1]["differences"][0]["cause"] == "other"
    assert {"what", "read", "values"} == set(document["readings"][0])


def test_hostile_readings_do_nothing() -> None:
    page, text = render_html(analysed(hostile_audit())), printed(analysed(hostile_audit()))
    section = page.partition('<section id="fairness"')[2].partition("</section>")[0]
    assert "&lt;script&gt;" in section
    for forbidden in ("<script", "\x1b", "\u2028", "\u202e"):
        assert forbidden not in section
        assert forbidden == "<script" or forbidden not in text
    assert HOSTILE not in page
    assert re.search(r"<h3 id=\"fairness-1\">native, compared with docker: C</h3>", section)
