"""Removes what a killed run left behind: by its lease, by the path of its own folder, and by label. Nothing else.

Processes are found by that folder's path in their arguments (a private engine, its shims, QEMU all have it there) and
by the cgroups that the lease names, and ended by pid; never by a program's name.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cgroups, leases, processes
from .leases import DeadRun, Owned

GONE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Remains:
    """One thing that a dead run left, and how it is removed."""

    run: str
    kind: str
    name: str
    remove: Callable[[], None]


def of_run(run: DeadRun) -> Iterator[Remains]:
    """What is left of a dead run, in the order in which it must go: first what runs, then what that held."""
    for pid in mentioning(run.folder):
        yield Remains(run.run, "process", str(pid), lambda pid=pid: end(pid, None))  # type: ignore[misc]
    for folder in guest_cgroups(run.run):
        yield Remains(run.run, "cgroup", str(folder), lambda folder=folder: cgroups.remove([folder]))  # type: ignore[misc]
    for thing in run.owned():
        if (remover := _remover(thing)) is not None:
            yield Remains(run.run, thing.kind, thing.name, remover)
    yield Remains(run.run, "folder", str(run.folder), run.forget)


def mentioning(folder: Path) -> list[int]:
    """Processes, but our own, that were started with a path in that folder."""
    found = []
    word = f"{folder}/".encode()
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_bytes() and pid not in _ourselves():
                found.append(pid)
    return found


def _ourselves() -> set[int]:
    import os

    pid: int | None = os.getpid()
    above = set()
    while pid:
        above.add(pid)
        pid = processes.parent(pid)
    return above


def end(pid: int, started: int | None) -> None:
    """Kill a process and wait until it has gone. Raises TimeoutError when it stays."""
    processes.kill(pid, started)
    if not processes.wait_gone(pid, started, GONE_SECONDS):
        raise TimeoutError(f"process {pid} does not end")


def guest_cgroups(run: str) -> list[Path]:
    """What the embedded driver made for guests of that run: `machine/qemu-embed-<hash>-<n>-tare-<run>-...`."""
    return [each for folder in cgroups.roots("machine") for each in folder.glob(f"qemu-embed-*tare-{run}-*")]


def _remover(thing: Owned) -> Callable[[], None] | None:
    """How it goes; None where it is gone already."""
    path = Path(thing.name)
    if thing.kind == "process":
        pid = int(thing.name)
        there = processes.start_time(pid) == thing.started
        return (lambda: end(pid, thing.started)) if there else None
    if thing.kind == "image" or not path.exists():
        return None  # an engine's is found by its labels
    if thing.kind == "cgroup":
        return lambda: cgroups.remove([path])
    if thing.kind == "empty-cgroup":
        return lambda: _rmdir_if_empty(path)
    if thing.kind == "engine-data":
        return lambda: _drop_data(path)
    if thing.kind == "file":
        return lambda: path.unlink(missing_ok=True)
    return lambda: shutil.rmtree(path)


def _drop_data(path: Path) -> None:
    """The private engines' common data: a run that is alive may have come to use them since."""
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(path)


def _rmdir_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else has come to use it
        path.rmdir()


def find() -> tuple[list[DeadRun], list[Remains]]:
    """All dead runs, locked until each is closed; what they left, and what was left by what was killed before a run."""
    dead = leases.dead_runs()
    tries = [
        Remains("none", "cgroup", str(folder), lambda folder=folder: cgroups.remove([folder]))  # type: ignore[misc]
        for folder in cgroups.left_tries()
    ]
    return dead, [thing for run in dead for thing in of_run(run)] + tries
