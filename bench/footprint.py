"""What an instance holds of the host, from pids, cgroups and files: the same code for every technology."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroups
from .driver import Accounts


@dataclass(slots=True)
class MemoryReading:
    """Bytes, by row (`pss`, `uss`, `anon`, `file`, `kernel`); a row that cannot be had is not there."""

    rows: dict[str, int] = field(default_factory=dict)
    processes: list[tuple[str, int]] = field(default_factory=list)
    """Each process's name and PSS."""
    unreadable: int = 0
    """Processes whose memory this user may not read: then there is no row for processes at all."""


def memory(where: Accounts) -> MemoryReading:
    """Read all of it once."""
    reading = MemoryReading()
    pss = uss = 0
    for pid in sorted({*where.pids, *cgroups.pids(where.cgroups)}):
        try:
            one = rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except PermissionError:
            reading.unreadable += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
        else:
            pss, uss = pss + one["pss"], uss + one["uss"]
            reading.processes.append((name, one["pss"]))
    if reading.processes and not reading.unreadable:
        reading.rows |= {"pss": pss, "uss": uss}
    reading.rows |= cgroups.memory_split(where.cgroups)
    return reading


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


def rollup(text: str) -> dict[str, int]:
    """smaps_rollup to bytes: `pss`, and `uss`, the private pages. Empty of both for a kernel thread or a zombie."""
    values: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        key, _, rest = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            values[key] = int(rest.split()[0]) * 1024
    private = values.get("Private_Clean", 0) + values.get("Private_Dirty", 0) + values.get("Private_Hugetlb", 0)
    return {"pss": values.get("Pss", 0), "uss": private}


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
