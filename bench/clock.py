"""The host's time: the one clock that stamps everything, and the one place that waits.

Whatever waits does so through a `Clock`, so that the fake driver can run a whole plan on a clock of its own.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from .errors import InstanceError, InstanceTimeout, TareError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NS = 1_000_000_000

IN_FLIGHT_SECONDS = 20
"""What a call to an engine gets to end when we are interrupted."""


class Source(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """The descriptor that becomes readable; a fake's source is known to its own clock and has none."""


S = TypeVar("S", bound=Source)


class Call(Protocol[T_co]):
    """A call in flight: readable as a source when it has ended."""

    def fileno(self) -> int: ...
    @property
    def began(self) -> bool:
        """Whether it is running or has run."""

    @property
    def returned_at(self) -> int | None:
        """When it returned, in nanoseconds; None while it runs."""

    def result(self) -> T_co:
        """What it returned; raises what it raised. Only once it has ended."""

    def close(self) -> None: ...


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    @property
    def beside(self) -> bool:
        """Whether calls run beside each other and the main thread; on a simulated clock each ends as it begins."""

    def now(self) -> int:
        """Nanoseconds on the host's CLOCK_MONOTONIC."""

    def select(self, sources: Sequence[S], deadline: int) -> list[S]:
        """Wait until one of the sources is readable, or the deadline (in nanoseconds) has come: then []."""

    def begin(self, call: Callable[[], T], known: Callable[[Call[T]], None] | None = None) -> Call[T]:
        """Start a call that may block (an SDK's) beside the main thread, which stays interruptible.

        `known` is handed the call before it starts: an interrupt in the very moment of starting must not lose it.
        """

    def busy(self) -> float | None:
        """Host CPU seconds spent so far, all CPUs, less those of this process; None where it is not known."""

    def totals(self, groups: Sequence[Path] = ()) -> Mapping[str, float]:
        """The host's counters of now, and those of these control groups, as `pressure.read` names them."""


class WorkerCall(Generic[T]):
    """A call in a thread of its own. A thread, since SDKs block in C where no signal is seen before they return."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._readable, self._done = socket.socketpair()
        self._call = call
        self._value: list[T] = []
        self._error: BaseException | None = None
        self.returned_at: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="sdk call")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def began(self) -> bool:
        return self._thread.ident is not None

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller by result(), never lost
            self._error = error
        finally:
            self.returned_at = time.monotonic_ns()
            self._done.close()

    def fileno(self) -> int:
        return self._readable.fileno()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._value:
            raise InstanceTimeout("A call to the engine has not returned.")
        return self._value[0]

    def close(self) -> None:
        self._readable.close()


class MonotonicClock:
    """The real one."""

    beside = True

    def now(self) -> int:
        return time.monotonic_ns()

    def select(self, sources: Sequence[S], deadline: int) -> list[S]:
        with selectors.DefaultSelector() as selector:
            for source in sources:
                selector.register(source.fileno(), selectors.EVENT_READ, source)
            left = max(0.0, (deadline - self.now()) / NS)
            return [key.data for key, _ in selector.select(left)]

    def begin(self, call: Callable[[], T], known: Callable[[Call[T]], None] | None = None) -> Call[T]:
        worker = WorkerCall(call)
        if known is not None:
            known(worker)
        worker.start()
        return worker

    def busy(self) -> float | None:
        from .hostfacts import busy_seconds

        return busy_seconds()

    def totals(self, groups: Sequence[Path] = ()) -> Mapping[str, float]:
        from .pressure import read

        return read(groups)


def finish(clock: Clock, call: Callable[[], T], deadline: int, *, what: str) -> T:
    """Make a blocking call and wait for it, interruptibly.

    Raises InstanceTimeout, naming `what`, when the deadline comes first: the call is then left to end by itself.
    """
    running = clock.begin(call)
    try:
        if not clock.select([running], deadline):
            raise InstanceTimeout(f"{what} did not return before its deadline.")
        return outcome(running)
    except KeyboardInterrupt:
        let_end(clock, running)
        raise
    finally:
        running.close()


def outcome(call: Call[T]) -> T:
    """What a driver's call returned. What it raised is an InstanceError, also where the driver did not think of it."""
    try:
        return call.result()
    except TareError:
        raise
    except Exception as error:
        raise InstanceError(f"A driver's call failed: {type(error).__name__}.", details=str(error)) from error


def let_end(clock: Clock, call: Call[T], seconds: float = IN_FLIGHT_SECONDS) -> None:
    """Wait for a call that is in flight: what it works on is about to be destroyed, and must not be under its feet."""
    if call.returned_at is None:
        clock.select([call], clock.now() + int(seconds * NS))


def sleep_until(clock: Clock, deadline: int) -> None:
    """Wait for a moment that is a definition (idle memory is read at READY + 1.0 s), not for something to happen."""
    none: Iterable[Source] = ()
    clock.select(list(none), deadline)
