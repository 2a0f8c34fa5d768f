"""What holds for every export: its consumer reads it, says what was emulated, and is not misled by hostile texts."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import as_file, files

import msgspec
import pytest
from consumers import CONTROL, READ
from runs import HOSTILE, MALICE, METRICS, PRIMARY, Setting, build, hostile, hostile_rates, troubled
from tare_bench import registry, store
from tare_bench.analysis import Analysis, analyse
from tare_bench.model import Run
from tare_bench.reports.exports import FORMATS, render
from tare_bench.reports.exports.series import LONGEST, series

TEN = Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk", "isolation"))
SIMULATED = Setting(accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated"), throughput=10, rounds=10)
RUNS = {
    "usual": lambda: build(TEN),
    "troubled": troubled,
    "alone": lambda: build(Setting(arms=("docker",), rounds=2)),
    "broken": lambda: build(Setting(outcome=lambda *_: ("failed", "nothing works"))),
    "timed out": lambda: build(Setting(outcome=lambda arm, *_: ("timeout", "late") if arm == "kvm" else None)),
    "nothing": lambda: msgspec.structs.replace(build(), trials=[]),
    "hostile throughput": hostile_rates,
}
ATTACKS = {name: attack for name, attack in MALICE.items() if name != "long line"}
DATA = [name for name in FORMATS if name not in ("html", "text", "markdown")]


def analysis(run: Run) -> Analysis:
    return analyse(run, METRICS, PRIMARY)


@cache
def demo() -> Analysis:
    """The run that ships with the package."""
    with as_file(files("tare_bench").joinpath("demo")) as folder:
        run = store.load(folder)
    planned = run.manifest.plan.workloads
    return analyse(run, registry.metrics(planned), registry.primaries(planned))


def test_every_format_has_a_consumer_here() -> None:
    assert set(READ) == set(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_its_consumer_reads_the_demo_run(form: str) -> None:
    READ[form](render(form, [demo()]))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "html"])
@pytest.mark.parametrize("run", RUNS)
def test_its_consumer_reads_any_run(form: str, run: str) -> None:
    READ[form](render(form, [analysis(RUNS[run]())]))


@pytest.mark.parametrize("form", FORMATS)
def test_equal_runs_give_equal_bytes(form: str) -> None:
    assert render(form, [analysis(build(TEN))]) == render(form, [analysis(build(TEN))])


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_emulated_is_said_in_it(form: str) -> None:
    assert "EMULATED" in render(form, [analysis(build(TEN))])
    assert "EMULATED" not in render(form, [analysis(build(Setting(arms=("docker", "native"), accelerators={})))])


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_simulated_is_said_in_it(form: str) -> None:
    assert "SIMULATED" in render(form, [analysis(build(SIMULATED))])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_texts_stay_texts(form: str, attack: str) -> None:
    text = render(form, [analysis(hostile(MALICE[attack]))])
    READ[form](text)
    assert not CONTROL.search(text)


@pytest.mark.parametrize("form", FORMATS)
def test_a_line_of_ten_megabytes_is_cut(form: str) -> None:
    line = MALICE["long line"]

    def outcome(arm: str, workload: str, block: int) -> tuple[str, str] | None:
        return ("failed", line) if block == 2 else None

    run = msgspec.structs.replace(build(Setting(outcome=outcome)), notices=hostile(line).notices)  # type: ignore[arg-type]
    text = render(form, [analysis(run)])
    READ[form](text)
    assert len(text) < 2 << 20


def test_no_two_cells_have_the_same_name() -> None:
    twice = {"a\x01": "docker", "a\x02": "docker", "docker": "docker"}
    found = series(analysis(build(Setting(arms=("docker", "a\x01", "a\x02"), names=twice, accelerators={}))))
    assert len({each.name for each in found}) == len(found)
    assert any(each.name.endswith(" #2") for each in found)


def test_names_are_short_and_on_one_line() -> None:
    for attack in ("x\ny" * 1000, HOSTILE):
        for each in series(analysis(hostile(attack))):
            assert len(each.name) < 3 * LONGEST
            assert each.name.isprintable()


def test_a_median_beyond_the_deadline_is_in_no_format_that_has_no_infinity() -> None:
    found = analysis(RUNS["timed out"]())
    late = [each for each in series(found) if math.isinf(each.value)]
    assert late
    for form in ("bmf", "github-benchmark-smaller", "pytest-benchmark", "hyperfine"):
        assert not any(each.name in render(form, [found]) for each in late)
    assert "inf" in render("csv-cells", [found])
    assert "+Inf" in render("openmetrics", [found])
    assert "inf" in render("otava", [found]).splitlines()[1]
