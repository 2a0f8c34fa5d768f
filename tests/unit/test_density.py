"""The workload `density`: it stops by number, by memory or by its probe, and says by which."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tare_bench.crowd import Crowd
from tare_bench.driver import Kind
from tare_bench.drivers.fake import Behaviour, FakeDriver, FakeInstance, Reply
from tare_bench.errors import InstanceError
from tare_bench.headroom import Headroom
from tare_bench.model import Spec
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.density import Density, p99, too_slow

MIB = 1 << 20
GIB = 1 << 30
SPEC = Spec(vcpus=1, memory=512 * MIB)


class Host:
    """A host whose instances take memory, and become slow from some number on."""

    def __init__(self, spare: int, each: int = 10 * MIB, slow_from: int = 1 << 30, slow: float = 1.0) -> None:
        self.spare, self.each = spare, each
        host = self

        class Slow(Behaviour):
            def reply(self, command: str) -> Reply | None:
                late = len(host.driver.alive) >= slow_from
                return Reply(seconds=slow if late else 0.003) if command == "true" else super().reply(command)

        self.driver = FakeDriver(Slow(spread=0.0))
        self.most = 0
        self.least = spare

    def memory(self) -> Headroom:
        self.most = max(self.most, len(self.driver.alive))
        spare = self.spare - self.each * len(self.driver.alive)
        self.least = min(self.least, spare)
        return Headroom(10 * GIB, int(1.5 * GIB) + spare)

    def filled(self, most: int = 16) -> Measured:
        driver = self.driver
        crowd = Crowd(driver, SPEC, "simulated", driver.clock, 60.0, prefix="b1p0w0", memory=self.memory)
        found = Density().measure_crowd(crowd, {"max_instances": most})
        assert driver.alive == {}
        return found


def values(found: Measured) -> dict[str, float]:
    return {each.metric: each.value for each in found.samples}


def test_it_stops_at_the_number_that_was_asked_for() -> None:
    found = Host(8 * GIB).filled(5)
    assert values(found) == {"density.instances": 5, "density.available": 10 * MIB}
    assert found.facts["stopped"] == "max_instances: 5"
    assert len(found.facts["probe_p99"].split()) == 5


@pytest.mark.parametrize(("each", "fit"), [(10, 8), (40, 2)])
def test_containers_stop_where_one_more_like_the_dearest_would_touch_the_floor(each: int, fit: int) -> None:
    """And a light one is taken to need 32 MiB."""
    host = Host(105 * MIB, each=each * MIB)
    found = host.filled()
    assert values(found)["density.instances"] == fit
    left = 105 - each * fit
    assert found.facts["stopped"].startswith(f"memory: {1536 + left} MiB available, of which 1536 must stay")
    assert host.least == left * MIB


def test_memory_that_others_free_meanwhile_is_no_value_and_no_reason_to_go_below_the_floor() -> None:
    host = Host(100 * MIB, each=-MIB)
    assert values(host.filled(4)) == {"density.instances": 4}
    costs = Host(20 * MIB, each=-10 * MIB)
    with pytest.raises(Skipped):
        costs.filled()


def test_guests_stop_where_one_more_could_not_have_all_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(1200 * MIB, each=100 * MIB)
    monkeypatch.setattr(host.driver, "kind", Kind.VM)
    found = host.filled()
    # With 7 up 500 MiB can be spared, and the eighth may take 512.
    assert values(found)["density.instances"] == 7
    assert found.facts["stopped"].startswith("memory: ")


def test_where_not_one_fits_it_is_skipped_and_nothing_is_started() -> None:
    host = Host(10 * MIB)
    with pytest.raises(Skipped, match="Not one instance fits"):
        host.filled()
    assert host.driver.made == 0


def test_it_stops_where_the_probe_gets_too_slow_and_does_not_count_that_one() -> None:
    found = Host(8 * GIB, slow_from=4).filled()
    assert values(found)["density.instances"] == 3
    assert found.facts["stopped"] == "probe: p99 1000.0 ms, 3.0 ms with one instance"
    assert values(found)["density.available"] == 10 * MIB


def test_a_probe_that_is_merely_slower_does_not_stop_it() -> None:
    assert values(Host(8 * GIB, slow_from=4, slow=0.045).filled(8))["density.instances"] == 8


@pytest.mark.parametrize(
    ("first", "now", "slow"),
    [(0.003, 0.051, True), (0.003, 0.050, False), (0.006, 0.059, False), (0.120, 1.1, False), (0.120, 1.3, True)],
)
def test_too_slow_is_tenfold_and_50_ms(first: float, now: float, slow: bool) -> None:
    assert too_slow(first, now) == slow


@pytest.mark.parametrize(
    ("values", "found"), [([5.0], 5.0), (range(1, 51), 50), (range(1, 101), 99), (range(1, 201), 198)]
)
def test_p99(values: Sequence[float], found: float) -> None:
    assert p99(values) == found


def test_a_start_that_fails_fails_it_and_leaves_nothing() -> None:
    host = Host(8 * GIB)
    host.driver.behaviour.fail_create = (3,)
    with pytest.raises(InstanceError, match="refuses to create"):
        host.filled()
    assert host.driver.made == 4
    assert host.driver.alive == {}


def test_what_cannot_be_destroyed_is_all_named_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(8 * GIB)
    destroy = FakeInstance.destroy

    def burning(instance: FakeInstance) -> None:
        destroy(instance)
        if instance.id != "b1p0w0n1":
            raise InstanceError(f"{instance.id} is on fire.")

    monkeypatch.setattr(FakeInstance, "destroy", burning)
    with pytest.raises(InstanceError, match="2 errors with 3 instances up") as caught:
        host.filled(3)
    assert "n0 is on fire" in caught.value.details
    assert "n2 is on fire" in caught.value.details
    assert host.driver.alive == {}
