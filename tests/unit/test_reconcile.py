"""The memory sheet adds up, and says what it does not explain."""

from __future__ import annotations

import pytest
from sheets import MIB, docker, kvm, ramp, run, trial
from tare_bench import reconcile
from tare_bench.reconcile import Line, Sheet


def sheet(arm: str, *trials: object) -> Sheet:
    [found] = [each for each in reconcile.sheets(run(trials or [*docker(), *kvm()])) if each.arm == arm]  # type: ignore[arg-type]
    return found


def lines(found: Sheet) -> dict[str, Line]:
    return {line.key: line for line in found.lines}


def test_the_rows_of_each_of_many_add_up_to_the_slope() -> None:
    found = sheet("docker")
    rows = lines(found)
    assert found.slope is not None
    assert found.slope.value == rows["taken"].each == pytest.approx(10.5 * MIB)
    terms = [line.each or 0.0 for line in found.lines if line.kind == "term" or line.key == "rest"]
    assert sum(terms) == pytest.approx(rows["taken"].each)
    expected = {
        "payload": 1.5, "shim": 4, "pss": 5.5, "files": -1, "tmpfs": 0.5, "kernel": 2, "kernel-host": 1, "engine": 0.75,
        "tare": 0.25, "explained": 9, "rest": 1.5,
    }  # fmt: skip
    assert {key: (rows[key].each or 0.0) / MIB for key in expected} == pytest.approx(expected)
    assert found.unexplained == pytest.approx(1.5 / 10.5)


def test_what_other_programs_took_is_a_row_and_no_instances() -> None:
    noise = (3.0, -2.0, 1.0, -4.0, 2.0, 4.0)
    found = sheet("docker", *docker((10.5,) * 6, noise))
    assert found.slope is not None
    assert found.steadied is not None
    assert (found.slope.high or 0.0) - (found.slope.low or 0.0) > 6 * MIB
    assert (found.steadied.low, found.steadied.high) == pytest.approx((10.5 * MIB, 10.5 * MIB))
    assert lines(found)["others"].each == pytest.approx(1.5 * MIB)
    assert lines(found)["rest"].each == pytest.approx(1.5 * MIB)
    assert lines(sheet("docker"))["others"].each == pytest.approx(0, abs=1)


def test_the_interval_is_that_of_the_ramps_slopes() -> None:
    found = sheet("docker").slope
    assert found is not None
    assert found.n == 6
    assert found.low is not None
    assert 10.0 * MIB <= found.low < found.value < (found.high or 0.0) <= 11.0 * MIB


def test_one_alone_is_its_parts_with_uss_beside() -> None:
    rows = lines(sheet("docker"))
    assert (rows["payload"].alone, rows["shim"].alone, rows["pss"].alone) == (2 * MIB, 12 * MIB, 14 * MIB)
    assert (rows["payload"].private, rows["pss"].private) == (MIB, 4 * MIB)
    assert rows["engine"].alone is None


def test_a_guest_is_its_memory_the_translated_code_and_the_vmm_itself() -> None:
    found = sheet("kvm")
    rows = lines(found)
    assert found.guest
    assert {key: (rows[key].alone or 0.0) / MIB for key in ("guest", "translated", "vmm", "pss")} == pytest.approx(
        {"guest": 126, "translated": 31, "vmm": 53, "pss": 210}
    )
    assert rows["pss"].private == 200 * MIB
    assert "payload" not in rows
    assert found.slope is None
    assert found.unexplained is None
    assert "rest" not in rows


@pytest.mark.parametrize(
    ("slopes", "words", "share"),
    [
        ((20.0,), "no line of /proc/meminfo", 11 / 20),
        ((9.4,), "within", 0.4 / 9.4),
        ((5.0,), "more was", -4 / 5),
        ((9.2,), "less than can be told", 0),
    ],
)
def test_what_stays_unexplained_says_why(slopes: tuple[float, ...], words: str, share: float) -> None:
    found = sheet("docker", *docker(slopes))
    assert words in lines(found)["rest"].why
    assert found.unexplained == pytest.approx(share)


def test_what_others_show_stands_beside_with_its_difference() -> None:
    beside = {each.title: each for each in sheet("docker").beside}
    assert beside["docker stats"].value == 5 * MIB
    assert beside["docker stats"].difference == -9 * MIB
    assert "shim" in beside["docker stats"].why
    assert beside["Cgroup: page cache"].value == 2.5 * MIB, "without tmpfs, which is a row of its own"
    assert beside["PSS after a load, idle again"].difference == MIB
    guest = {each.title: each.value for each in sheet("kvm").beside}
    assert guest["Guest: MemTotal"] == 470 * MIB
    assert guest["dommemstat rss"] == 220 * MIB
    assert "Cgroup: peak" not in guest, "not there is no zero"


def test_trials_that_are_not_ok_or_not_measured_count_for_nothing() -> None:
    odd = [
        trial(30, "docker", "memory", {"pss": 999 * MIB}, {"parts": {"payload": {"pss": 999 * MIB}}}, role="warmup"),
        trial(31, "docker", "memory-ramp", {"available": 999 * MIB}, {}, status="failed"),
    ]
    assert lines(sheet("docker", *docker(), *odd)) == lines(sheet("docker"))


def test_facts_that_are_not_what_they_should_be_are_left_out() -> None:
    odd = trial(30, "docker", "memory", {}, {"parts": "[", "engine says": "nothing", "memory settings": "[1]"})
    assert lines(sheet("docker", *docker(), odd)) == lines(sheet("docker"))
    assert reconcile.sheets(run([odd])) == []


def test_a_line_through_one_number_of_instances_has_no_slope() -> None:
    assert reconcile.slope([(1, 2.0), (1, 3.0), (2, None)]) is None
    points = [(each["instances"], each["available"]) for each in ramp(5.0)]
    assert reconcile.slope(points) == pytest.approx(-5.0)


def test_what_was_read_late_and_what_is_in_huge_pages_is_said() -> None:
    parts = {"vmm": {"pss": 9 * MIB, "huge": 6 * MIB, "swap": 0}, "other": {"pss": MIB, "huge": 2 * MIB}}
    aged = [
        trial(n, "kvm", "memory", {"pss": MIB}, {"parts": parts, "age": f"{age} s"})
        for n, age in enumerate((1.0, 9.5, 10.2))
    ]
    settings = sheet("kvm", *aged).settings
    assert settings["age when read"] == "1.000 to 10.200 s"
    assert settings["read late"] == "2 of 3: older than 1.1 s"
    assert settings["in transparent huge pages"] == "8.0 MiB of one alone"
    assert settings["swapped out"] == "0.0 MiB of one alone"
    assert "read late" not in sheet("kvm", *aged[:1]).settings
