"""Two runs compared: hosts first, each cell by its own run's baseline, nothing paired."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import msgspec
import pytest
from nights import USUAL, night, seen
from tare_bench.across import Across, CellChange, across, fact_changes
from tare_bench.compare import Row
from tare_bench.reports.view_across import across_words
from tare_bench.stats import Estimate


def _cell(found: Across, metric: str, arm: str) -> CellChange:
    return next(cell for cell in found.cells if cell.row.metric == metric and cell.arm == arm)


def _slower(arm: str, metric: str, block: int) -> float:
    return 0.8 if (arm, metric) == ("native", "fio-randread.iops") else 1.0


def _everything_slower(arm: str, metric: str, block: int) -> float:
    return 0.5 if metric.startswith("fio") else 2.0 if metric.startswith("boot") else 1.0


def test_an_arm_that_lost_a_fifth_is_called_slower_at_a_size_inside_its_interval() -> None:
    cell = _cell(across(seen(night(1)), seen(night(2, _slower))), "fio-randread.iops", "native")
    assert cell.verdict == "slower/larger"
    assert cell.primary
    assert cell.change is not None
    assert cell.change.low is not None
    assert cell.change.high is not None
    assert cell.change.low < 0.8 < cell.change.high
    assert cell.change.high / cell.change.low < 1.1


def test_a_gain_is_found_too() -> None:
    assert (
        _cell(across(seen(night(1, _slower)), seen(night(2))), "fio-randread.iops", "native").verdict
        == "faster/smaller"
    )


def test_a_machine_that_is_slower_as_a_whole_changes_no_cell() -> None:
    found = across(seen(night(1)), seen(night(2, _everything_slower)))
    assert {cell.verdict for cell in found.cells if cell.primary} <= {
        "equivalent",
        "undecided",
        "not compared: emulated",
    }


def test_the_interval_joins_both_runs_intervals() -> None:
    """By hand, on the logarithms: each side is the root of the sum of squares of the two distances on that side."""
    cell = _cell(across(seen(night(1)), seen(night(2))), "boot.ready", "kvm")
    assert isinstance(cell.before, Estimate)
    assert isinstance(cell.after, Estimate)
    assert isinstance(cell.change, Estimate)
    one, two = cell.before, cell.after
    logs = {k: math.log(v) for k, v in {"v1": one.value, "l1": one.low, "u1": one.high}.items() if v}
    logs |= {k: math.log(v) for k, v in {"v2": two.value, "l2": two.low, "u2": two.high}.items() if v}
    middle = logs["v2"] - logs["v1"]
    down = math.sqrt((logs["v2"] - logs["l2"]) ** 2 + (logs["u1"] - logs["v1"]) ** 2)
    up = math.sqrt((logs["u2"] - logs["v2"]) ** 2 + (logs["v1"] - logs["l1"]) ** 2)
    assert cell.change.value == pytest.approx(math.exp(middle))
    assert cell.change.low == pytest.approx(math.exp(middle - down))
    assert cell.change.high == pytest.approx(math.exp(middle + up))


def test_identical_runs_are_hardly_ever_called_different() -> None:
    """Eight pairs of runs without a difference: the interval is that of its level, so false alarms stay few."""
    dice = random.Random(7)
    wrong = tried = 0
    for _ in range(8):
        found = across(seen(night(dice.randrange(1000) % 28)), seen(night(dice.randrange(1000) % 28 + 1)))
        primary = [cell for cell in found.cells if cell.primary and cell.change]
        tried += len(primary)
        wrong += sum(cell.verdict in ("faster/smaller", "slower/larger") for cell in primary)
    assert tried > 80
    assert wrong <= 1


def test_a_memory_of_an_emulated_guest_is_not_compared() -> None:
    cell = _cell(across(seen(night(1)), seen(night(2))), "memory.pss", "kvm")
    assert (cell.verdict, cell.change) == ("not compared: emulated", None)


def test_runs_of_unlike_machines_have_no_percentages_unless_asked_for() -> None:
    other = {"cpu model name": "Another CPU"}
    base, new = seen(night(1, host={"cpu model name": "A CPU"})), seen(night(2, _slower, other))
    refused = across(base, new)
    assert not refused.alike
    assert all(cell.change is None and cell.verdict == "" for cell in refused.cells)
    assert all("unlike" in cell.reason for cell in refused.cells)
    asked = across(base, new, across_hosts=True)
    assert not asked.alike
    assert _cell(asked, "fio-randread.iops", "native").verdict == "slower/larger"


def test_what_differs_is_listed_the_machine_first_and_what_is_volatile_last() -> None:
    before, after = night(1, host={"cpus": "2", "kernel": "6.1", "busy": "0.00 CPUs"}), night(2)
    after = night(2, host={"cpus": "4", "kernel": "6.2", "busy": "0.30 CPUs"})
    found = fact_changes(before.manifest, after.manifest)
    assert [(change.name, change.kind) for change in found] == [
        ("cpus", "machine"), ("kernel", "setting"), ("busy", "volatile"),
    ]  # fmt: skip
    assert (found[0].before, found[0].after) == ("2", "4")


def test_a_driver_an_image_and_an_accelerator_that_changed_are_listed() -> None:
    before = night(1).manifest
    image = msgspec.structs.replace(before.rootfs, digest="sha256:" + "aa" * 32, packages={"redis-server": "7"})
    after = msgspec.structs.replace(
        before,
        drivers={**before.drivers, "docker": {"engine": "99"}},
        rootfs=image,
        accelerators={**before.accelerators, "kvm": "kvm"},
    )
    found = {(change.subject, change.name) for change in fact_changes(before, after)}
    assert {
        ("docker", "engine"),
        ("image", "digest"),
        ("image", "package redis-server"),
        ("kvm", "accelerator"),
    } <= found


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [("24106 MiB", "24090 MiB", True), ("24106 MiB", "12050 MiB", False), ("", "24106 MiB", True)],
)
def test_a_kernel_that_keeps_a_little_more_memory_makes_no_other_machine(before: str, after: str, alike: bool) -> None:
    one = night(1, host={"memory": before} if before else {})
    two = night(2, host={"memory": after})
    if not before:
        host = {key: value for key, value in one.manifest.host.items() if key != "memory"}
        one = msgspec.structs.replace(one, manifest=msgspec.structs.replace(one.manifest, host=host))
    assert across(seen(one), seen(two)).alike is alike


def test_cells_that_only_one_has_are_named() -> None:
    full, less = seen(night(1)), seen(night(2))
    kept = [item for item in less.comparisons if item.row.workload != "redis"]
    cut = msgspec.structs.replace(less, comparisons=kept)
    found = across(full, cut)
    assert {row.workload for row, _ in found.only_before} == {"redis"}
    assert found.only_after == []


def test_the_same_arm_twice_vetoes_a_change_that_is_no_larger() -> None:
    base, new = seen(night(1)), seen(night(2, _slower))
    row = next(item.row for item in new.comparisons if item.row.metric == "fio-randread.iops")
    twin = next(item for item in new.comparisons if item.row == row and item.arm == "native")
    wide = msgspec.structs.replace(twin, effect=Estimate(1.0, 0.7, 1.4, 10), verdict="undecided")
    cell = _cell(across(base, msgspec.structs.replace(new, aa=[wide])), "fio-randread.iops", "native")
    assert cell.verdict == "undecided"
    assert "the same arm measured twice" in cell.reason


def test_another_baseline_is_not_held_against() -> None:
    run = night(2)
    plan = msgspec.structs.replace(run.manifest.plan, baseline="native")
    manifest = msgspec.structs.replace(run.manifest, plan=plan)
    new = seen(msgspec.structs.replace(run, manifest=manifest))
    found = across(seen(night(1)), new)
    assert [cell.arm for cell in found.cells if cell.primary]
    assert across_words(new, found) == [
        "Run 20261102-030000-aa01 has another baseline (docker, now native): the two are not compared."
    ]
    assert all(cell.change is None and "another baseline" in cell.reason for cell in found.cells)


def test_a_cell_that_failed_in_one_run_says_in_which() -> None:
    base, new = seen(night(1)), seen(night(2))
    row = Row(metric="boot.ready", workload="boot")
    broken = [
        msgspec.structs.replace(item, verdict="not enough data", reason="3 pairs", effect=None)
        if item.row == row
        else item
        for item in new.comparisons
    ]
    cell = _cell(across(base, msgspec.structs.replace(new, comparisons=broken)), "boot.ready", "native")
    assert (cell.verdict, cell.reason) == ("not enough data", "in the later run: 3 pairs")


def test_an_emulated_guest_is_not_held_against_an_accelerated_one() -> None:
    """What emulation costs would pass for a loss of the technology's."""
    base = seen(night(1, setting=replace(USUAL, accelerators={"kvm": "kvm"})))
    found = across(base, seen(night(2)))
    cell = _cell(found, "boot.ready", "kvm")
    assert (cell.verdict, cell.change, cell.reason) == ("", None, "kvm ran by kvm then and by tcg now")
    assert _cell(found, "boot.ready", "native").change is not None


def test_an_arm_that_was_given_something_else_is_told() -> None:
    run = night(2)
    arms = [
        msgspec.structs.replace(arm, spec=msgspec.structs.replace(arm.spec, vcpus=2), options={"runtime": "crun"})
        if arm.name == "docker"
        else arm
        for arm in run.manifest.plan.arms
    ]
    plan = msgspec.structs.replace(run.manifest.plan, arms=arms)
    found = fact_changes(night(1).manifest, msgspec.structs.replace(run.manifest, plan=plan))
    assert [(each.subject, each.name, each.before, each.after) for each in found] == [
        ("docker", "vcpus", "1", "2"),
        ("docker", "runtime", "", "crun"),
    ]
