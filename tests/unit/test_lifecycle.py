"""One instance's life on the fake's clock: what each milestone is, and who is destroyed when."""

from __future__ import annotations

import pytest
from tare_bench import lifecycle
from tare_bench.clock import NS
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, FakeInstance, Reply
from tare_bench.errors import InstanceError, InstanceTimeout
from tare_bench.lifecycle import Live
from tare_bench.model import Spec

SPEC = Spec(vcpus=1, memory=1 << 29)
EXACT = Behaviour(create=0.5, boot=2.0, stop=0.25, spread=0.0)


def created(driver: FakeDriver, seconds: float = 60):  # type: ignore[no-untyped-def] # a context manager of Live
    return lifecycle.created(driver, SPEC, name="one", clock=driver.clock, seconds=seconds)


def test_milestones_are_moments_from_the_request() -> None:
    driver = FakeDriver(EXACT)
    with created(driver) as live:
        lifecycle.boot(live)
        # the fake's start returns at once
        moments = {"created": 0.5, "started": 0.5, "start_returned": 0.5, "ready": 2.5, "first_command": 2.503}
        assert live.since_request() == pytest.approx(moments)
        assert lifecycle.stop(live) == pytest.approx(0.25)
    assert driver.alive == {}


def test_cpu_of_a_boot_is_the_change_less_the_idle_rate() -> None:
    driver = FakeDriver(Behaviour(create=0.0, boot=2.0, spread=0.0, cpu=0.5))
    with created(driver) as live:
        live.idle_rate = 0.1
        lifecycle.boot(live)
        elapsed = live.since_request()["first_command"]
        assert live.boot_cpu == pytest.approx(0.5 - 0.1 * elapsed)


def test_cpu_of_a_boot_is_not_there_where_the_host_was_not_quiet() -> None:
    with created(FakeDriver(EXACT)) as live:
        lifecycle.boot(live)
        assert live.boot_cpu is None


@pytest.mark.parametrize("what", ["hang_boot", "die_boot", "fail_create"])
def test_an_instance_that_does_not_come_up_is_destroyed(what: str) -> None:
    driver = FakeDriver(Behaviour(**{what: (0,)}))  # type: ignore[arg-type]
    before = driver.clock.now()
    with pytest.raises(InstanceError) as caught, created(driver, seconds=7) as live:
        lifecycle.boot(live)
    assert isinstance(caught.value, InstanceTimeout) == (what == "hang_boot")
    assert driver.clock.now() - before <= 8 * NS
    assert driver.alive == {}


def test_a_start_that_failed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: FakeInstance) -> None:
        raise InstanceError("The engine did not start it.")

    monkeypatch.setattr(FakeInstance, "start", fails)
    driver = FakeDriver()
    with pytest.raises(InstanceError, match="The engine did not start it"), created(driver) as live:
        lifecycle.boot(live)
    assert driver.alive == {}


def test_a_first_command_that_fails_is_no_boot() -> None:
    driver = FakeDriver(Behaviour(replies={"true": Reply(status=1)}))
    with pytest.raises(InstanceError, match="status 1"), created(driver) as live:
        lifecycle.boot(live)


def test_evidence_is_kept_of_a_failure_and_never_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(Behaviour(die_boot=(0, 1)))
    with pytest.raises(InstanceError), created(driver) as live:
        lifecycle.boot(live)
    assert live.evidence == {"fake.txt": b"instance 0\n"}

    def fails(self: FakeInstance) -> None:
        raise RuntimeError("no evidence")

    monkeypatch.setattr(FakeInstance, "diagnostics", fails)
    with pytest.raises(InstanceError), created(driver) as other:
        lifecycle.boot(other)
    assert other.evidence == {}


def test_a_stop_whose_end_does_not_come_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with created(FakeDriver(EXACT)) as live:
        lifecycle.boot(live)
        monkeypatch.setattr(FakeInstance, "stop", lambda self: None)
        with pytest.raises(InstanceTimeout):
            lifecycle.stop(live, seconds=5)


def test_settling_waits_for_a_quiet_host_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeDriver().fake_clock
    quiet = lifecycle.settle(clock, window=0.1, share=0.1, seconds=3)
    assert (quiet.quiet, quiet.rate, quiet.facts()) == (True, 0.0, {})

    start = clock.now()
    monkeypatch.setattr(clock, "busy", lambda: (clock.now() - start) / NS * 1.5)
    busy = lifecycle.settle(clock, window=0.1, share=0.1, seconds=3)
    assert not busy.quiet
    assert busy.rate == pytest.approx(1.5)
    assert 3 <= busy.waited < 3.2
    assert "1.50 CPUs busy" in busy.facts()["not settled"]

    begin = clock.now()
    monkeypatch.setattr(clock, "busy", lambda: min((clock.now() - begin) / NS, 1.0))
    assert lifecycle.settle(clock, window=0.1, share=0.1, seconds=3).quiet
    monkeypatch.setattr(clock, "busy", lambda: None)
    assert lifecycle.settle(clock, window=0.1, share=0.1, seconds=3).rate == 0.0


def test_settling_waits_until_nothing_waits_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeDriver().fake_clock
    start = clock.now()
    monkeypatch.setattr(
        clock, "totals", lambda: {"stalled.io": min((clock.now() - start) / NS, 1.0), "stalled.cpu": 7.0}
    )
    later = lifecycle.settle(clock, window=0.1, share=0.1, seconds=3)
    assert later.quiet
    assert 1.0 <= later.waited < 1.3
    assert later.stalled == {"cpu": 0.0, "io": pytest.approx(0.0, abs=0.1)}

    monkeypatch.setattr(clock, "totals", lambda: {"stalled.io": (clock.now() - start) / NS * 0.4})
    never = lifecycle.settle(clock, window=0.1, share=0.1, seconds=3)
    assert not never.quiet
    assert never.facts() == {"not settled": f"0.00 CPUs busy, stalled on io 40% of the time after {never.waited:.1f} s"}


def test_the_floor_is_what_an_empty_command_takes() -> None:
    with created(FakeDriver(EXACT)) as live:
        lifecycle.boot(live)
        assert lifecycle.floor(live) == pytest.approx(0.003)


def live_with(stamps: list[tuple[float, float]]) -> Live:
    live = Live(name="one", clock=FakeClock(), requested_at=0, deadline=0)
    live.uptimes = [(int(at * 1e9), uptime) for at, uptime in stamps]
    return live


def test_a_clock_is_judged_by_its_slope_over_three_seconds_or_more() -> None:
    assert lifecycle.clock_rate(live_with([])) is None
    assert lifecycle.clock_rate(live_with([(100.0, 7.0), (102.9, 9.9)])) is None
    sound = lifecycle.clock_rate(live_with([(100.0 + step, 7.0 + step) for step in range(5)]))
    assert sound == (pytest.approx(1.0), pytest.approx(0.0025))
    slow = lifecycle.clock_rate(live_with([(100.0 + step, 7.0 + 0.9 * step) for step in range(5)]))
    assert slow is not None
    assert slow[0] == pytest.approx(0.9)


def test_a_message_that_was_read_late_does_not_move_the_clock() -> None:
    stamps = [(100.0 + step, 7.0 + step) for step in range(10)]
    stamps[4] = (stamps[4][0] + 0.9, stamps[4][1])
    stamps[9] = (stamps[9][0] + 0.5, stamps[9][1])
    found = lifecycle.clock_rate(live_with(stamps))
    assert found is not None
    assert found[0] == pytest.approx(1.0, abs=0.01)
