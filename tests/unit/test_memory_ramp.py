"""Ramps of idle instances, on the fake driver with a host whose memory is what its instances take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tare_bench import footprint, headroom
from tare_bench.crowd import Crowd
from tare_bench.driver import Accounts, Instance, Kind
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, FakeInstance, Reply
from tare_bench.errors import InstanceError
from tare_bench.model import Spec
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.memory_ramp import MemoryRamp

MIB = 1 << 20
SPEC = Spec(vcpus=1, memory=512 * MIB)
ENGINE, OURS = 700, 800
"""Pids of no process."""


class Weighed(FakeInstance):
    """One whose memory can be read."""

    where = Accounts(pids=(1,), engine=(ENGINE,))

    def accounts(self) -> Accounts:
        return self.where


class Dying(Behaviour):
    """One of eight dies while it is idle: the first `true` of each is its boot's, the next asks whether it lives."""

    asked = 0

    def reply(self, command: str) -> Reply | None:
        self.asked += command == "true"
        return Reply(dies=True) if self.asked == 11 else None


class Host(FakeDriver):
    """A driver, and the host that its instances take memory from."""

    total = 16384 * MIB
    each = 10 * MIB
    drift = 0
    """Bytes that others take of the host at each reading of it."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour, clock=FakeClock())
        self.readings = 0
        self.most = 0
        self.ages: list[float] = []
        self.where = Weighed.where

    def create(self, spec: Spec, *, name: str) -> Instance:
        instance = super().create(spec, name=name)
        assert isinstance(instance, FakeInstance)
        instance.__class__ = Weighed
        instance.where = self.where  # type: ignore[attr-defined]
        self.most = max(self.most, len(self.alive))
        return instance

    def meminfo(self) -> dict[str, int]:
        self.readings += 1
        taken = self.each * len(self.alive) + self.drift * self.readings
        return {"MemTotal": self.total, "MemAvailable": self.total - taken, "PageTables": 1000 * len(self.alive)}

    def pss(self, pids: Any) -> int | None:
        return 50 * MIB + (len(self.alive) * MIB if list(pids) == [ENGINE] else 0) if pids else None


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measured]:
    """Do one on that host."""

    def run(host: Host, most: int = 16) -> Measured:
        monkeypatch.setattr(headroom, "host", lambda path=headroom.MEMINFO: host.meminfo())
        monkeypatch.setattr(footprint, "pss", host.pss)
        monkeypatch.setattr(footprint, "memory", lambda where: reading(len(host.alive)))
        crowd = Crowd(host, SPEC, "simulated", host.fake_clock, 30.0, "b0p0w0")
        return MemoryRamp().measure_crowd(crowd, {"most": most})

    return run


def reading(alive: int) -> footprint.MemoryReading:
    held = {"pss": 3 * MIB + MIB // alive, "uss": 3 * MIB, "anon": 2 * MIB}
    return footprint.MemoryReading({"anon": 2 * MIB}, [footprint.Process("payload", "sh", held)])


def values(measured: Measured) -> dict[str, float]:
    return {each.metric: each.value for each in measured.samples}


def test_a_ramp_is_one_value_the_slope_of_all_its_readings(ramp: Callable[..., Measured]) -> None:
    host = Host()
    measured = ramp(host)
    assert values(measured) == {"memory.available": pytest.approx(10 * MIB), "memory.engine": pytest.approx(MIB)}
    points = json.loads(measured.facts["ramp"])
    numbers = [each["instances"] for each in points]
    assert numbers == [0, 2, 4, 6, 8, 10, 12, 14, 16, 14, 12, 10, 8, 6, 4, 2, 0]
    assert points[8]["available"] == host.total - 160 * MIB
    assert points[8]["tables"] == 16000
    assert "engine" not in points[0]
    assert "engine" in points[1]
    assert json.loads(measured.facts["parts"])["payload"] == {
        "number": 1, "pss": 3 * MIB + MIB // 16, "uss": 3 * MIB, "anon": 2 * MIB,
    }  # fmt: skip
    assert json.loads(measured.facts["cgroup"]) == {"anon": 2 * MIB}
    assert measured.facts["instances"] == "16"
    assert host.alive == {}


def test_a_steady_drift_of_the_host_does_not_tilt_the_line(ramp: Callable[..., Measured]) -> None:
    """As up alone it would: the drift of one reading for each instance."""
    host = Host()
    host.drift = 100 * 1024
    measured = ramp(host, most=8)
    points = json.loads(measured.facts["ramp"])
    up = [each["available"] for each in points[:9]]
    assert (up[0] - up[-1]) / 8 > 10 * MIB + host.drift
    assert values(measured)["memory.available"] == pytest.approx(10 * MIB, rel=0.005)


def test_each_reading_waits_for_the_fixed_age(ramp: Callable[..., Measured]) -> None:
    host = Host(Behaviour(create=0.0, boot=0.0, spread=0.0))
    began = host.fake_clock.now()
    ramp(host, most=4)
    assert (host.fake_clock.now() - began) / 1e9 >= 8 * 1.0


def test_guests_are_fewer(ramp: Callable[..., Measured]) -> None:
    host = Host()
    host.kind = Kind.VM
    host.where = Accounts(pids=(1,), guest_memory=512 * MIB)
    measured = ramp(host, most=64)
    assert host.most == 8
    assert measured.facts["guest memory"] == str(512 * MIB)
    assert "memory.engine" not in values(measured)


def test_the_host_keeps_its_floor_and_the_ramp_is_lower(ramp: Callable[..., Measured]) -> None:
    host = Host()
    host.each = 1000 * MIB
    measured = ramp(host, most=64)
    assert measured.facts["instances"] == str(host.most)
    left = host.total - host.most * host.each
    assert left > 0.15 * host.total
    assert left - 1.5 * host.each <= 0.15 * host.total, "one more might not have fitted"
    assert values(measured)["memory.available"] == pytest.approx(host.each)


@pytest.mark.parametrize("total", [1400 * MIB, 2000 * MIB])
def test_a_host_with_too_little_memory_has_no_ramp(ramp: Callable[..., Measured], total: int) -> None:
    host = Host()
    host.total, host.each = total, 600 * MIB
    with pytest.raises(Skipped, match="too little memory"):
        ramp(host)
    assert host.most == (0 if total < 1500 * MIB else 1)
    assert host.alive == {}


def test_an_instance_that_has_died_meanwhile_fails_the_ramp_and_none_stays(ramp: Callable[..., Measured]) -> None:
    host = Host(Dying())
    with pytest.raises(InstanceError):
        ramp(host, most=8)
    assert host.alive == {}


def test_an_engine_on_another_host_takes_nothing_of_this_one(ramp: Callable[..., Measured]) -> None:
    host = Host()
    host.where = Accounts(unavailable="it runs on another host")
    with pytest.raises(Skipped, match="another host"):
        ramp(host)
    assert host.most == 1, "the first one tells"
    assert host.alive == {}
