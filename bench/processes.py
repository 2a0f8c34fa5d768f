"""Processes by pid and start time: found by parentage, ended by id, reaped one by one. Never by name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Container, Iterable
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since the host's boot; None when there is no such process.

    Together with the pid it names a process for good: a pid alone comes again.
    """
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def parent(pid: int) -> int | None:
    """The pid of its parent; None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _stat(pid: int) -> list[str] | None:
    """The fields of a living process: a zombie has ended."""
    fields = _fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields


def _fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def all_pids() -> list[int]:
    """Every process that is there now."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - names only, and quickly


def descendants(pid: int) -> list[int]:
    """Children and theirs."""
    children: dict[int, list[int]] = {}
    for each in all_pids():
        if (above := parent(each)) is not None:
            children.setdefault(above, []).append(each)
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def mount_namespace(pid: int) -> str:
    """The name of a process's mount namespace; empty where it is gone or may not be read."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def kill(pid: int, started: int | None = None, signum: int = signal.SIGKILL) -> None:
    """Signal a process, if it is still the one that started then. One that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            # The pidfd is held before the start time is read: it cannot become another process in between.
            if started is None or start_time(pid) == started:
                signal.pidfd_send_signal(descriptor, signum)
        finally:
            os.close(descriptor)


def wait_gone(pid: int, started: int | None, seconds: float | None) -> bool:
    """Wait, without polling, until that process has ended; reap it when it is our child.

    False at the deadline; without one (None) it waits for ever.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if started is not None and start_time(pid) not in (started, None):
            return True
        ended = readable(descriptor, seconds)
    finally:
        os.close(descriptor)
    if ended:
        reap([pid])
    return ended


def readable(descriptor: int, seconds: float | None) -> bool:
    """Wait until there is something to read; None: for ever. By poll: select knows no descriptor beyond 1023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def reap(pids: Iterable[int]) -> None:
    """Collect those of the ended processes that are our children. By pid, never whatever comes."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def reap_orphans(keep: Container[int] = ()) -> None:
    """Collect ended processes that were handed to us as subreaper: a container's shim, say. By pid, but those kept.

    Only while no child that we started ourselves is about to end: its own waiter must find it.
    """
    ours = os.getpid()
    for pid in all_pids():
        if pid not in keep and (fields := _fields(pid)) is not None and fields[0] == "Z" and int(fields[1]) == ours:
            reap([pid])


def become_subreaper() -> None:
    """Have orphans of ours handed to this process rather than to PID 1, which may take seconds to reap them."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
