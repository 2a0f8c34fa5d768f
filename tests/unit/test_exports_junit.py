"""The gate: what fails, what is skipped, what is an error."""

from __future__ import annotations

from dataclasses import replace

import pytest
from consumers import read_junit
from lxml import etree
from runs import Setting, build
from tare_bench.analysis import Analysis
from tare_bench.compare import Verdict
from tare_bench.reports.exports import render
from test_exports import TEN, analysis, demo


def cases(found: Analysis) -> dict[tuple[str, str], etree._Element]:
    root = read_junit(render("junit", [found]))
    return {(each.get("classname", ""), each.get("name", "")): each for each in root.iter("testcase")}


EXPECTED: dict[Verdict, str] = {
    "faster/smaller": "",
    "slower/larger": "failure",
    "equivalent": "",
    "undecided": "skipped",
    "not compared: emulated": "skipped",
    "not enough data": "error",
}


@pytest.mark.parametrize("run", ["demo", "ten", "broken"])
def test_each_primary_comparison_is_a_test_case_that_ends_as_its_verdict(run: str) -> None:
    broken = replace(TEN, outcome=lambda arm, workload, block: ("failed", "it broke") if arm == "kvm" else None)
    found = {"demo": demo, "ten": lambda: analysis(build(TEN)), "broken": lambda: analysis(build(broken))}[run]()
    primary = [item for item in found.comparisons if item.primary and item.verdict]
    ends = [next((each.tag for each in case if each.tag != "system-out"), "") for case in cases(found).values()]
    assert ends == [EXPECTED[item.verdict] for item in primary]
    root = read_junit(render("junit", [found]))
    for name, tag in (("failures", "failure"), ("errors", "error")):
        assert root.get(name) == root[0].get(name) == str(ends.count(tag))
    assert root[0].get("skipped") == str(ends.count("skipped"))
    assert root.get("tests") == str(len(primary))


def test_a_failure_says_by_how_much_and_from_what() -> None:
    [failure] = cases(demo())["boot.ready", "kvm (EMULATED) against docker"].iter("failure")
    assert failure.get("message") == "slower: 21.7× (19.6 to 25.3)"
    assert failure.get("type") == "slower/larger"
    assert "docker: 81.4 ms (75.5 to 88.2)" in (failure.text or "")


def test_an_error_says_what_failed() -> None:
    broken = replace(TEN, outcome=lambda arm, workload, block: ("failed", "it broke") if arm == "kvm" else None)
    [error] = cases(analysis(build(broken)))["boot.ready", "kvm (EMULATED) against docker"].iter("error")
    assert "it broke" in (error.text or "")


def test_exploratory_comparisons_are_not_in_the_gate() -> None:
    root = read_junit(render("junit", [analysis(build(Setting(arms=("docker",), rounds=2)))]))
    assert root.get("tests") == "0"
    assert "no other arm was run" in (root[0].findtext("system-out") or "")
