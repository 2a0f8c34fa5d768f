"""Runs a plan: sessions in their order, each trial an event. No printing, no files; one loop, synchronous."""

from __future__ import annotations

import contextlib
import gc
import itertools
import statistics
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from . import lifecycle, processes
from .clock import NS, Clock
from .crowd import Crowd, CrowdWorkload
from .driver import Driver
from .errors import InstanceError, InstanceTimeout, TareError
from .lifecycle import Live, Settled
from .metrics import CLOCK, FLOOR
from .metrics import STOP as STOPPED
from .model import Accelerator, Cell, Role, Sample, Spec, Status, Trial, WorkloadPlan
from .pagecache import PageCache
from .plan import BOOT, STOP, Block, Session
from .pressure import Watch
from .schedule import TOGETHER, Fixed
from .workloads import Measured, Skipped, Workload
from .workloads.sized import SizedWorkload, Sizing

SETTLE_WINDOW = 0.1
SETTLE_SHARE = 0.10
"""Of one CPU: what the host may be busy with before an instance is asked for."""
SETTLE_SECONDS = 3.0
IDLE_MOMENTS = 20
"""How many of the latest quiet moments tell how busy the host is when it is idle."""


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """An instance is about to be asked for, or to take its turn. Nothing is timed while this event is handled."""

    session: Session
    seconds_left: float
    """For this step and all that come after it."""
    workload: str = ""
    """In a block of throughput: what it is about to do, once all instances are up."""


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial is done and its record final. Nothing is timed while this event is handled."""

    trial: Trial
    artifacts: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class BlocksSkipped:
    """Blocks that were planned and would not have fitted into the time."""

    blocks: tuple[Block, ...]


Event = SessionStarted | TrialFinished | BlocksSkipped


@dataclass(slots=True)
class Runner:
    """A run in progress."""

    drivers: Mapping[str, Driver]
    """By arm."""
    accelerators: Mapping[str, Accelerator]
    """By arm: an instance that reports another one is a failed trial."""
    workloads: Mapping[str, Workload]
    schedule: Fixed
    clock: Clock
    boot_seconds: Mapping[str, float]
    """By arm: the deadline of its boots."""
    sizing: Sizing = field(default_factory=Sizing)
    pages: PageCache = field(default_factory=PageCache)
    started_at: int = 0
    _idle: deque[float] = field(default_factory=lambda: deque(maxlen=IDLE_MOMENTS))
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def elapsed(self) -> float:
        """Seconds since the first session began, by the instances' clock."""
        return (self.clock.now() - self.started_at) / NS

    def events(self) -> Generator[Event, None, None]:
        """Run it. Whatever ends the iteration early has destroyed the instance that was there."""
        self.started_at = self.clock.now()
        elapsed = iter(self.elapsed, None)
        # What was imported and loaded by now is never looked at again; what is made from now on waits for a pause.
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            for block in self.schedule.next_blocks(elapsed):
                # Closed here and now where we are: an instance may be alive in it.
                with contextlib.closing(_KINDS[block.kind](self, block)) as steps:
                    for event in steps:
                        if isinstance(event, TrialFinished):
                            self.schedule.observe(event.trial)
                        yield event
                gc.collect()
            if self.schedule.skipped:
                yield BlocksSkipped(tuple(self.schedule.skipped))
        finally:
            gc.enable()
            gc.unfreeze()

    def _one_by_one(self, block: Block) -> Generator[Event, None, None]:
        """A block of boot: an instance ends before the next one begins."""
        for session in block.sessions:
            yield SessionStarted(session, self.schedule.seconds_left(block, session.position))
            yield from self._session(session)
            processes.reap_orphans()

    def _session(self, session: Session) -> Iterator[Event]:
        began = self.clock.now()
        settle = self._settle()
        timed = dict.fromkeys([each.key for each in session.workloads], 0.0)
        pending = [WorkloadPlan(name=BOOT), *session.workloads, WorkloadPlan(name=STOP)]
        trial = _Open(self, session, pending.pop(0))
        try:
            self.pages.before(session.arm.name, self.drivers[session.arm.name], session.arm.spec, session.role)
            with self._created(session) as live:
                trial.live = live
                live.idle_rate = self._idle_rate(settle)
                lifecycle.boot(live)
                lifecycle.verify(live, self.accelerators[session.arm.name])
                yield trial.done(self.workloads[BOOT].measure(live, {}), settle.facts() | self.pages.facts)
                while len(pending) > 1:
                    trial = _Open(self, session, pending.pop(0), live)
                    at = self.clock.now()
                    yield self._trial(trial, live)
                    timed[trial.workload.key] = (self.clock.now() - at) / NS
                trial = _Open(self, session, pending.pop(0), live)
                yield trial.done(_stopped(lifecycle.stop(live)))
        except TareError as error:
            yield trial.failed(error)
            for workload in pending:
                yield _Open(self, session, workload).failed(InstanceError(f"No instance: {error.brief}"))
        except ExceptionGroup as group:
            for first in [each for each in group.exceptions if isinstance(each, TareError)][:1]:
                yield trial.failed(first)
            raise
        else:
            whole = (self.clock.now() - began) / NS
            self.schedule.estimate.observe(session.arm.name, {BOOT: whole - sum(timed.values()), **timed})

    def _idle_rate(self, settle: Settled) -> float | None:
        """How busy an idle host is: over the latest quiet moments, since a tick is a tenth of a CPU in one of them."""
        if not settle.quiet:
            return None
        self._idle.append(settle.rate)
        return statistics.fmean(self._idle)

    def _settle(self) -> Settled:
        return lifecycle.settle(self.clock, window=SETTLE_WINDOW, share=SETTLE_SHARE, seconds=SETTLE_SECONDS)

    def _created(self, session: Session) -> AbstractContextManager[Live]:
        arm = session.arm
        driver, seconds = self.drivers[arm.name], self.boot_seconds[arm.name]
        return lifecycle.created(driver, self.spec(session), name=session.name, clock=self.clock, seconds=seconds)

    def spec(self, session: Session) -> Spec:
        """The arm's, with its disk's cache mode settled: past the host's page cache where storage is measured."""
        spec = session.arm.spec
        if spec.cache != "auto":
            return spec
        direct = any(self.workloads[each.name].direct for each in session.workloads)
        return msgspec.structs.replace(spec, cache="none" if direct else "writeback")

    def _together(self, block: Block) -> Generator[Event, None, None]:
        """A block of throughput: all instances are up, and the arms of one workload take their turns back to back.

        An instance that dies fails the rest of its own trials in this block only.
        """
        sessions = {session.arm.name: session for session in block.sessions}
        with contextlib.ExitStack() as stack:
            up: dict[str, _Up] = {}
            for session in block.sessions:
                yield SessionStarted(session, self.schedule.seconds_left(block, session.position))
                up[session.arm.name] = self._start(session, stack)
            steps = [(turn.workload, arm) for turn in block.turns for arm in turn.arms]
            for done, (workload, arm) in enumerate(steps):
                yield SessionStarted(sessions[arm], self.schedule.seconds_left(block, done=done), workload.key)
                yield self._take(workload, sessions[arm], up[arm])
        processes.reap_orphans()

    def _crowds(self, block: Block) -> Generator[Event, None, None]:
        """A block of crowds: each workload starts its instances itself, arm after arm."""
        sessions = {session.arm.name: session for session in block.sessions}
        steps = [(turn.workload, arm) for turn in block.turns for arm in turn.arms]
        for done, (workload, arm) in enumerate(steps):
            session = sessions[arm]
            yield SessionStarted(session, self.schedule.seconds_left(block, done=done), workload.key)
            began = self.clock.now()
            settle = self._settle()
            trial = _Open(self, session, workload)
            try:
                measured = self._crowd(workload, session, done, settle)
                finished = trial.done(measured, settle.facts() | self.pages.facts)
            except TareError as error:
                finished = trial.failed(error)
            self.schedule.estimate.observe(arm, {workload.key: (self.clock.now() - began) / NS})
            yield finished
            processes.reap_orphans()

    def _crowd(self, planned: WorkloadPlan, session: Session, number: int, settled: Settled) -> Measured:
        workload, arm = self.workloads[planned.name], session.arm
        assert isinstance(workload, CrowdWorkload)
        self.pages.before(arm.name, self.drivers[arm.name], arm.spec, session.role)
        crowd = Crowd(
            driver=self.drivers[arm.name],
            spec=self.spec(session),
            accelerator=self.accelerators[arm.name],
            clock=self.clock,
            seconds=self.boot_seconds[arm.name],
            prefix=f"{session.name}w{number}",
            idle_rate=self._idle_rate(settled),
        )
        return workload.measure_crowd(crowd, planned.params)

    def _start(self, session: Session, stack: contextlib.ExitStack) -> _Up:
        """Have one more instance up, or know why it isn't."""
        began = self.clock.now()
        self._settle()
        up = _Up()
        try:
            up.live = stack.enter_context(self._created(session))
            lifecycle.boot(up.live)
            lifecycle.verify(up.live, self.accelerators[session.arm.name])
            up.floor = lifecycle.floor(up.live)
        except TareError as error:
            self._let_go(up, error)
        self.schedule.estimate.observe(session.arm.name, {TOGETHER: (self.clock.now() - began) / NS})
        return up

    def _take(self, workload: WorkloadPlan, session: Session, up: _Up) -> TrialFinished:
        """An arm's turn in a workload."""
        if up.lost:
            trial = _Open(self, session, workload)
            trial.live, up.live = up.live, None  # the first trial that is lost keeps the evidence
            return trial.failed(InstanceError(f"No instance: {up.lost}"))
        assert up.live is not None
        began = self.clock.now()
        trial = _Open(self, session, workload, up.live)
        trial.floor, up.floor = up.floor, None  # once for an instance
        try:
            finished = self._trial(trial, up.live)
        except TareError as error:
            self._let_go(up, error)
            return trial.failed(error)
        self.schedule.estimate.observe(session.arm.name, {workload.key: (self.clock.now() - began) / NS})
        return finished

    def _let_go(self, up: _Up, error: TareError) -> None:
        """Destroy an instance that has failed while the others stay up; what stays of it is met again at the end."""
        up.lost = error.brief
        if up.live is not None:
            lifecycle.collect_evidence(up.live)
            with contextlib.suppress(TareError):
                lifecycle.destroy(up.live)

    def _trial(self, trial: _Open, live: Live) -> TrialFinished:
        """One workload on a ready instance. Only the end of the instance ends the session too."""
        from .wire import WireGarbled, WireLost

        try:
            return trial.done(self._measure(trial.workload, live, sizing=trial.role == "warmup"))
        except (WireLost, WireGarbled):
            raise
        except TareError as error:
            if not isinstance(error, Skipped):
                lifecycle.collect_evidence(live)
            return trial.failed(error)

    def _measure(self, planned: WorkloadPlan, live: Live, *, sizing: bool) -> Measured:
        workload = self.workloads[planned.name]
        if not isinstance(workload, SizedWorkload):
            return workload.measure(live, planned.params)
        if sizing:
            measured, rate = workload.size(live, planned.params)
            self.sizing.add(planned.key, rate)
            return measured
        # Where no arm could do it in the warm-up, it now says once more why.
        work = self.sizing.work(planned.key, workload.step) or workload.first
        return workload.measure_work(live, planned.params, work)

    def trial_id(self) -> str:
        """The next trial's id."""
        return f"t{next(self._ids):04d}"


_KINDS: Mapping[str, Callable[[Runner, Block], Generator[Event, None, None]]] = {
    "boot": Runner._one_by_one,
    "throughput": Runner._together,
    "crowd": Runner._crowds,
}


@dataclass(slots=True)
class _Up:
    """An instance in a block of throughput."""

    live: Live | None = None
    lost: str = ""
    """Why it is not there, or not any more."""
    floor: float | None = None
    """What an empty command costs in it, in seconds, until a trial has that in its record."""


class _Open:
    """A trial that has begun and has no outcome yet."""

    def __init__(self, runner: Runner, session: Session, workload: WorkloadPlan, live: Live | None = None) -> None:
        self.workload = workload
        self._runner = runner
        self._session = session
        self.role: Role = session.role
        self.live = live
        self._started = datetime.now(UTC)
        self.floor: float | None = None
        self._host = Watch(runner.clock, live.accounts.cgroups if live is not None and live.accounts else ())
        self._age = None if live is None else (runner.clock.now() - live.ready_at) / NS

    def done(self, measured: Measured, facts: Mapping[str, str] | None = None) -> TrialFinished:
        if self.floor is not None:
            measured.add(FLOOR, self.floor)
        if self.live is not None and (rate := lifecycle.clock_rate(self.live)) is not None:
            measured.add(CLOCK, *rate)
        return self._finished(
            "ok", samples=measured.samples, facts={**(facts or {}), **measured.facts}, artifacts=measured.artifacts
        )

    def failed(self, error: TareError) -> TrialFinished:
        status: Status = "failed"
        if isinstance(error, InstanceTimeout):
            status = "timeout"
        elif isinstance(error, Skipped):
            status = "skipped"
        evidence = dict(self.live.evidence) if self.live is not None else {}
        if error.details and status != "skipped":
            evidence["error.txt"] = str(error).encode()
        return self._finished(status, reason=error.brief, artifacts=evidence)

    def _finished(
        self,
        status: Status,
        *,
        samples: list[Sample] | None = None,
        reason: str = "",
        facts: Mapping[str, str] | None = None,
        artifacts: Mapping[str, bytes] | None = None,
    ) -> TrialFinished:
        session, trial_id = self._session, self._runner.trial_id()
        kept = {f"artifacts/{trial_id}/{name}": data for name, data in (artifacts or {}).items()}
        trial = Trial(
            trial=trial_id,
            cell=self._cell(),
            instance=session.name if self.live is not None else "",
            age_s=self._age,
            block=session.block,
            position=session.position,
            role=self.role,
            status=status,
            started_at=self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            samples=samples or [],
            reason=reason,
            artifacts=sorted(kept),
            facts={**(facts or {}), **self._host.facts()},
        )
        return TrialFinished(trial, kept)

    def _cell(self) -> Cell:
        arm = self._session.arm
        accelerator = self._runner.accelerators[arm.name]
        return Cell(
            arm=arm.name,
            driver=arm.driver,
            accelerator=accelerator,
            workload=self.workload.name,
            params=self.workload.params,
            spec=self._runner.spec(self._session),
        )


def _stopped(seconds: float) -> Measured:
    measured = Measured()
    measured.add(STOPPED, seconds)
    return measured
