"""Signals that end a run: the first one tidies up and renders what is there, the second one does not wait for that."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked us to end. A KeyboardInterrupt, so that no `except Exception` on the way swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_status = 128 + signum


class Guard:
    """What the handler knows: whether it has been asked before, and whether it is to wait with the answer."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self._deferring = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.seen is None:
            self.seen = signum
            if not self._deferring:
                raise Interrupted(signum)
            return
        words = b"\nStopped tidying up. What is left behind is removed by: tare sweep\n"
        with contextlib.suppress(OSError):
            os.write(2, words)
        # Not sys.exit: that would run the very clean-ups that are to be cut short, and wait for calls in flight.
        os._exit(128 + signum)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within it a first signal only takes effect at the end: what closes an engine, or renders, is let finish.

        Raises Interrupted at the end where one came and nothing else is being raised.
        """
        before = self.seen
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if before is None and self.seen is not None:
            raise Interrupted(self.seen)


@contextlib.contextmanager
def guarded() -> Iterator[Guard]:
    """Within it SIGINT, SIGTERM and SIGHUP raise Interrupted once, and end the process at once when they come again."""
    guard = Guard()
    before = {each: signal.signal(each, guard.handle) for each in ENDING}
    try:
        yield guard
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
