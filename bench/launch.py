"""Many instances asked for at once: a thread each, let go together, and one loop that reads them all.

What can be made before is made before: threads, their sockets, the records. Each thread then makes its engine's calls
one after the other without coming back, and stamps them. Only the wires are read by one loop, in the main thread,
which an interrupt reaches. Python runs one thread at a time: how late the loop was is measured on the calls' own
returns, which are stamped at both ends (`Launch.lag`).
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from .clock import NS, Call, Clock, Source, let_end, outcome
from .driver import Driver
from .errors import InstanceError, InstanceTimeout, TareError
from .lifecycle import DESTROY_SECONDS, Live
from .model import Spec
from .wire import Wire

SWITCH = 1e-4
"""Seconds after which a thread that computes makes room for another, while instances start; else 50 times as long."""


@dataclass(slots=True)
class Launch:
    """Instances that were asked for at once."""

    driver: Driver
    clock: Clock
    seconds: float
    """The deadline of their boots, from the release on."""
    lives: list[Live]
    lag: float = 0.0
    """Seconds that the loop took to see a call's return, at worst: as late may `ready` have been stamped."""
    _specs: Mapping[str, Spec] = field(default_factory=dict)
    _calls: dict[str, Call[None]] = field(default_factory=dict)
    """By instance: those that have not ended, or whose outcome nobody has taken."""
    _errors: list[tuple[str, Exception]] = field(default_factory=list)
    _given_up: threading.Event = field(default_factory=threading.Event)
    _gate: threading.Event = field(default_factory=threading.Event)
    _news: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    """Written to when an instance has a wire: from then on the loop waits for that, too."""

    def __post_init__(self) -> None:
        for each in self._news:
            each.setblocking(False)

    def start(self) -> None:
        """Let them all go, and return when all are ready and their starts have returned.

        Raises TareError with what each of those says that failed; the others are then not waited for.
        """
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:
            self._release()
            deadline = self.clock.now() + int(self.seconds * NS)
            while (self._calls or self._silent()) and self._read(deadline):
                pass
        finally:
            sys.setswitchinterval(interval)
        if self._errors:
            self._give_up()
            raise joined(self._errors, len(self.lives))
        for live in self.lives:
            assert live.wire is not None
            live.milestones["ready"], uptime = live.wire.ready(live.deadline)
            live.uptimes.append((live.ready_at, uptime))

    def _release(self) -> None:
        if not self.clock.beside:
            self._gate.set()
        for live in self.lives:
            self.clock.begin(partial(self._bring_up, live), partial(self._calls.__setitem__, live.name))
        self._gate.set()

    def _bring_up(self, live: Live) -> None:
        """An instance's own thread."""
        self._gate.wait()
        if self._given_up.is_set():
            return
        clock = self.clock
        live.requested_at = clock.now()
        live.deadline = live.requested_at + int(self.seconds * NS)
        live.instance = self.driver.create(self._specs[live.name], name=live.name)
        live.milestones["created"] = clock.now()
        if self._given_up.is_set():
            return
        streams = live.instance.attach()
        live.wire = Wire(streams, clock, live.console)
        live.milestones["started"] = clock.now()
        self._news[1].send(b".")
        live.instance.start()
        live.milestones["start_returned"] = clock.now()

    def _silent(self) -> bool:
        return any(live.wire is None or live.wire.first_byte_at is None for live in self.lives)

    def _read(self, deadline: int) -> bool:
        """Wait for what comes next of any of them, and take it; False when one has failed."""
        wired = [(live, live.wire, live.wire.sources()) for live in self.lives if live.wire is not None]
        sources: list[Source] = [each for _, _, of_wire in wired for each in of_wire]
        sources += [*self._calls.values(), *([self._news[0]] if self._calls else [])]
        readable = self.clock.select(sources, deadline)
        seen_at = self.clock.now()
        if not readable:
            late = [live.name for live in self.lives if live.wire is None or live.wire.first_byte_at is None]
            self._errors += [(name, InstanceTimeout("Not ready before its deadline.")) for name in late]
            return False
        for live, wire, of_wire in wired:
            if there := [each for each in of_wire if each in readable]:
                with self._kept(live.name):
                    wire.take(there)
        if self._news[0] in readable:
            with contextlib.suppress(BlockingIOError):
                self._news[0].recv(4096)
        for name, call in [item for item in self._calls.items() if item[1] in readable]:
            self.lag = max(self.lag, (seen_at - (call.returned_at or seen_at)) / NS)
            self._take(name)
        return not self._errors

    def _take(self, name: str) -> None:
        call = self._calls.pop(name)
        with self._kept(name), contextlib.closing(call):
            outcome(call)

    @contextlib.contextmanager
    def _kept(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - kept with the others', and raised with them
            self._errors.append((name, error))

    def _give_up(self) -> None:
        """Begin nothing more, and let what is in flight end: what it works on is about to be destroyed."""
        self._given_up.set()
        self._gate.set()
        for name, call in list(self._calls.items()):
            if not call.began:
                # interrupted while it was being started: it is given a moment, and makes nothing any more
                self.clock.select([call], self.clock.now() + NS)
            let_end(self.clock, call, DESTROY_SECONDS)
            self._take(name)

    def destroy(self) -> None:
        """Leave nothing of any of them. Raises TareError with all that stayed."""
        self._give_up()
        for live in self.lives:
            if live.wire is not None:
                live.wire.close()
                live.wire = None
        failed: list[tuple[str, Exception]] = []
        calls: list[tuple[Live, Call[None]]] = []
        try:
            for live, instance in [(each, each.instance) for each in self.lives if each.instance is not None]:
                calls.append((live, self.clock.begin(instance.destroy)))
            deadline = self.clock.now() + int(DESTROY_SECONDS * NS)
            for live, call in calls:
                self.clock.select([call], deadline)
                try:
                    outcome(call)
                    live.instance = None
                except Exception as error:  # noqa: BLE001 - kept with the others'
                    failed.append((live.name, error))
        finally:
            for _, call in calls:
                let_end(self.clock, call)
                call.close()
        if failed:
            raise joined(failed, len(self.lives), "could not be destroyed", hint="tare sweep")

    def close(self) -> None:
        """Close what was made beside the instances."""
        for each in self._news:
            each.close()


@contextlib.contextmanager
def prepared(driver: Driver, specs: Mapping[str, Spec], *, clock: Clock, seconds: float) -> Iterator[Launch]:
    """Instances that `start` asks for at once, by name; destroyed at the end whatever happens.

    `seconds` is each boot's deadline. Raises TareError with all that failed where several did.
    """
    now = clock.now()
    lives = [Live(name=name, clock=clock, requested_at=now, deadline=now) for name in specs]
    with contextlib.closing(Launch(driver, clock, seconds, lives, _specs=specs)) as launch:
        try:
            yield launch
        except BaseException as error:
            _destroy_after(launch, error)
            raise
        else:
            _destroy(launch)


def _destroy(launch: Launch) -> None:
    try:
        launch.destroy()
    except KeyboardInterrupt:
        launch.destroy()  # idempotent: whatever the interrupt fell upon, nothing of it stays
        raise


def _destroy_after(launch: Launch, error: BaseException) -> None:
    try:
        _destroy(launch)
    except TareError as second:
        if isinstance(error, TareError):
            raise InstanceError(error.brief, details=f"{error}\n{second}", hint=second.hint) from error
        error.add_note(f"Instances could not be destroyed: {second}")


def joined(errors: Sequence[tuple[str, Exception]], count: int, what: str = "failed", *, hint: str = "") -> TareError:
    """The errors of several instances as one, an InstanceTimeout where none was anything else."""
    late = all(isinstance(error, InstanceTimeout) for _, error in errors)
    kind = InstanceTimeout if late else InstanceError
    first = errors[0][1]
    words = first.brief if isinstance(first, TareError) else f"{type(first).__name__}: {first}"
    brief = f"{len(errors)} of {count} instances {what}: {words}"
    found = kind(brief, details="\n".join(f"{name}: {error}" for name, error in errors), hint=hint)
    found.__cause__ = ExceptionGroup(brief, [error for _, error in errors])
    return found


def leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The errors that a group holds, at whatever depth."""
    found: list[Exception] = []
    for each in group.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
