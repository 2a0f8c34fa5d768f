"""The one clock: calls beside the main thread, deadlines, and a fake that stands until something waits."""

from __future__ import annotations

import threading

import pytest
from tare_bench.clock import NS, MonotonicClock, finish, sleep_until
from tare_bench.drivers.fake import FakeChannel, FakeClock
from tare_bench.errors import InstanceError, InstanceTimeout


@pytest.mark.parametrize("clock", [MonotonicClock(), FakeClock()])
def test_a_call_yields_what_it_returned_or_raised(clock: MonotonicClock | FakeClock) -> None:
    def fails() -> None:
        raise ValueError("said so")

    assert finish(clock, lambda: 7, clock.now() + 30 * NS, what="It") == 7
    # Also an error that the driver did not think of fails a trial, and not the whole run.
    with pytest.raises(InstanceError, match="said so") as caught:
        finish(clock, fails, clock.now() + 30 * NS, what="It")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_call_runs_in_another_thread() -> None:
    clock = MonotonicClock()
    assert finish(clock, threading.get_ident, clock.now() + 30 * NS, what="It") != threading.get_ident()


def test_a_call_that_does_not_return_is_a_timeout_that_names_it() -> None:
    clock, go = MonotonicClock(), threading.Event()
    try:
        with pytest.raises(InstanceTimeout, match="The engine did not return"):
            finish(clock, lambda: go.wait(30), clock.now(), what="The engine")
    finally:
        go.set()


def test_a_call_is_stamped_when_it_returned() -> None:
    clock = MonotonicClock()
    before = clock.now()
    call = clock.begin(lambda: None)
    assert clock.select([call], clock.now() + 30 * NS) == [call]
    assert call.returned_at is not None
    assert before <= call.returned_at <= clock.now()
    call.close()


def test_waiting_for_a_moment_ends_at_it_and_never_before() -> None:
    for clock in (MonotonicClock(), FakeClock()):
        deadline = clock.now() + NS // 100
        sleep_until(clock, deadline)
        assert clock.now() >= deadline


def test_the_fakes_clock_jumps_to_what_comes_first() -> None:
    clock = FakeClock()
    early, late = FakeChannel(clock, lambda data: None), FakeChannel(clock, lambda data: None)
    start = clock.now()
    late.arrive(start + 5 * NS, b"late")
    early.arrive(start + 2 * NS, b"early")
    assert clock.select([late, early], start + NS) == []
    assert clock.now() == start + NS
    assert clock.select([late, early], start + 60 * NS) == [early]
    assert clock.now() == start + 2 * NS
    assert late.recv() is None
    assert early.recv() == b"early"


def test_the_hosts_busy_time_only_grows() -> None:
    clock = MonotonicClock()
    first = clock.busy()
    assert first is not None
    assert first > 0
