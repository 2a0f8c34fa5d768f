"""What the host's page cache holds of files, and having it hold nothing of them: what warm and cold mean here.

By file, never by the host's `drop_caches`: what else is cached belongs to others. What an instance starts from and
what it has written is dropped; the programs that start it (an engine's, QEMU's) are not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import footprint
from .driver import Driver, Imaged
from .errors import DriverUnavailable
from .lifecycle import Live
from .metrics import RESIDENT
from .model import Role, Spec
from .workloads import Skipped, accounts

COLD_SHARE = 0.02
"""Of the bytes that files have on disk: what of them may be in memory, and they are cold."""
TRIES = 3
"""A page that is just being read or written stays in memory once."""
IN_GUEST_SECONDS = 60.0

INSTANCE, GUEST = "its files in page cache", "its files in the guest's page cache"
"""Facts of a trial of storage."""


@dataclass(frozen=True, slots=True)
class Residency:
    """How much of some files the page cache holds, in bytes."""

    resident: int
    allocated: int
    """On disk: what has no blocks is never read from there."""

    @property
    def share(self) -> float:
        """From 0 to 1. Holes that were read are resident too."""
        return min(1.0, self.resident / self.allocated) if self.allocated else 0.0

    def __str__(self) -> str:
        return f"{self.share:.1%} of {self.allocated / 1e6:.1f} MB"


def residency(paths: Iterable[Path]) -> Residency:
    """Of files, and of all that are in folders, by mincore(2).

    Raises PermissionError where a folder cannot be read, or a file is another user's: the kernel tells nothing of it.
    """
    resident = allocated = 0
    for descriptor, seen in _opened(paths):
        if os.geteuid() not in (0, seen.st_uid):
            raise PermissionError(errno.EPERM, "what the page cache holds of another user's files needs root")
        resident += _resident(descriptor, seen.st_size)
        allocated += seen.st_blocks * 512
    return Residency(resident, allocated)


def drop(paths: Iterable[Path]) -> None:
    """Write back what is dirty, and have the page cache give up what it holds of these files (posix_fadvise(2))."""
    os.sync()
    for descriptor, _ in _opened(paths):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def dropped(paths: Sequence[Path], *, what: str) -> Residency:
    """Drop them and see that they are gone; what is left.

    Raises DriverUnavailable, naming `what`, where they stay or the kernel doesn't tell.
    """
    try:
        for _ in range(TRIES):
            drop(paths)
            left = residency(paths)
            if left.share <= COLD_SHARE:
                return left
    except PermissionError as error:
        raise DriverUnavailable(
            f"{what} cannot be seen to be cold.", details=str(error), hint="Run it as root, or without the cold arm."
        ) from error
    raise DriverUnavailable(
        f"{what} stays in the page cache.",
        details=f"{left} after {TRIES} tries",
        hint="Its file system is memory (tmpfs), or something else has it mapped: another guest its kernel, another "
        "process its programs. TARE_CACHE names another folder.",
    )


def _opened(paths: Iterable[Path]) -> Iterator[tuple[int, os.stat_result]]:
    """Each regular file with something in it, open for reading."""
    for path in paths:
        for each in footprint.walk(path):
            with contextlib.suppress(FileNotFoundError):
                seen = each.lstat()
                if not stat.S_ISREG(seen.st_mode) or not seen.st_size:
                    continue
                descriptor = os.open(each, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    yield descriptor, seen
                finally:
                    os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


def _resident(descriptor: int, size: int) -> int:
    """Bytes of a file that are in memory. Mapping it reads nothing. Raises OSError."""
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        if _libc.mincore(address, size, pages):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        _libc.munmap(address, size)
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


@dataclass(slots=True)
class PageCache:
    """What of the arms' images is in memory when an instance is asked for: nothing of a cold arm's."""

    facts: dict[str, str] = field(default_factory=dict)
    """Of the instance that was asked for last; a warm arm's are read once, in its first measured boot."""
    _read: set[str] = field(default_factory=set)

    def before(self, arm: str, driver: Driver, spec: Spec, role: Role) -> None:
        """An instance of that arm is about to be asked for. Raises DriverUnavailable as `cold_image` does."""
        self.facts = {}
        if spec.page_cache == "cold":
            self.facts = {RESIDENT: str(cold_image(driver))}
        elif role == "measured" and arm not in self._read and isinstance(driver, Imaged):
            self._read.add(arm)
            self.facts = {RESIDENT: _told(driver)}


def _told(driver: Imaged) -> str:
    try:
        return str(residency(driver.image_files()))
    except (DriverUnavailable, OSError) as error:
        return f"not known: {error.strerror if isinstance(error, OSError) else error.details}"


def cold_image(driver: Driver) -> Residency:
    """Have nothing in memory of what a driver's instances start from, and see that it is so.

    Raises DriverUnavailable where that cannot be seen: not root, an engine on another host, a file system in memory.
    """
    if not isinstance(driver, Imaged):
        raise DriverUnavailable(
            f"The driver {driver.name} cannot start cold.",
            details="It does not say which files its instances start from.",
            hint='Take `page_cache = "warm"` for its arms.',
        )
    return dropped(driver.image_files(), what=f"The image of {driver.name}")


def cold_storage(live: Live) -> dict[str, str]:
    """Have nothing in memory of what a cold arm's instance has written: in the guest first, then on the host.

    Returns what was seen, for the trial's facts: none for a warm arm. Raises Skipped where it cannot be seen, and
    DriverUnavailable where it stays.
    """
    if not live.cold:
        return {}
    facts = {GUEST: str(_drop_in_guest(live))} if live.accelerator in ("kvm", "tcg") else {}
    files = accounts(live).files
    if not files:
        raise Skipped("Not cold: which files on the host are the instance's is not known, or needs root.")
    return facts | {INSTANCE: str(dropped(files, what="What the instance has written"))}


def _drop_in_guest(live: Live) -> Residency:
    """A guest has a kernel of its own, whose caches nobody else uses; a container's is the host's."""
    live.run("sync; echo 3 >/proc/sys/vm/drop_caches", seconds=IN_GUEST_SECONDS).checked()
    answer = live.run("fincore -b -n -r -o RES,SIZE -- * 2>&1", seconds=IN_GUEST_SECONDS)
    if answer.status:
        why = answer.stdout.decode(errors="replace").strip()[-200:]
        raise Skipped(f"Not cold: in the guest it cannot be seen without `fincore` (util-linux). {why}".strip())
    rows = [line.split() for line in answer.stdout.decode().splitlines()]
    left = Residency(sum(int(row[0]) for row in rows), sum(int(row[1]) for row in rows))
    if left.share > COLD_SHARE:
        raise DriverUnavailable("What the guest has written stays in its page cache.", details=str(left))
    return left
