"""Many instances at once, the same in every driver: nothing of ours has one wait for another, and nothing stays."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import launch, lifecycle
from tare_bench.clock import MonotonicClock, S
from tare_bench.crowd import Crowd
from tare_bench.errors import InstanceError
from tare_bench.headroom import Headroom
from tare_bench.launch import Launch
from tare_bench.workloads.density import Density
from tare_bench.workloads.storm import Storm

pytestmark = pytest.mark.needs("root")

COUNT = 4
_numbers = itertools.count()


def names(count: int = COUNT) -> list[str]:
    return [f"m{next(_numbers)}" for _ in range(count)]


@contextlib.contextmanager
def prepared(host: Host, called: Sequence[str]) -> Iterator[Launch]:
    specs = dict.fromkeys(called, host.spec)
    with launch.prepared(host.driver, specs, clock=host.driver.clock, seconds=180.0) as found:
        yield found


def traces(host: Host, called: Sequence[str]) -> list[str]:
    return [each for name in called for each in host.traces(name)]


@REAL_ONLY
def test_all_are_asked_for_before_any_is_ready_and_all_of_them_work(host: Host) -> None:
    called = names()
    with prepared(host, called) as found:
        found.start()
        assert max(live.requested_at for live in found.lives) < min(live.ready_at for live in found.lives)
        for live in found.lives:
            at = live.milestones
            assert live.requested_at < at["created"] <= at["started"] < at["ready"]
            assert at["started"] <= at["start_returned"]
            assert live.run("echo it runs", seconds=60).checked().stdout == b"it runs\n"
            assert lifecycle.read_back(live) == host.accelerator
    assert traces(host, called) == []


@REAL_ONLY
def test_the_calls_that_create_them_are_in_the_engine_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits in front of the engine until all are there: were one serialised behind another it would break."""
    barrier = threading.Barrier(COUNT, timeout=60.0)
    create = host.driver.create
    called = names()

    def together(*arguments: object, **named: object) -> object:
        barrier.wait()
        return create(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(host.driver, "create", together)
    with prepared(host, called) as found:
        found.start()
        at = [live.milestones["created"] for live in found.lives]
        assert max(live.requested_at for live in found.lives) < min(at)
    assert not barrier.broken
    assert traces(host, called) == []


@REAL_ONLY
def test_one_that_fails_takes_the_others_along_and_nothing_stays(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    create, called = host.driver.create, names()

    def fails(*arguments: object, name: str) -> object:
        if name == called[1]:
            raise InstanceError("There is no room.")
        return create(*arguments, name=name)  # type: ignore[arg-type]

    monkeypatch.setattr(host.driver, "create", fails)
    with pytest.raises(InstanceError, match="1 of 4 instances failed: There is no room"), prepared(host, called) as it:
        it.start()
    assert traces(host, called) == []


class Interrupting(MonotonicClock):
    """A Ctrl-C in the first wait after the moment has come."""

    def __init__(self, now: Callable[[], bool]) -> None:
        self.is_now = now
        self.came = False

    def select(self, sources: Sequence[S], deadline: int) -> list[S]:
        if not self.came and self.is_now():
            self.came = True
            raise KeyboardInterrupt
        return super().select(sources, deadline)


@REAL_ONLY
@pytest.mark.parametrize("milestone", ["created", "started"])
def test_a_ctrl_c_in_the_middle_leaves_nothing(host: Host, milestone: str) -> None:
    called = names()
    specs = dict.fromkeys(called, host.spec)
    lives: list[lifecycle.Live] = []
    clock = Interrupting(lambda: any(milestone in live.milestones for live in lives))

    def interrupted() -> None:
        with launch.prepared(host.driver, specs, clock=clock, seconds=180.0) as found:
            lives.extend(found.lives)
            found.start()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert clock.came
    assert traces(host, called) == []


def crowd(host: Host, prefix: str) -> Crowd:
    clock = host.driver.clock
    return Crowd(host.driver, host.spec, host.accelerator, clock, seconds=180.0, prefix=prefix, idle_rate=0.0)


def test_a_storm_has_its_numbers(host: Host) -> None:
    prefix = f"m{next(_numbers)}"
    found = Storm().measure_crowd(crowd(host, prefix), {"parallel": 2})
    values = {each.metric: each.value for each in found.samples}
    assert set(values) == {"storm.rate", "storm.ready", "storm.slowest", "storm.cpu"}
    assert all(value > 0 for value in values.values())
    assert traces(host, [f"{prefix}n0", f"{prefix}n1"]) == []


def test_a_filling_has_its_numbers(host: Host) -> None:
    prefix = f"m{next(_numbers)}"
    found = Density().measure_crowd(crowd(host, prefix), {"max_instances": 2})
    values = {each.metric: each.value for each in found.samples}
    assert values["density.instances"] == 2
    assert found.facts["stopped"] == "max_instances: 2"
    assert traces(host, [f"{prefix}n0", f"{prefix}n1"]) == []


@REAL_ONLY
def test_a_filling_stops_at_a_planted_floor_of_memory(host: Host) -> None:
    prefix = f"m{next(_numbers)}"
    filled = crowd(host, prefix)
    # Read before all, before the first start, around it, and then before the second.
    spare = itertools.chain([2 * filled.weight] * 4, itertools.repeat(filled.weight - 1))
    filled.memory = lambda: Headroom(10 << 30, int(1.5 * (1 << 30)) + next(spare))
    found = Density().measure_crowd(filled, {"max_instances": 3})
    assert {each.metric: each.value for each in found.samples}["density.instances"] == 1
    assert found.facts["stopped"].startswith("memory: ")
    assert traces(host, [f"{prefix}n0", f"{prefix}n1"]) == []
