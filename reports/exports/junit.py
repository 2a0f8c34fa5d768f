"""JUnit XML, for a gate: one test case for each primary comparison.

Slower or larger is a failure. What is undecided, or not compared since it was emulated, is skipped. Without enough data
(which is where trials failed) it is an error: nothing was shown. Exploratory comparisons are not in it.
"""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree as ET

from tare_bench.analysis import Analysis
from tare_bench.compare import Comparison, Verdict

from ..view import headline
from ..view_cells import effect_text
from ..view_format import clean, measured, one_line
from ..view_words import EMULATED, SIMULATED, arm_name, verdict_word
from .series import row_name

_OUTCOMES: dict[Verdict, str] = {
    "slower/larger": "failure",
    "undecided": "skipped",
    "not compared: emulated": "skipped",
    "not enough data": "error",
}
"""What a test case holds; nothing where it passes."""

_FORBIDDEN = re.compile("[\ufffe\uffff]")
"""Of what is left of a text, the characters that XML 1.0 cannot hold."""


def render(analysis: Analysis) -> str:
    """The document, with the encoding UTF-8."""
    items = [item for item in analysis.comparisons if item.primary and item.verdict]
    ends = Counter(_OUTCOMES.get(item.verdict, "passed") for item in items)
    counts = {"tests": str(len(items)), "failures": str(ends["failure"]), "errors": str(ends["error"])}
    root = ET.Element("testsuites", {"name": "tare", **counts})
    manifest = analysis.run.manifest
    head = {"name": _line(f"tare {_labels(analysis)} {manifest.run}"), "timestamp": _line(manifest.started_at)}
    suite = ET.SubElement(root, "testsuite", head | counts | {"skipped": str(ends["skipped"])})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(analysis).items():
        ET.SubElement(properties, "property", {"name": name, "value": _line(value)})
    for item in items:
        _case(analysis, suite, item)
    said = ET.SubElement(suite, "system-out")
    said.text = _text("\n".join(headline(analysis)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(analysis: Analysis, suite: ET.Element, item: Comparison) -> None:
    arm, baseline = arm_name(analysis, item.arm), arm_name(analysis, item.baseline)
    case = ET.SubElement(
        suite, "testcase", {"classname": _line(row_name(item.row)), "name": _line(f"{arm} against {baseline}")}
    )
    metric = analysis.metrics[item.row.metric]
    word, (effect, interval) = verdict_word(metric, item), effect_text(metric, item)
    what = " ".join(filter(None, (f"{word}:", effect, f"({interval})" if interval else "", item.reason)))
    if kind := _OUTCOMES.get(item.verdict):
        found = ET.SubElement(case, kind, {"message": _line(what), "type": item.verdict})
        if kind != "skipped":
            found.text = _text(_evidence(analysis, item))
    said = ET.SubElement(case, "system-out")
    said.text = _text(f"{metric.title}: {what}\n{_evidence(analysis, item)}")


def _evidence(analysis: Analysis, item: Comparison) -> str:
    lines = [f"{item.pairs} pairs, {item.lost} lost; interval at {100 * item.level:.3g} %"]
    for arm in (item.baseline, item.arm):
        cell = analysis.cell(item.row, arm)
        if cell is None:
            continue
        value = measured(cell.median, cell.unit) if cell.median else "no value"
        trouble = f"; {cell.failed} failed, {cell.timed_out} timed out" if cell.failed or cell.timed_out else ""
        lines.append(f"{arm_name(analysis, arm)}: {value}{trouble}")
        lines += [f"  {one_line(reason)}" for reason in cell.reasons[:3]]
    return "\n".join(lines)


def _labels(analysis: Analysis) -> str:
    return " ".join([SIMULATED] * analysis.run.simulated + [EMULATED] * bool(analysis.run.emulated))


def _properties(analysis: Analysis) -> dict[str, str]:
    run, manifest = analysis.run, analysis.run.manifest
    return {
        "run": manifest.run,
        "tare_version": manifest.tare_version,
        "baseline": manifest.plan.baseline,
        "finished": str(run.finished).lower(),
        "simulated": str(run.simulated).lower(),
        "emulated": ", ".join(run.emulated),
        "command": manifest.command,
    }


def _line(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", one_line(text))


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", clean(text))
