"""Control groups, v1 and v2 and both side by side: found, made, read, ended."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import headroom, processes
from .model import UNLIMITED

PARENT = "tare"
"""The one folder, in each hierarchy, that holds all of ours."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where the control groups of this host are mounted."""

    v1: Mapping[str, Path]
    """By controller."""
    v2: Path | None
    v2_controllers: frozenset[str]

    @property
    def version(self) -> str:
        """`v1`, `v2`, `hybrid` (v1 controllers with a v2 hierarchy beside them) or `none`."""
        if self.v2 is None:
            return "v1" if self.v1 else "none"
        return "hybrid" if "memory" in self.v1 or "cpuset" in self.v1 else "v2"


@cache
def hierarchies(root: Path = Path("/")) -> Hierarchies:
    """Read /proc/self/mounts once: hierarchies don't move while a host is up."""
    v1: dict[str, Path] = {}
    v2 = None
    for line in (root / "proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        folder = root / where.lstrip("/")
        if kind == "cgroup":
            v1 |= {option: folder for option in options.split(",") if option not in ("rw", "ro")}
        elif kind == "cgroup2" and v2 is None:
            v2 = folder
    controllers = frozenset((v2 / "cgroup.controllers").read_text().split()) if v2 else frozenset()
    return Hierarchies(v1, v2, controllers)


def of_process(pid: int) -> tuple[Path, ...]:
    """The folders of a process's cgroup, in each hierarchy where it is not in the root. Empty when it is gone."""
    found = hierarchies()
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mount = found.v1.get(controllers.split(",")[0]) if controllers else found.v2
        if mount is not None and path != "/":
            folders.append(mount / path.lstrip("/"))
    return tuple(dict.fromkeys(folders))


def planned(name: str) -> tuple[Path, ...]:
    """The folders that `make` would make for an instance of that name."""
    found = hierarchies()
    mounts = [found.v1[controller] for controller in ("cpuset", "memory", "cpuacct", "pids") if controller in found.v1]
    if found.v2 is not None:
        mounts.append(found.v2)
    return tuple(mount / PARENT / name for mount in dict.fromkeys(mounts))


def roots(name: str) -> list[Path]:
    """The folder of that name at the top of every hierarchy, there or not."""
    found = hierarchies()
    mounts = [*found.v1.values(), *([found.v2] if found.v2 else [])]
    return [mount / name for mount in dict.fromkeys(mounts)]


def make(name: str, cpus: Sequence[int], memory: int) -> tuple[Path, ...]:
    """Make a cgroup on those CPUs with that much memory (bytes, no swap) and return its folders.

    Raises OSError where none can be made (read-only, not delegated); what was made by then is removed.
    """
    made: list[Path] = []
    try:
        for folder in planned(name):
            _enable_below(folder.parent.parent)
            folder.parent.mkdir(exist_ok=True)
            _enable_below(folder.parent)
            folder.mkdir()
            made.append(folder)
            _limit(folder, ",".join(map(str, cpus)), memory)
    except OSError:
        remove(made)
        raise
    return tuple(made)


def _enable_below(folder: Path) -> None:
    """v2 only: what a child may have must be switched on in its parent. v1's cpuset must be inherited by hand."""
    control = folder / "cgroup.subtree_control"
    if control.exists():
        there = set((folder / "cgroup.controllers").read_text().split())
        wanted = {"cpuset", "memory", "pids"} & there - set(control.read_text().split())
        if wanted:
            control.write_text(" ".join(f"+{each}" for each in sorted(wanted)))
    elif (folder / "cpuset.cpus").exists() and not (folder / "cpuset.cpus").read_text().strip():
        for name in ("cpuset.mems", "cpuset.cpus"):  # the CPUs last: whoever finds them there finds all of it
            (folder / name).write_text((folder.parent / name).read_text())


def _limit(folder: Path, cpus: str, memory: int) -> None:
    if (folder / "cpuset.cpus").exists():
        mems = folder.parent / "cpuset.mems"
        inherited = mems.read_text().strip() if mems.exists() else ""
        if inherited:
            (folder / "cpuset.mems").write_text(inherited)
        (folder / "cpuset.cpus").write_text(cpus)
    if (folder / "memory.max").exists():
        (folder / "memory.max").write_text(str(memory))
        if (folder / "memory.swap.max").exists():
            (folder / "memory.swap.max").write_text("0")
    elif (folder / "memory.limit_in_bytes").exists():
        (folder / "memory.limit_in_bytes").write_text(str(memory))
        with contextlib.suppress(OSError):  # there only where swap is accounted
            (folder / "memory.memsw.limit_in_bytes").write_text(str(memory))


def pids(folders: Iterable[Path]) -> list[int]:
    """Every process in these cgroups and those below them."""
    found: set[int] = set()
    for folder in folders:
        for procs in [folder / "cgroup.procs", *folder.glob("**/cgroup.procs")]:
            with contextlib.suppress(FileNotFoundError, OSError):
                found |= {int(line) for line in procs.read_text().split()}
    return sorted(found - {0})


def kill(folders: Sequence[Path]) -> list[int]:
    """Kill every process in these cgroups at once and return which they were."""
    there = pids(folders)
    at_once = next((each / "cgroup.kill" for each in folders if (each / "cgroup.kill").exists()), None)
    if at_once is not None:
        at_once.write_text("1")
    else:
        for pid in there:
            processes.kill(pid)
    return there


def remove(folders: Sequence[Path], *, seconds: float = 5.0) -> None:
    """Kill what is in them, remove them and those below them, then our parent folder if it is empty now.

    Raises OSError when one stays: a process of it that cannot be killed. The others are removed all the same.
    """
    stays: list[OSError] = []
    there = kill(folders)
    for pid in there:
        processes.wait_gone(pid, None, seconds)
    for folder in folders:
        below = sorted((entry for entry in folder.glob("**/") if entry != folder), reverse=True)
        try:
            for each in [*below, folder]:
                _rmdir(each)
        except OSError as error:
            stays.append(error)
        with contextlib.suppress(OSError):
            if folder.parent.name == PARENT:
                folder.parent.rmdir()
    if stays:
        raise stays[0]


def _rmdir(folder: Path) -> None:
    """rmdir; a process that has just been reaped may hold its cgroup for one more moment."""
    for attempt in range(200):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == 199:
                raise
            select.select([], [], [], 0.005)
        else:
            return


def memory_split(folders: Iterable[Path]) -> dict[str, int]:
    """Bytes charged to a cgroup: `anon`, `file` (page cache and tmpfs), `shmem` (what of `file` is tmpfs and shared
    memory), `kernel`, and `peak`, the most that was charged at once; empty where it is not accounted.

    v2: memory.stat, memory.peak (since Linux 5.19). v1: rss, cache, shmem, memory.max_usage_in_bytes and
    memory.kmem.usage_in_bytes. One that a kernel doesn't have is not there.
    """
    for folder in folders:
        stat = folder / "memory.stat"
        if not stat.exists():
            continue
        values = {key: int(value) for key, value in (line.split() for line in stat.read_text().splitlines())}
        if "anon" in values:
            split: dict[str, int] = {
                name: values[name] for name in ("anon", "file", "shmem", "kernel") if name in values
            }
            return split | _numbers(folder, peak="memory.peak")
        names: dict[str, str] = {"anon": "rss", "file": "cache", "shmem": "shmem"}
        split = {
            name: values.get(f"total_{key}", values.get(key, 0))
            for name, key in names.items()
            if {key, f"total_{key}"} & values.keys()
        }
        return split | _numbers(folder, kernel="memory.kmem.usage_in_bytes", peak=_V1_PEAK)
    return {}


_V1_PEAK = "memory.max_usage_in_bytes"


def _numbers(folder: Path, **files: str) -> dict[str, int]:
    """What these files say, by the names given; one that is not there is left out."""
    found = {}
    for name, file in files.items():
        with contextlib.suppress(OSError):
            found[name] = int((folder / file).read_text())
    return found


def reset_peak(folders: Iterable[Path]) -> bool:
    """Have the peak be counted from now on: v1 only, for v2 has that for a single reader's descriptor alone."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if (folder / _V1_PEAK).exists():
                (folder / _V1_PEAK).write_text("0")
                return True
    return False


def cpu_seconds(folders: Iterable[Path]) -> float | None:
    """CPU seconds charged to a cgroup so far; None where it is not accounted."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            return int((folder / "cpuacct.usage").read_text()) / 1e9
        with contextlib.suppress(FileNotFoundError):
            first, _, value = (folder / "cpu.stat").read_text().partition("\n")[0].partition(" ")
            if first == "usage_usec":  # v1's file of that name counts throttling only
                return int(value) / 1e6
    return None


def throttled_seconds(folder: Path) -> float | None:
    """Seconds for which a CPU quota has held up a cgroup so far; None where that is not accounted, or it is gone."""
    try:
        lines = (folder / "cpu.stat").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split() for line in lines)
    for key, scale in (("throttled_usec", 1e6), ("throttled_time", 1e9)):  # v2, v1
        if key in values:
            return int(values[key]) / scale
    return None


_NO_LIMIT = 1 << 62
"""From here on a v1 file means that there is none."""


def limits(pid: int) -> dict[str, str]:
    """The most that a process may have, by its cgroups and all above them.

    `quota` (CPU seconds a second), `memory` and `swap` (bytes), `processes`: each a number or `unlimited`; swap is at
    most what the host has. A controller that this host doesn't have states nothing: its limit is not there.
    """
    here = hierarchies()
    folders = [each for folder in of_process(pid) for each in (folder, *folder.parents)]
    memory = _least(folders, "memory.max", "memory.limit_in_bytes")
    both = _least(folders, "memory.memsw.limit_in_bytes")
    swap = min(_least(folders, "memory.swap.max"), both - memory if both < math.inf else math.inf, _host_swap())
    found = {
        "quota": ("cpu", _quota(folders)),
        "memory": ("memory", memory),
        "swap": ("memory", swap),
        "processes": ("pids", _least(folders, "pids.max")),
    }
    return {
        name: UNLIMITED if value == math.inf else f"{value:.10g}" if name == "quota" else str(int(value))
        for name, (controller, value) in found.items()
        if controller in here.v1 or controller in here.v2_controllers
    }


def _least(folders: Iterable[Path], *names: str) -> float:
    """The smallest number in the files of these names; infinite where none states one."""
    found = [math.inf]
    for folder in folders:
        for name in names:
            with contextlib.suppress(OSError, ValueError):  # `max` is no number, and no limit
                found.append(int((folder / name).read_text()))
    return min(value for value in found if value == math.inf or value < _NO_LIMIT)


def _quota(folders: Iterable[Path]) -> float:
    found = [math.inf]
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            found.append(quota / period)
        with contextlib.suppress(OSError, ValueError):
            quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            found += [quota / period] * (quota > 0)
    return min(found)


def _host_swap() -> int:
    return headroom.host().get("SwapTotal", 0)


_TRY = "check-"


def writable() -> bool:
    """Whether a limited cgroup of our own can be made here: tried, since a mount that is writable may refuse it."""
    try:
        remove(left_tries())
        made = make(f"{_TRY}{os.getpid()}", sorted(os.sched_getaffinity(0)), 64 << 20)
        remove(made)
    except OSError:
        return False
    return bool(made)


def left_tries() -> list[Path]:
    """What processes have left that were killed while they tried: no lease names it, for whoever tries has none."""
    found = [folder for root in roots(PARENT) for folder in root.glob(f"{_TRY}[0-9]*") if os.access(root, os.W_OK)]
    return [folder for folder in found if processes.start_time(int(folder.name.removeprefix(_TRY))) is None]
