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
    """What the handler knows: whether it has been asked before."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self.tidying = True
        """False where a second signal has nothing to cut short."""

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.seen is None:
            self.seen = signum
            raise Interrupted(signum)
        if self.tidying:
            words = b"\nStopped tidying up. What is left behind is removed by: tare sweep\n"
            with contextlib.suppress(OSError):
                os.write(2, words)
            # Not sys.exit: that would run the very clean-ups that are to be cut short, and wait for calls in flight.
            os._exit(128 + signum)


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
