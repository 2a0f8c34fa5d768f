"""What the page says of why its numbers can be believed."""

from __future__ import annotations

import msgspec
from runs import METRICS, PRIMARY, Setting, build
from tare_bench import stats
from tare_bench.analysis import analyse
from tare_bench.model import Stop
from tare_bench.reports.html import render_html
from tare_bench.reports.view import view
from tare_bench.reports.view_trust import noise_words, trust, twin_words
from test_doubts import twice, with_clock


def test_the_twins_stand_with_their_interval_their_floor_and_what_they_are_called() -> None:
    found = {row.metric: row for row in trust(twice()).twins}
    row = found["Boot to ready"]
    assert row.arm == "docker"
    assert row.effect.startswith(("1.0", "0.9"))
    assert "to" in row.effect
    assert row.floor.endswith("%")
    assert row.verdict in ("equivalent", "undecided")
    assert not row.alarm
    assert "A/A floor" in twin_words(twice())


def test_twins_that_differ_are_an_alarm_on_the_page_and_in_its_badges() -> None:
    analysis = twice(twin=1.5)
    assert next(row for row in trust(analysis).twins if row.metric == "Boot to ready").alarm
    badge = next(each for each in view(analysis).trust if each.text.startswith("A/A"))
    assert (badge.kind, badge.text) == ("alarm", "A/A: docker differs from itself")
    assert "▲ slower/larger" in render_html(analysis)


def test_a_run_without_twins_says_so() -> None:
    analysis = analyse(build(), METRICS, PRIMARY)
    assert twin_words(analysis) == ""
    assert trust(analysis).no_twins == "No arm was measured twice in this run."
    assert "No arm was measured twice" in render_html(analysis)


def test_why_each_pair_stopped_is_said_with_what_it_would_take() -> None:
    stops = [
        Stop(workload="boot", params="{}", arm="kvm", metric="boot.ready", pairs=12, why="different"),
        Stop(workload="memory", params="{}", arm="native", metric="memory.pss", pairs=10, why="out of time", needed=31),
    ]
    analysis = analyse(msgspec.structs.replace(build(), stops=stops), METRICS, PRIMARY)
    found = [(row.cell, row.arm, row.pairs, row.why) for row in trust(analysis).stops]
    assert found == [
        ("Boot to ready", "kvm", "12", "decided: different"),
        ("Memory (PSS)", "native", "10", "the time was over; decided at the end"),
    ]
    assert "decided: different" in render_html(analysis)
    assert "fixed before the first trial" in trust(analyse(build(), METRICS, PRIMARY)).no_stops


def test_what_was_too_little_to_end_early_may_be_decided_at_the_end() -> None:
    stop = Stop(
        workload="boot", params="{}", arm="kvm", metric="boot.ready", pairs=10, why="beyond the budget", needed=13
    )
    analysis = analyse(msgspec.structs.replace(build(), stops=[stop]), METRICS, PRIMARY)
    (row,) = trust(analysis).stops
    assert row.why == "ending it early would have taken about 13 pairs, more than the budget has; decided at the end"


def test_clocks_and_floors_stand_beside_the_numbers() -> None:
    run = with_clock(build(Setting(arms=("docker", "kvm"), accelerators={"kvm": "kvm"})), "kvm", 1.02)
    analysis = analyse(run, METRICS, PRIMARY)
    assert trust(analysis).clocks == (
        ("kvm", "1.0200 ± 0.0010 s for each of the host's: more than 1 % off, rates by it are not compared"),
    )
    notes = [note for table in view(analysis).tables for note in table.notes if note.startswith("Measurement floor")]
    assert notes
    assert all("docker" in note and "kvm" in note for note in notes)


def test_noise_is_the_robust_spread_of_the_baseline_s_own_values() -> None:
    """Distances from the median of 100: 0, 1, 1, 2 and 30; 1.4826 % by the middle one, whatever the straggler did."""
    analysis = analyse(build(Setting(rounds=5, arms=("docker",), workloads=("boot",))), METRICS, PRIMARY)
    cell = next(cell for cell in analysis.cells if cell.row.metric == "boot.ready")
    points = msgspec.structs.replace(cell.points, values=(99.0, 100.0, 101.0, 98.0, 130.0))
    cell = msgspec.structs.replace(cell, points=points, median=stats.Estimate(100.0, None, None, 5))
    words = noise_words(msgspec.structs.replace(analysis, cells=[cell]))
    assert words.replace("\u202f", " ") == "noise 1.48 % of docker's Boot to ready"


def test_there_is_no_noise_of_two_values() -> None:
    assert noise_words(analyse(build(Setting(rounds=2, workloads=("boot",))), METRICS, PRIMARY)) == ""
