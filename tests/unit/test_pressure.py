"""What the host's counters say of a trial."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from runs import build
from tare_bench import cgroups, pressure
from tare_bench.clock import MonotonicClock
from tare_bench.drivers.fake import FakeClock
from tare_bench.model import Trial

FILES = {
    "proc/stat": "cpu  100 20 30 5000 7 3 2 50 0 0\ncpu0 1 2 3 4 5 6 7 8\n",
    "proc/pressure/cpu": "some avg10=1.00 avg60=0.00 avg300=0.00 total=1500000\n",
    "proc/pressure/memory": "some avg10=0.00 total=20000\nfull avg10=0.00 total=7\n",
    "proc/vmstat": "nr_free_pages 5\npswpin 3\npswpout 4\npswpout_other 9\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "10",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "10",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "5",
}
ALL = {
    "busy": 1.55, "steal": 0.5, "stalled.cpu": 1.5, "stalled.memory": 0.02, "swapped": 7, "overheated": 17,
}  # fmt: skip


def host(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_totals_of_a_host(tmp_path: Path) -> None:
    assert pressure.read((), host(tmp_path, FILES)) == pytest.approx(ALL)
    assert pressure.read((), tmp_path / "nothing") == {}


def test_the_totals_of_this_host() -> None:
    found = pressure.read()
    assert found["busy"] > 0
    assert {"steal", "swapped"} <= set(found)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 5\nnr_periods 1\nnr_throttled 1\nthrottled_usec 2500000\n", 2.5),
        ("nr_periods 1\nnr_throttled 1\nthrottled_time 3000000000\n", 3.0),
        ("usage_usec 5\n", None),
    ],
)
def test_a_quota_that_held_up_an_instance(tmp_path: Path, text: str, seconds: float | None) -> None:
    (tmp_path / "cpu.stat").write_text(text)
    assert cgroups.throttled_seconds(tmp_path) == seconds
    assert pressure.read([tmp_path, tmp_path / "gone"], tmp_path).get("throttled") == seconds


def test_a_watch_keeps_what_has_grown() -> None:
    clock = FakeClock()
    totals = [{"busy": 1.0, "steal": 0.5, "throttled": 3.0}, {"busy": 2.25, "steal": 0.5, "swapped": 1.0}]
    clock.totals = lambda groups=(): totals.pop(0)  # type: ignore[method-assign]
    watch = pressure.Watch(clock)
    clock.advance(2)
    assert watch.facts() == {"host.seconds": "2", "host.busy": "1.25"}


def test_on_a_clock_of_its_own_there_is_nothing_to_say() -> None:
    assert pressure.Watch(FakeClock()).facts() == {}


def test_on_this_host_work_is_seen() -> None:
    watch = pressure.Watch(MonotonicClock())
    while "host.busy" not in watch.facts():
        sum(range(100_000))
    assert float(watch.facts()["host.seconds"]) > 0


@pytest.fixture
def held_up() -> Iterator[Path]:
    """A cgroup with a quota of a hundredth of a CPU."""
    found = cgroups.hierarchies()
    top = found.v1.get("cpu") or found.v2
    assert top is not None
    folder = top / cgroups.PARENT / f"quota-{os.getpid()}"
    try:
        folder.parent.mkdir(exist_ok=True)
        if "cpu" in found.v1:
            folder.mkdir()
            (folder / "cpu.cfs_quota_us").write_text("1000")
        else:
            for above in (top, folder.parent):
                (above / "cgroup.subtree_control").write_text("+cpu")
            folder.mkdir()
            (folder / "cpu.max").write_text("1000 100000")
        yield folder
    finally:
        cgroups.remove([folder])


@pytest.mark.needs("root")
def test_a_real_quota_is_seen(held_up: Path) -> None:
    watch = pressure.Watch(MonotonicClock(), [held_up])
    spins = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        (held_up / "cgroup.procs").write_text(str(spins.pid))
        while "host.throttled" not in watch.facts():
            assert spins.poll() is None
    finally:
        spins.kill()
        spins.wait()
    assert float(watch.facts()["host.throttled"]) > 0


def test_stalls_are_shares_of_the_time() -> None:
    before, after = {"stalled.cpu": 1.0, "stalled.io": 4.0}, {"stalled.cpu": 1.05, "stalled.io": 4.0}
    assert pressure.stalls(before, after, 0.1) == pytest.approx({"cpu": 0.5, "io": 0.0})
    assert pressure.stalls({}, {}, 0.1) == {}


def trials(*facts: dict[str, str]) -> list[Trial]:
    measured = [each for each in build().trials if each.role == "measured"]
    return [msgspec.structs.replace(each, facts=found) for each, found in zip(measured, facts, strict=False)]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"host.steal": "0.03", "host.seconds": "2"}, "host-steal"),
        ({"host.throttled": "0.001", "host.seconds": "2"}, "host-throttled"),
        ({"host.overheated": "1", "host.seconds": "2"}, "host-overheated"),
        ({"host.swapped": "1", "host.seconds": "2"}, "host-swapped"),
        ({"host.stalled.memory": "0.03", "host.seconds": "2"}, "host-stalled-memory"),
        ({"not settled": "1.00 CPUs busy after 3.0 s"}, "not-settled"),
    ],
)
def test_what_is_beyond_its_bound_is_a_notice(facts: dict[str, str], code: str) -> None:
    [notice] = pressure.notices(trials(facts, {}, facts))
    assert notice.code == code
    assert "2 of 3" in notice.message
    assert notice.hint


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"host.steal": "0.01", "host.seconds": "0.2"},  # one tick of the kernel's
        {"host.steal": "0.02", "host.seconds": "3"},
        {"host.busy": "5", "host.stalled.cpu": "2", "host.stalled.io": "1", "host.seconds": "2"},
        {"host.stalled.memory": "0.01", "host.seconds": "2"},
        {"host.swapped": "many", "host.seconds": "2"},
    ],
)
def test_what_is_within_is_none(facts: dict[str, str]) -> None:
    assert pressure.notices(trials(facts)) == []


def test_the_sums_over_all_trials() -> None:
    one = {"host.seconds": "2.5", "host.busy": "3", "host.stalled.io": "0.25", "host.swapped": "inf"}
    found = trials(one, one, {}, {"host.busy": "text"})
    assert pressure.summary(found) == {
        "time": "5.0 s", "CPUs busy": "6.0 CPU seconds", "some task waited for IO": "0.5 s",
    }  # fmt: skip
    assert pressure.summary([msgspec.structs.replace(each, role="warmup") for each in found]) == {}


def test_warm_ups_and_the_arms() -> None:
    heat = {"host.overheated": "1", "host.seconds": "2"}
    every = [msgspec.structs.replace(each, facts=heat) for each in build().trials]
    [notice] = pressure.notices(every)
    measured = [each for each in every if each.role == "measured"]
    assert f"In {len(measured)} of {len(measured)}" in notice.message
    assert all(each.cell.arm in notice.message for each in measured)
    warmups = [msgspec.structs.replace(each, role="warmup") for each in every]
    assert pressure.notices(warmups) == []
