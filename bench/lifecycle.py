"""One instance's life: created, attached, started, ready, destroyed; every milestone stamped on the host's clock.

`created()` destroys whatever happens. Calls to an engine run beside the main thread, so that a Ctrl-C is seen at once;
what is in flight is then let end before the instance is destroyed.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import network, pressure
from .clock import NS, Call, Clock, finish, let_end, outcome, sleep_until
from .driver import Accounts, Creator, Instance
from .errors import InstanceError, InstanceTimeout
from .guest import INIT_MARKER
from .model import Accelerator, Spec
from .wire import Answer, ConsoleLog, Wire, WireLost

DESTROY_SECONDS = 60.0
FLOOR_RUNS = 3
CLOCK_SPAN = 3.0
"""Seconds that the messages of an instance must span for its clock to be judged."""
UPTIME_STEP = 0.01
"""Seconds: what /proc/uptime can tell apart."""


@dataclass(slots=True)
class Live:
    """An instance that was asked for, and what is known of it so far. Stamps are nanoseconds, one clock."""

    name: str
    clock: Clock
    requested_at: int
    deadline: int
    creating: Call[Instance] | None = None
    instance: Instance | None = None
    wire: Wire | None = None
    console: ConsoleLog = field(default_factory=lambda: ConsoleLog(INIT_MARKER))
    milestones: dict[str, int] = field(default_factory=dict)
    """By metric name without `boot.`; one that a technology doesn't have is not here."""
    uptimes: list[tuple[int, float]] = field(default_factory=list)
    """The host's clock (ns) and the instance's uptime (s) at each message."""
    floor: float | None = None
    """Seconds that an empty command takes in it, once that was measured."""
    accelerator: Accelerator = "none"
    evidence: dict[str, bytes] = field(default_factory=dict)
    prepared: set[str] = field(default_factory=set)
    """What workloads have set up in it."""
    accounts: Accounts | None = None
    """Where its cost is to be read, once that was asked for."""
    cold: bool = False
    """Whether nothing of its files is to be in memory where that matters."""
    idle_rate: float | None = None
    """CPU seconds a second that the idle host spends; None where it was not quiet just before: no `boot.cpu` then."""
    busy_at_request: float | None = None
    boot_cpu: float | None = None
    """Host CPU seconds from the request to the first command; None where they cannot be told."""

    @property
    def ready_at(self) -> int:
        """When it was ready. Raises KeyError before."""
        return self.milestones["ready"]

    def since_request(self) -> dict[str, float]:
        """Each milestone in seconds from the request."""
        return {name: (at - self.requested_at) / NS for name, at in self.milestones.items()}

    def run(self, command: str, *, seconds: float) -> Answer:
        """Run a command in it. Raises as `Wire.run` does."""
        assert self.wire is not None
        answer = self.wire.run(command, seconds=seconds)
        self.uptimes.append((answer.done_at, answer.uptime))
        return answer


@contextlib.contextmanager
def created(driver: Creator, spec: Spec, *, name: str, clock: Clock, seconds: float) -> Iterator[Live]:
    """An instance that exists and has not run, destroyed at the end whatever happens.

    `seconds` is the boot's deadline, from the request on. Raises InstanceError when it cannot be made. An error in
    the body and one in destroying are both kept, as an ExceptionGroup where there are two.
    """
    now = clock.now()
    live = Live(
        name=name, clock=clock, requested_at=now, deadline=now + int(seconds * NS), busy_at_request=clock.busy(),
        cold=spec.page_cache == "cold",
    )  # fmt: skip
    try:
        _create(driver, spec, live)
        yield live
    except BaseException as error:
        _destroy_after(live, error)
        raise
    else:
        try:
            destroy(live)
        except KeyboardInterrupt:
            destroy(live)  # idempotent: whatever the interrupt fell upon, nothing of it stays
            raise


def _create(driver: Creator, spec: Spec, live: Live) -> None:
    def known(call: Call[Instance]) -> None:
        live.creating = call

    call = live.clock.begin(lambda: driver.create(spec, name=live.name), known)
    if not live.clock.select([call], live.deadline):
        raise InstanceTimeout("The instance was not created before its deadline.")
    _settle(live)


def _settle(live: Live) -> None:
    """Take what creating has yielded; where we were interrupted in the middle, let it end first."""
    call = live.creating
    if call is None:
        return
    if not call.began:
        live.clock.select([call], live.clock.now() + NS)
        if not call.began:
            return  # interrupted before it was started: nothing was made
    if call.returned_at is None:
        live.clock.select([call], live.clock.now() + int(DESTROY_SECONDS * NS))
    try:
        live.instance = outcome(call)
        live.milestones["created"] = call.returned_at or live.clock.now()
    finally:
        live.creating = None
        call.close()


def boot(live: Live) -> None:
    """Attach, start, and wait until it is ready and has answered its first command.

    Raises InstanceTimeout, InstanceError with the console's end in its details.
    """
    instance, clock = live.instance, live.clock
    assert instance is not None
    streams = finish(clock, instance.attach, live.deadline, what="Attaching")
    live.wire = Wire(streams, clock, live.console)
    live.milestones["started"] = clock.now()
    starting = clock.begin(instance.start)
    try:
        try:
            live.milestones["ready"], uptime = live.wire.ready(live.deadline, starting)
        except WireLost:
            # Where the start failed, it says why; the end of the wire only says that.
            let_end(clock, starting)
            outcome(starting)
            raise
        live.uptimes.append((live.milestones["ready"], uptime))
        live.milestones["first_command"] = live.run("true", seconds=30).checked().done_at
        _account_cpu(live, "first_command")
        if not clock.select([starting], live.deadline):
            raise InstanceTimeout("The start did not return before the boot's deadline.")
        outcome(starting)
        live.milestones["start_returned"] = starting.returned_at or clock.now()
        if instance.address:
            live.milestones["network"] = _see_network(live, instance.address)
            _account_cpu(live, "network")
    finally:
        let_end(clock, starting)
        starting.close()
    if live.console.first_byte_at is not None:
        live.milestones["kernel"] = live.console.first_byte_at
    if live.console.marker_at is not None:
        live.milestones["init"] = live.console.marker_at


def _see_network(live: Live, address: str) -> int:
    """When its network was seen to be up, from inside. Raises InstanceError with the devices that it has instead."""
    answer = live.run(network.seen_inside(address), seconds=30)
    if answer.status:
        devices = answer.stdout.decode(errors="replace")
        raise InstanceError("The instance's network is not up.", details=f"{address}; devices:\n{devices}")
    return answer.done_at


def _account_cpu(live: Live, until: str) -> None:
    """The change of the host's busy time, less this program's own and less what the host did before anyway."""
    busy = live.clock.busy()
    if busy is not None and live.busy_at_request is not None and live.idle_rate is not None:
        elapsed = (live.milestones[until] - live.requested_at) / NS
        spent = busy - live.busy_at_request - live.idle_rate * elapsed
        live.boot_cpu = spent if spent > 0 else None  # less than the clock's tick can tell is not a zero


@dataclass(frozen=True, slots=True)
class Settled:
    """What the host was busy with before an instance was asked for."""

    rate: float
    """CPU seconds a second, over the last window; 0 where it isn't known."""
    quiet: bool
    waited: float
    """Seconds."""
    stalled: Mapping[str, float] = field(default_factory=dict)
    """The share of the last window in which some task waited for CPU, memory or IO; empty where that isn't known."""

    def facts(self) -> dict[str, str]:
        """For the trial's record, where it was not quiet at once."""
        if self.quiet:
            return {}
        stalls = [f"stalled on {name} {share:.0%} of the time" for name, share in self.stalled.items() if share >= 0.01]
        return {"not settled": ", ".join([f"{self.rate:.2f} CPUs busy", *stalls]) + f" after {self.waited:.1f} s"}


def settle(clock: Clock, *, window: float, share: float, seconds: float) -> Settled:
    """Wait until the host is busy with at most that share of a CPU over a window, at most that many seconds, and until
    no task waits for CPU, memory or IO for more than that share of the window.

    By /proc/stat and the totals of PSI, and never by averages, which tell of seconds or minutes ago.
    """
    began = clock.now()
    while True:
        at, busy, before = clock.now(), clock.busy(), clock.totals()
        sleep_until(clock, at + int(window * NS))
        after = clock.busy()
        passed, waited = (clock.now() - at) / NS, (clock.now() - began) / NS
        stalled = pressure.stalls(before, clock.totals(), passed)
        rate = 0.0 if busy is None or after is None else max(0.0, after - busy) / passed
        quiet = max([rate, *stalled.values()]) <= share
        if quiet or waited >= seconds:
            return Settled(rate, quiet, waited, stalled)


def read_back(live: Live) -> Accelerator:
    """What accelerates it, by its own monitor. Untimed."""
    assert live.instance is not None
    live.accelerator = finish(live.clock, live.instance.accelerator, live.clock.now() + 20 * NS, what="The monitor")
    return live.accelerator


def verify(live: Live, planned: Accelerator) -> None:
    """Raises InstanceError where an instance reports another accelerator than the plan's. Untimed."""
    seen = read_back(live)
    if planned != seen:
        raise InstanceError(f"The instance is accelerated by {seen}; the plan says {planned}.")


def floor(live: Live) -> float:
    """What an empty command costs, in seconds, for this instance: one value, since those within it are correlated."""
    live.floor = statistics.median(live.run("true", seconds=30).checked().seconds for _ in range(FLOOR_RUNS))
    return live.floor


def clock_rate(live: Live) -> tuple[float, float] | None:
    """How fast the instance's clock runs by the host's, and how far that may be off.

    Uptimes come in 10 ms steps, and a message may be read as late as an empty command takes.

    The slope is the median of those of all pairs of messages that are at least half of the span apart (Theil and Sen's
    without the short ones): a message that a busy host read late moves a fitted line, and not this. None below
    CLOCK_SPAN seconds.
    """
    stamps = [(at / NS, uptime) for at, uptime in live.uptimes]
    span = stamps[-1][0] - stamps[0][0] if stamps else 0.0
    if span < CLOCK_SPAN:
        return None
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(stamps, 2)
        if later[0] - earlier[0] >= span / 2
    ]
    return statistics.median(slopes), (UPTIME_STEP + (live.floor or 0.0)) / span


def stop(live: Live, *, seconds: float = DESTROY_SECONDS) -> float:
    """Kill it and return the seconds from asking to the end of file on its wire.

    Raises InstanceTimeout when the end doesn't come, and what the engine's call raised.
    """
    assert live.instance is not None
    assert live.wire is not None
    asked_at = live.clock.now()
    deadline = asked_at + int(seconds * NS)
    call = live.clock.begin(live.instance.stop)
    try:
        ended_at = live.wire.wait_end(deadline)
        if not live.clock.select([call], deadline):
            raise InstanceTimeout("The call that kills the instance did not return.")
        outcome(call)
    finally:
        let_end(live.clock, call)
        call.close()
    return (ended_at - asked_at) / NS


def destroy(live: Live) -> None:
    """Leave nothing of it. Raises InstanceError with what stayed."""
    with contextlib.suppress(Exception):  # an instance that was never made is the error that brought us here
        _settle(live)
    if live.wire is not None:
        live.wire.close()
        live.wire = None
    if live.instance is not None:
        deadline = live.clock.now() + int(DESTROY_SECONDS * NS)
        finish(live.clock, live.instance.destroy, deadline, what="Destroying the instance")
        live.instance = None


def collect_evidence(live: Live) -> None:
    """What a failed trial keeps: the console, and what the driver knows. Never raises."""
    evidence: dict[str, bytes] = {}
    if live.console.text:
        evidence["console.log"] = bytes(live.console.text)
    if live.instance is not None:
        diagnostics: Mapping[str, bytes] = {}
        with contextlib.suppress(Exception):  # evidence is a help: to have none must not hide the failure itself
            deadline = live.clock.now() + 10 * NS
            diagnostics = finish(live.clock, live.instance.diagnostics, deadline, what="Collecting the evidence")
        evidence |= diagnostics
    live.evidence = evidence


def _destroy_after(live: Live, error: BaseException) -> None:
    if isinstance(error, Exception):
        collect_evidence(live)
    try:
        destroy(live)
    except Exception as second:  # noqa: BLE001 - both are kept
        if isinstance(error, Exception):
            raise ExceptionGroup("An instance failed, and could not be destroyed either.", [error, second]) from None
        error.add_note(f"Its instance could not be destroyed: {second}")  # an interrupt stays an interrupt
