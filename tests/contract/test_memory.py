"""What an instance's memory is read from, the same in every driver that is real."""

from __future__ import annotations

import json

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import cgroups, footprint, reconcile
from tare_bench.crowd import Crowd
from tare_bench.workloads.memory import Memory, MemoryLoad
from tare_bench.workloads.memory_ramp import HOST, MemoryRamp

pytestmark = [pytest.mark.needs("root"), REAL_ONLY]

PARTS = {"process": {"payload"}, "container": {"payload", "shim"}, "vm": {"vmm"}}
MIB = 1 << 20


def test_each_process_is_known_for_what_it_is(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    where = live.instance.accounts()
    parts = footprint.memory(where).parts()
    assert set(parts) == PARTS[host.driver.kind]
    for held in parts.values():
        assert held["pss"] == pytest.approx(held["anon"] + held["file"] + held["shmem"], rel=0.01)
        assert 0 < held["uss"] <= held["pss"]
    if host.driver.kind == "vm":
        assert where.guest_memory == host.spec.memory
        assert 16 * MIB < parts["vmm"]["guest"] < host.spec.memory
        translated = parts["vmm"]["translated"]
        assert MIB < translated < 40 * MIB if host.accelerator == "tcg" else translated == 0


def test_the_cgroup_has_every_row_that_this_kernel_keeps(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    where = live.instance.accounts()
    split = cgroups.memory_split(where.cgroups)
    assert {"anon", "file", "shmem"} <= set(split)
    if "peak" in split:
        assert split["peak"] >= split["anon"]


def test_what_the_engine_says_stands_beside(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    told = live.instance.told()
    if host.driver.kind == "container":
        assert 0 < told.figures["docker stats"] <= told.figures["charged"]
    if host.driver.kind == "vm":
        # `actual` comes with a balloon only
        assert told.figures["dommemstat rss"] > 50 * MIB
        assert told.settings == {"balloon": "none", "free page reporting": "off", "memory backing": "anonymous"}


def test_a_guest_keeps_what_a_container_gives_back(host: Host) -> None:
    """After a load: nobody takes a guest's free pages from it."""
    with host.booted() as live:
        before = {each.metric: each.value for each in Memory().measure(live, {}).samples}
        after = {each.metric: each.value for each in MemoryLoad().measure(live, {}).samples}
    kept = after["memory.load.pss"] - before["memory.pss"]
    assert kept > 32 * MIB if host.driver.kind == "vm" else kept < 32 * MIB
    if host.driver.kind == "vm":
        assert before["memory.guest_available"] < before["memory.guest_total"] < host.spec.memory


def test_a_ramp_of_two_explains_itself_and_leaves_nothing(host: Host) -> None:
    seconds = 180.0 if host.accelerator == "tcg" else 60.0
    crowd = Crowd(host.driver, host.spec, host.accelerator, host.driver.clock, seconds, "ramp")
    measured = MemoryRamp().measure_crowd(crowd, {"most": 2})
    points = json.loads(measured.facts["ramp"])
    assert [each["instances"] for each in points] == [0, 1, 2, 1, 0]
    assert all({"available", "tare", *HOST} <= set(each) for each in points)
    assert reconcile.slope((each["instances"], each["available"]) for each in points) is not None
    assert set(json.loads(measured.facts["parts"])) == PARTS[host.driver.kind]
    assert "anon" in json.loads(measured.facts["cgroup"])
    if host.driver.kind == "container":
        assert {"memory.available", "memory.engine"} == {each.metric for each in measured.samples}
    assert host.traces("rampn0") == host.traces("rampn1") == []
