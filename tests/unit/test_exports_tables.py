"""Markdown and CSV: what a person or a spreadsheet sees."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import msgspec
import pandas as pd
import pytest
from consumers import READ, read_markdown
from markdown_it import MarkdownIt
from runs import HOSTILE, MALICE, build, hostile, troubled
from tare_bench.model import Sample
from tare_bench.reports.exports import render
from tare_bench.reports.exports.csv_text import CELLS, SAMPLES
from tare_bench.reports.exports.markdown import escaped
from tare_bench.reports.view_format import one_line
from test_exports import TEN, analysis, demo


def shown(text: str) -> str:
    """What a reader sees of a text."""
    return " ".join(
        child.content for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
        for child in token.children or () if child.type in ("text", "text_special")
    )  # fmt: skip


def test_the_answer_comes_first_then_the_counts_then_the_tables() -> None:
    lines = [line for line in render("markdown", [demo()]).splitlines() if line]
    assert lines[0].startswith("**kvm (EMULATED) takes 21.7 times as long to boot (19.6 to 25.3)")
    assert lines[0].endswith("**")
    counts = next(place for place, line in enumerate(lines) if line.startswith("◆ 8 slower/larger · ● 2 faster"))
    assert counts < lines.index("### Boot time")
    assert "| Metric | docker (baseline) | native | kvm (EMULATED) |" in lines


def test_what_failed_and_the_command_that_repeats_it_are_in_it() -> None:
    text = render("markdown", [analysis(troubled())])
    assert "docker: no space left on device" in text
    assert "```sh\ntare run --driver native,docker,kvm --seed 7\n```" in text


def test_a_simulated_run_says_so_before_anything_else() -> None:
    simulated = replace(TEN, accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated"))
    assert render("markdown", [analysis(build(simulated))]).startswith("**SIMULATED: nothing was measured**")


@pytest.mark.parametrize("attack", [name for name in MALICE if name != "long line"])
@pytest.mark.parametrize("around", ["{}", "- {}\n- x", "| a |\n| --- |\n| {} |", "**{}**"])
def test_an_escaped_text_is_read_as_it_was(attack: str, around: str) -> None:
    read_markdown(around.format(escaped(MALICE[attack])))
    assert one_line(MALICE[attack]) in shown(around.format(escaped(MALICE[attack]))).replace("\\ ", "\\")


@pytest.mark.parametrize("text", ["- x", "+ x", "1. x", "12) x", "# x", "> x", "---", "===", "~~~", "```x", "* * *"])
def test_no_text_begins_a_block(text: str) -> None:
    kinds = [token.type for token in MarkdownIt().parse(f"{escaped(text)}\n\nbelow\n{escaped(text)}")]
    assert set(kinds) == {"paragraph_open", "inline", "paragraph_close"}


def test_a_hostile_name_is_shown() -> None:
    assert one_line(HOSTILE) in shown(render("markdown", [analysis(hostile())]))


@pytest.mark.parametrize(("form", "types"), [("csv", SAMPLES), ("csv-cells", CELLS)])
def test_csv_comes_back_from_pandas_as_it_was(form: str, types: dict[str, str]) -> None:
    read = READ[form](render(form, [demo()]))
    assert list(read.columns) == list(types)
    assert {name: str(kind) for name, kind in read.dtypes.items()} == {
        name: str(pd.Series([], dtype=kind).dtype) for name, kind in types.items()
    }
    assert read.to_csv(index=False, lineterminator="\n") == render(form, [demo()])


def test_the_samples_are_those_of_the_run() -> None:
    frame = demo().run.frame()
    read = READ["csv"](render("csv", [demo()]))
    pd.testing.assert_frame_equal(read.drop(columns="label"), frame, check_dtype=False)
    assert set(read[read.arm == "kvm"].label) == {"EMULATED"}


@pytest.mark.parametrize("form", ["csv", "csv-cells", "otava"])
def test_no_field_is_a_formula(form: str) -> None:
    run = hostile(MALICE["formula"])
    trials = [
        msgspec.structs.replace(
            trial, samples=[*trial.samples, Sample(metric=f"{MALICE['formula']}.x", value=1.0, unit="s")]
        )
        for trial in run.trials
    ]
    text = render(form, [analysis(msgspec.structs.replace(run, trials=trials))])
    fields = [field for row in csv.reader(io.StringIO(text)) for field in row]
    assert any("calc" in field for field in fields)
    assert not [field for field in fields if field.startswith(("=", "@", "+", "\t"))]
    assert all(field == "-inf" or field[1:2].isdigit() for field in fields if field.startswith("-"))
