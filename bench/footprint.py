"""What an instance holds of the host, from pids, cgroups and files: the same code for every technology."""

from __future__ import annotations

import contextlib
import os
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
    """Bytes that files and folders take on disk; a file that is linked twice counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in paths:
        for each in _walk(path):
            with contextlib.suppress(FileNotFoundError):
                info = each.lstat()
                if (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * 512
    return total


def _walk(path: Path) -> Iterable[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, below, files in os.walk(path):
            for name in (*below, *files):
                yield Path(folder) / name
