"""What a run owns on the host, written down before it is made: it is what `tare sweep` reads after a SIGKILL.

A run has one folder below `paths.runtime_dir()`: `lock` (held as long as the run lives), `lease.jsonl` (a line for
each thing that it is about to make), and whatever its drivers keep there. A folder whose lock is free is a dead run's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from . import paths
from .errors import TareError
from .model import Record


class Owned(Record, frozen=True, kw_only=True):
    """One thing on the host that is a run's."""

    kind: str
    """`cgroup`, `process`, `mounts`, `libvirt-root`, ..."""
    name: str
    """A path, or a pid."""
    started: int = 0
    """For a process: its start time in clock ticks since boot, so that a pid that came again is not taken for it."""


class Lease:
    """The book of one living run."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.keep = False
        """Whether something stays that only a sweep removes: then the book stays too."""
        self._lock = lock
        self._book = os.open(folder / "lease.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def own(self, kind: str, name: str | Path, started: int = 0) -> None:
        """Write down what is about to be made. Idempotent in effect: a thing may stand there twice."""
        line = msgspec.json.encode(Owned(kind=kind, name=str(name), started=started)) + b"\n"
        # No fsync: what must survive is the death of this process, not of the host, whose boot clears it all.
        os.write(self._book, line)

    def release(self) -> None:
        """The run has ended and removed what it owned: drop the book and the folder."""
        os.close(self._book)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def take(run: str) -> Lease:
    """Open a run's folder and hold its lock.

    Raises TareError when a folder of that name is there already.
    """
    base = paths.runtime_dir()
    base.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        base.chmod(0o711)
    _trusted(base)
    folder = base / run
    with _sweep_lock(base):
        try:
            folder.mkdir(mode=0o750)
        except FileExistsError:
            raise TareError(f"A run named {run} is there already.", details=str(folder), hint="tare sweep") from None
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, f"{os.getpid()}\n".encode())
    return Lease(folder, lock)


@contextlib.contextmanager
def _sweep_lock(base: Path) -> Iterator[None]:
    """Held while a run's folder appears or a dead one is judged, so that a new one is never taken for a dead one."""
    descriptor = os.open(base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class DeadRun:
    """A run that ended without tidying up. Its lock is held by us while we sweep it."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.run = folder.name
        self._lock = lock

    def owned(self) -> list[Owned]:
        """What it had written down, the latest first. A torn last line is the thing that was never made."""
        try:
            lines = (self.folder / "lease.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found: list[Owned] = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=Owned))
        return found[::-1]

    def forget(self) -> None:
        """Drop its folder. Raises OSError when something is still mounted in it."""
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Let go of its lock."""
        os.close(self._lock)


def _trusted(base: Path) -> None:
    """What stands in it names files to remove: nobody else may have made it, or be able to write into it."""
    info = base.lstat()
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o022:
        details = f"{base}: owner {info.st_uid}, mode {stat.S_IMODE(info.st_mode):04o}"
        hint = "Remove it, or name another one: TARE_RUN=FOLDER."
        raise TareError("The folder of runs is not yours alone.", details=details, hint=hint)


def dead_runs() -> list[DeadRun]:
    """Every folder whose lock is free, and locked by us from now on. `close` each.

    Raises TareError when the folder of runs could have been made up by somebody else.
    """
    base = paths.runtime_dir()
    if not base.is_dir() or not os.access(base, os.W_OK):
        return []
    _trusted(base)
    dead = []
    with _sweep_lock(base):
        for folder in sorted(entry for entry in base.iterdir() if entry.is_dir()):
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            dead.append(DeadRun(folder, lock))
    return dead


def live_runs() -> list[str]:
    """The ids of the runs that are alive now."""
    dead = dead_runs()
    try:
        names = {run.run for run in dead}
        base = paths.runtime_dir()
        return (
            [entry.name for entry in base.iterdir() if entry.is_dir() and entry.name not in names]
            if base.is_dir()
            else []
        )
    finally:
        for run in dead:
            run.close()


def alive(run: str) -> bool:
    """Whether a run of this id is going on on this host; False where that cannot be told (another user's)."""
    try:
        lock = os.open(paths.runtime_dir() / run / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def measuring(wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the host's lock for measuring: two runs that measure at once would measure each other.

    `wait` is told whose it is when it is taken; whatever it raises (a refusal) is passed on.
    """
    base = paths.runtime_dir()
    base.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(base / ".measuring", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait(os.pread(descriptor, 200, 0).decode(errors="replace").strip())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def remove_all(things: Sequence[tuple[str, Callable[[], None]]]) -> list[str]:
    """Remove each, go on past errors, and return what could not be removed and why."""
    failed = []
    for name, remove in things:
        try:
            remove()
        except Exception as error:  # noqa: BLE001 - one thing that stays must not keep the others; all are reported
            failed.append(f"{name}: {error}")
    return failed
