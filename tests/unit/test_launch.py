"""Many instances at once: nothing of ours makes one wait for another, and nothing of them stays."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from tare_bench import launch
from tare_bench.clock import Call, MonotonicClock, S, T
from tare_bench.driver import Accounts, Instance, Streams
from tare_bench.drivers.fake import Behaviour, FakeDriver
from tare_bench.errors import InstanceError, InstanceTimeout, TareError
from tare_bench.launch import Launch
from tare_bench.model import Accelerator, Spec
from tare_bench.wire import SocketChannel

SPEC = Spec(vcpus=1, memory=64 << 20)
SECONDS = 30.0


class Watched(SocketChannel):
    """Says when it has been read."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.read = threading.Event()

    def recv(self) -> bytes | None:
        data = super().recv()
        self.read.set()
        return data


class Thing(Instance):
    """An instance that is the other end of a socket."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.id = name
        self.driver = driver
        here, self.there = socket.socketpair()
        self.channel = Watched(here)
        self.says = b"READY 1.00\n"

    def attach(self) -> Streams:
        self.driver.does("attach", self)
        return Streams(self.channel)

    def start(self) -> None:
        self.driver.does("start", self)
        with contextlib.suppress(OSError):
            self.there.send(self.says)

    def accelerator(self) -> Accelerator:
        return "none"

    def accounts(self) -> Accounts:
        return Accounts()

    def granted(self) -> Mapping[str, str]:
        return {}

    def diagnostics(self) -> Mapping[str, bytes]:
        return {}

    def stop(self) -> None:
        pass

    def destroy(self) -> None:
        self.driver.does("destroy", self)
        self.channel.close()
        self.there.close()
        self.driver.alive.pop(self.id, None)


class Driver(FakeDriver):
    """Instances on the real clock, with something to do at each of their steps."""

    def __init__(self, steps: Mapping[str, Callable[[Thing], object]] | None = None) -> None:
        super().__init__()
        self.clock = MonotonicClock()  # type: ignore[assignment]
        self.steps = dict(steps or {})
        self.done: list[tuple[str, str]] = []
        self.alive: dict[str, Thing] = {}  # type: ignore[assignment]

    def does(self, step: str, thing: Thing) -> None:
        self.done.append((step, thing.id))
        if step in self.steps:
            self.steps[step](thing)

    def create(self, spec: Spec, *, name: str) -> Instance:
        thing = Thing(self, name)
        try:
            self.does("create", thing)
        except BaseException:
            thing.channel.close()
            thing.there.close()
            raise
        self.alive[name] = thing
        return thing


@contextlib.contextmanager
def prepared(driver: FakeDriver, count: int, seconds: float = SECONDS) -> Iterator[Launch]:
    specs = {f"n{number}": SPEC for number in range(count)}
    with launch.prepared(driver, specs, clock=driver.clock, seconds=seconds) as found:
        yield found


def started(driver: FakeDriver, count: int, seconds: float = SECONDS) -> Launch:
    with prepared(driver, count, seconds) as found:
        found.start()
    return found


def met(count: int) -> Callable[[Thing], object]:
    """A step in which all must be at the same time: where one waits for another it breaks."""
    barrier = threading.Barrier(count, timeout=SECONDS)
    return lambda thing: barrier.wait()


@pytest.mark.parametrize("step", ["create", "attach", "start", "destroy"])
def test_each_step_is_under_way_in_all_of_them_at_once(step: str) -> None:
    driver = Driver({step: met(8)})
    assert len(started(driver, 8).lives) == 8
    assert sorted(name for each, name in driver.done if each == step) == sorted(f"n{number}" for number in range(8))
    assert driver.alive == {}


def test_all_are_asked_for_before_any_is_there_and_stamped_by_themselves() -> None:
    found = started(Driver({"create": met(4)}), 4)
    assert max(live.requested_at for live in found.lives) < min(live.milestones["created"] for live in found.lives)
    for live in found.lives:
        at = live.milestones
        assert live.requested_at <= at["created"] <= at["started"] <= at["ready"]
        assert at["started"] <= at["start_returned"]
    assert 0 <= found.lag < SECONDS


def test_a_wire_is_read_while_calls_are_in_flight() -> None:
    """Its own start has not returned, and another instance is still being created."""
    read = threading.Event()

    def start(thing: Thing) -> None:
        if thing.id == "n0":
            thing.there.send(b"REA")
            assert thing.channel.read.wait(SECONDS)
            read.set()
            thing.says = b"DY 1.00\n"

    driver = Driver({"create": lambda thing: thing.id == "n0" or read.wait(SECONDS), "start": start})
    first, second = started(driver, 2).lives
    assert read.is_set()
    assert first.ready_at < first.milestones["start_returned"]
    assert first.ready_at < second.milestones["created"]


def failing(names: Sequence[str], error: Exception) -> Callable[[Thing], object]:
    def step(thing: Thing) -> None:
        if thing.id in names:
            raise error

    return step


def test_what_several_say_is_all_kept_and_nothing_of_any_stays() -> None:
    meet = met(4)
    fails = failing(("n1", "n3"), InstanceError("It is full.", details="no room"))
    driver = Driver({"create": lambda thing: (meet(thing), fails(thing))})
    with pytest.raises(InstanceError, match="2 of 4 instances failed: It is full") as caught:
        started(driver, 4)
    assert not isinstance(caught.value, InstanceTimeout)
    assert {"n1: It is full.", "n3: It is full."} <= set(caught.value.details.splitlines())
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [str(each) for each in cause.exceptions] == ["It is full.\nno room"] * 2
    assert driver.alive == {}


def test_an_error_that_no_driver_thought_of_is_one_of_ours() -> None:
    driver = Driver({"start": failing(("n0",), ValueError("odd"))})
    with pytest.raises(InstanceError, match="odd"):
        started(driver, 2)
    assert driver.alive == {}


def test_one_that_dies_fails_them_all_and_says_so() -> None:
    driver = Driver({"start": lambda thing: thing.there.shutdown(socket.SHUT_RDWR) if thing.id == "n1" else None})
    with pytest.raises(InstanceError, match="1 of 3 instances failed") as caught:
        started(driver, 3)
    assert "n1: " in caught.value.details
    assert driver.alive == {}


def test_those_that_are_late_are_a_timeout_that_counts_them() -> None:
    behaviour = Behaviour(hang_boot=(1, 2))
    driver = FakeDriver(behaviour)
    with pytest.raises(InstanceTimeout, match="2 of 3 instances failed: Not ready before its deadline"):
        started(driver, 3, seconds=5.0)
    assert driver.alive == {}


def test_what_cannot_be_destroyed_is_named_and_the_others_are_gone() -> None:
    driver = Driver({"destroy": failing(("n1", "n2"), InstanceError("The engine is on fire."))})
    with pytest.raises(InstanceError, match="2 of 4 instances could not be destroyed") as caught:
        started(driver, 4)
    assert caught.value.hint == "tare sweep"
    assert sorted(driver.alive) == ["n1", "n2"]
    for thing in list(driver.alive.values()):
        thing.channel.close()
        thing.there.close()


def test_both_errors_are_said_where_some_fail_and_others_cannot_be_destroyed() -> None:
    def fire(thing: Thing) -> None:
        thing.channel.close()
        thing.there.close()
        raise InstanceError("The engine is on fire.")

    driver = Driver({"start": failing(("n0",), InstanceError("It does not start.")), "destroy": fire})
    with pytest.raises(TareError, match="1 of 2 instances failed: It does not start") as caught:
        started(driver, 2)
    assert "on fire" in caught.value.details


class Interrupting(MonotonicClock):
    """A Ctrl-C in the next wait after something that is waited for has happened."""

    def __init__(self) -> None:
        self.due = threading.Semaphore(0)
        self.armed = False
        self.came = threading.Event()

    def select(self, sources: Sequence[S], deadline: int) -> list[S]:
        if self.armed:
            assert self.due.acquire(timeout=SECONDS)
            self.armed = False
            self.came.set()
            raise KeyboardInterrupt
        return super().select(sources, deadline)


def test_an_interrupt_lets_end_what_is_in_flight_starts_nothing_more_and_leaves_nothing() -> None:
    clock, meet = Interrupting(), met(5)

    def create(thing: Thing) -> None:
        meet(thing)
        clock.due.release()
        clock.came.wait(SECONDS)

    driver = Driver({"create": create})
    driver.clock, clock.armed = clock, True  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        started(driver, 5)
    steps = [step for step, _ in driver.done]
    assert steps.count("create") == steps.count("destroy") == 5
    assert "start" not in steps
    assert driver.alive == {}


class AtCall(MonotonicClock):
    """A Ctrl-C in the moment at which a call is begun: the one of that number, once it is counted."""

    def __init__(self, number: int) -> None:
        self.left: float = number

    def begin(self, call: Callable[[], T], known: Callable[[Call[T]], None] | None = None) -> Call[T]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().begin(call, known)


def test_an_interrupt_before_they_were_let_go_makes_none() -> None:
    driver = Driver()
    driver.clock = AtCall(3)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        started(driver, 4)
    assert driver.done == []


def test_an_interrupt_before_all_are_being_destroyed_destroys_them_all() -> None:
    driver = Driver()
    driver.clock = clock = AtCall(4 + 2)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        started(driver, 4)
    assert clock.left < 0
    assert driver.alive == {}


def test_an_interrupt_while_they_are_destroyed_leaves_nothing_either() -> None:
    clock, driver = Interrupting(), Driver()
    driver.clock = clock  # type: ignore[assignment]

    def destroy(thing: Thing) -> None:
        clock.due.release()
        clock.came.wait(SECONDS)

    def whole() -> None:
        with prepared(driver, 3) as found:
            found.start()
            driver.steps["destroy"], clock.armed = destroy, True

    with pytest.raises(KeyboardInterrupt):
        whole()
    assert clock.came.is_set()
    assert driver.alive == {}


def test_on_a_simulated_clock_they_come_one_after_the_other_and_nothing_waits_for_ever() -> None:
    driver = FakeDriver(Behaviour(spread=0.0))
    found = started(driver, 4)
    assert [round(live.since_request()["ready"], 6) for live in found.lives] == [0.14] * 4
    assert driver.alive == {}


def test_more_descriptors_than_select_can_take_are_no_obstacle() -> None:
    held = [socket.socket() for _ in range(1100)]
    try:
        assert len(started(Driver(), 3).lives) == 3
    finally:
        for each in held:
            each.close()
