"""What an instance holds of the host, from pids, cgroups and files: the same code for every technology."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroups
from .driver import Accounts


@dataclass(frozen=True, slots=True)
class Process:
    """One process that exists because of an instance, and what it holds."""

    part: str
    """What it is of the instance: see `driver.Part`."""
    name: str
    bytes: Mapping[str, int]
    """As `rollup` has them; those of a VMM with `guest` and `translated` beside, see `mapped`."""


@dataclass(slots=True)
class MemoryReading:
    """Bytes, by row (`pss`, `uss`, `anon`, `file`, `shmem`, `kernel`, `peak`); one that cannot be had is not there."""

    rows: dict[str, int] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    unreadable: int = 0
    """Processes whose memory this user may not read: then there is no row for processes at all."""

    def parts(self) -> dict[str, dict[str, int]]:
        """The processes' bytes summed by part, with the `number` of processes; empty where one is unreadable."""
        found: dict[str, dict[str, int]] = {}
        for process in [] if self.unreadable else self.processes:
            part = found.setdefault(process.part, {"number": 0})
            for key, value in {"number": 1, **process.bytes}.items():
                part[key] = part.get(key, 0) + value
        return found


def memory(where: Accounts) -> MemoryReading:
    """Read all of it once."""
    reading = MemoryReading()
    for pid in sorted({*where.pids, *cgroups.pids(where.cgroups)}):
        part = where.parts.get(pid, where.others)
        try:
            held = rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
            if part == "vmm" and where.guest_memory:
                held |= mapped(Path(f"/proc/{pid}/smaps").read_text(), where.guest_memory)
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except PermissionError:
            reading.unreadable += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
        else:
            reading.processes.append(Process(part, name, held))
    if reading.processes and not reading.unreadable:
        reading.rows |= {key: sum(each.bytes[key] for each in reading.processes) for key in ("pss", "uss")}
    reading.rows |= cgroups.memory_split(where.cgroups)
    return reading


def pss(pids: Iterable[int]) -> int | None:
    """Bytes of PSS of these processes; None where there is none, or one that has ended or may not be read."""
    total = None
    for pid in pids:
        try:
            total = (total or 0) + rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())["pss"]
        except OSError:
            return None
    return total


def cpu_seconds(where: Accounts) -> float | None:
    """CPU seconds that an instance, its VMM and its engine have spent so far; None where they cannot be told.

    By its cgroup, which keeps those of processes that have ended, and by the CPU clocks (clock_getcpuclockid(3)) of the
    processes that are not in it.
    """
    inside = cgroups.cpu_seconds(where.cgroups)
    if where.scattered or (inside is None and not where.pids):
        return None
    counted = set(cgroups.pids(where.cgroups)) if inside is not None else set()
    total = inside or 0.0
    for pid in {*where.pids, *where.engine} - counted:
        with contextlib.suppress(OSError):  # it has ended
            total += time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    return total


_CPUCLOCK_SCHED = 2
"""A process's clock by its pid, as the kernel numbers them (include/linux/posix-timers.h)."""


_ROLLUP = {
    "pss": ("Pss",),
    "uss": ("Private_Clean", "Private_Dirty", "Private_Hugetlb"),
    "anon": ("Pss_Anon",),
    "file": ("Pss_File",),
    "shmem": ("Pss_Shmem",),
    "huge": ("AnonHugePages",),
    "swap": ("SwapPss",),
}


def rollup(text: str) -> dict[str, int]:
    """smaps_rollup to bytes: `pss`, and what of it is `anon`, `file` and `shmem`; `uss`, the private pages; `huge`, in
    transparent huge pages; `swap`, swapped out. One that a kernel does not tell is not there; a kernel thread and a
    zombie hold nothing.
    """
    values: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        key, _, rest = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            values[key] = int(rest.split()[0]) * 1024
    told = [name for name, keys in _ROLLUP.items() if name in ("pss", "uss") or values.keys() & set(keys)]
    return {name: sum(values.get(key, 0) for key in _ROLLUP[name]) for name in told}


_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ([r-][w-][x-][ps]) ")


def mapped(smaps: str, guest_memory: int) -> dict[str, int]:
    """What of a VMM's PSS is the `guest`'s memory, in bytes, and what is code that it has `translated`.

    The guest's is the mapping of exactly its size; no other thing of a VMM's is that large. Only an emulator maps
    memory that may be written and executed. What was not found is 0, and part of the VMM itself.
    """
    found, access, size = {"guest": 0, "translated": 0}, "", 0
    for line in smaps.splitlines():
        if head := _MAPPING.match(line):
            access, size = head[1], 0
        elif line.startswith("Size:"):
            size = int(line.split()[1]) * 1024
        elif line.startswith("Pss:"):
            if size == guest_memory:
                found["guest"] += int(line.split()[1]) * 1024
            elif access[1:3] == "wx":
                found["translated"] += int(line.split()[1]) * 1024
    return found


def allocated(paths: Iterable[Path]) -> int:
    """Bytes that files and folders take on disk; a file that is linked twice counts once.

    Raises PermissionError where a folder cannot be read: a part would pass for the whole.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in paths:
        for each in walk(path):
            with contextlib.suppress(FileNotFoundError):
                info = each.lstat()
                if (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * 512
    return total


def walk(path: Path) -> Iterable[Path]:
    """It, and all that is in it. Raises PermissionError where a folder cannot be read."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, below, files in os.walk(path, onerror=_refused):
            for name in (*below, *files):
                yield Path(folder) / name


def _refused(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise error
