"""The memory sheet: from what each process holds to what the host has less of, with the rest that nothing explains.

Pure: from a stored run's trials. Bytes. `alone` is one idle instance; `each` is one of the many of a ramp, in the mean:
what processes share counts less there, and it is this column that is to add up to the slope of MemAvailable.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from . import stats
from .metrics import MEMORY
from .model import Accelerator, Arm, Run, Trial

IDLE, LOADED, RAMP = "memory", "memory-load", "memory-ramp"
AVAILABLE = "memory.available"
HOST_KERNEL = ("slab", "tables", "stacks", "percpu")
RESOLUTION = MEMORY[0].resolution
"""Bytes: a rest within it is none."""
LATE = 1.1
"""Seconds: the age from which on an idle instance was not read at READY + 1.0 s, whatever held it up."""
EXPLAINED = 0.10
"""The share of the slope that may stay unexplained before a reason is owed."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a sheet, in bytes for each instance; None: not there."""

    key: str
    title: str
    alone: float | None = None
    private: float | None = None
    """What of `alone` only these processes map (USS)."""
    each: float | None = None
    kind: Literal["term", "sum", "rest"] = "term"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """A figure that others show, and why it is not the sheet's."""

    title: str
    value: float
    difference: float | None
    """From the PSS of one alone."""
    why: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One arm's."""

    arm: str
    accelerator: Accelerator
    given: int
    """Bytes: a container's limit, the whole size of a guest."""
    guest: bool
    lines: tuple[Line, ...]
    beside: tuple[Beside, ...]
    slope: stats.Estimate | None
    """Of MemAvailable, from the ramps; None where there was none."""
    steadied: stats.Estimate | None
    """The same, of each ramp less what other programs of the host took during it."""
    unexplained: float | None
    """The rest as a share of the slope; 0 where it is less than the instrument can tell."""
    ramps: tuple[tuple[tuple[int, float], ...], ...]
    """Instances and MemAvailable less what it was at the ramp's first reading, in the order of the readings."""
    settings: Mapping[str, str]
    """What can make memory look smaller, and which ages were read."""


def sheets(run: Run) -> list[Sheet]:
    """A sheet for each arm that has any memory figure. What a trial's facts do not hold is left out."""
    found = [_sheet(arm, _Read.of(run, arm.name)) for arm in run.manifest.plan.arms]
    return [sheet for sheet in found if sheet is not None]


@dataclass(frozen=True, slots=True)
class _Read:
    """What an arm's measured trials say."""

    trials: tuple[Trial, ...]
    accelerator: Accelerator

    @classmethod
    def of(cls, run: Run, arm: str) -> _Read:
        good = [each for each in run.trials if each.cell.arm == arm and each.role == "measured" and each.status == "ok"]
        return cls(tuple(good), run.manifest.accelerators.get(arm, "none"))

    def facts(self, workload: str, key: str) -> list[Any]:
        """A fact of every trial of a workload; one that is JSON is read."""
        found = [each.facts[key] for each in self.trials if each.cell.workload == workload and key in each.facts]
        return [_plain(text) for text in found]

    def value(self, metric: str) -> float | None:
        """The median over trials."""
        return _median(sample.value for trial in self.trials for sample in trial.samples if sample.metric == metric)

    def part(self, workload: str, *path: str) -> float | None:
        """The median of a number deep in the fact `parts`."""
        return _median(_dig(each, path) for each in self.facts(workload, "parts"))


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _dig(found: Any, path: Sequence[str]) -> float | None:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def _add(*values: float | None) -> float | None:
    """The sum of those that are there; None where none is."""
    there = [value for value in values if value is not None]
    return sum(there) if there else None


def _less(value: float | None, *others: float | None) -> float | None:
    return None if value is None else value - (_add(*others) or 0.0)


def _sheet(arm: Arm, read: _Read) -> Sheet | None:
    slopes = [sample.value for trial in read.trials for sample in trial.samples if sample.metric == AVAILABLE]
    parts = _parts(read)
    if not parts and not slopes:
        return None
    slope = stats.estimate(slopes) if slopes else None
    pss = _total("pss", "PSS of all its processes", parts)
    lines = [*parts, pss, *(_rest(read, pss.each, slope.value) if slope is not None else ())]
    rest = next((line.each for line in lines if line.kind == "rest"), None)
    return Sheet(
        arm=arm.name,
        accelerator=read.accelerator,
        given=arm.spec.memory,
        guest=bool(read.facts(IDLE, "guest memory") or read.facts(RAMP, "guest memory")),
        lines=tuple(lines),
        beside=tuple(_beside(read, pss.alone)),
        slope=slope,
        steadied=_steadied(read),
        unexplained=_unexplained(rest, slope),
        ramps=tuple(_ramp(points) for points in read.facts(RAMP, "ramp")),
        settings=_settings(read),
    )


def _unexplained(rest: float | None, slope: stats.Estimate | None) -> float | None:
    if rest is None or slope is None or not slope.value:
        return None
    return 0.0 if abs(rest) <= RESOLUTION else rest / slope.value


_PARTS = (
    ("payload", "Payload inside", "what runs in the instance: the agent, and what the image starts"),
    ("shim", "Shim", "the engine's process for this one instance; it shares its program with the others' shims"),
    ("other", "Helpers", "other processes that serve this one instance"),
)
_UNTOUCHED = "what the guest has touched so far of the memory that it was given; the rest takes nothing from the host"


def _parts(read: _Read) -> list[Line]:
    """The processes; a VMM's in three."""
    lines = [_part(read, key, title, why) for key, title, why in _PARTS]
    vmm = _part(read, "vmm", "VMM itself", "the virtual machine monitor: its program, devices, tables")
    inside = [
        _inside(read, "guest", "Guest memory touched", _UNTOUCHED),
        _inside(read, "translated", "Emulator's translation cache", "code that TCG has translated; none under KVM"),
    ]
    itself = Line(
        vmm.key,
        vmm.title,
        alone=_less(vmm.alone, *(line.alone for line in inside)),
        private=_less(vmm.private, *(line.private for line in inside)),
        each=_less(vmm.each, *(line.each for line in inside)),
        why=vmm.why,
    )
    found = [*lines[:2], *inside, itself, lines[2]]
    return [line for line in found if line.alone or line.each]


def _part(read: _Read, key: str, title: str, why: str) -> Line:
    return Line(
        key,
        title,
        alone=read.part(IDLE, key, "pss"),
        private=read.part(IDLE, key, "uss"),
        each=read.part(RAMP, key, "pss"),
        why=why,
    )


def _inside(read: _Read, key: str, title: str, why: str) -> Line:
    """A mapping of the VMM's that nobody shares: its PSS is its USS."""
    alone = read.part(IDLE, "vmm", key)
    return Line(key, title, alone=alone, private=alone, each=read.part(RAMP, "vmm", key), why=why)


def _total(key: str, title: str, lines: Sequence[Line]) -> Line:
    return Line(
        key,
        title,
        alone=_add(*(line.alone for line in lines)),
        private=_add(*(line.private for line in lines)),
        each=_add(*(line.each for line in lines)),
        kind="sum",
    )


def _rest(read: _Read, pss: float | None, taken: float) -> list[Line]:
    """From PSS to what the host has less of."""
    terms = [
        Line("files", "Less: mapped files", each=_files(read), why="page cache: it can be dropped, so it is available"),
        Line(
            "tmpfs", "tmpfs that nobody maps", each=_tmpfs(read), why="files in /tmp and /run: they cannot be dropped"
        ),
        *_kernel(read),
        Line("engine", "Engine's daemons", each=read.value("memory.engine"), why="by how much their PSS grows"),
        Line("tare", "This program", each=_slope(read, "tare"), why=_TARE if _embedded(read) else _WIRE),
        Line("others", "Other programs meanwhile", each=_median(map(_others, _ramps(read))), why=_OTHERS),
    ]
    terms = [line for line in terms if line.each is not None]
    explained = _add(pss, *(line.each for line in terms))
    rest = _less(taken, explained)
    share = rest / taken if rest is not None and taken else 0.0
    return [
        *terms,
        Line("explained", "Explained", each=explained, kind="sum"),
        Line("rest", "Unexplained rest", each=rest, kind="rest", why=_why(rest, share) if rest is not None else ""),
        Line(
            "taken", "Taken from the host's MemAvailable", each=taken, kind="sum", why="the median of the ramps' slopes"
        ),
    ]


_OTHERS = "growth of the host's anonymous memory over the ramp less that of the rows above: it is no instance's"
_TARE = (
    "by how much its PSS grows; libvirt's QEMU driver runs inside it. Negative where VMMs share its libraries: each "
    "further one takes a part of them"
)
_WIRE = "by how much its PSS grows: the wire of each instance"


def _embedded(read: _Read) -> bool:
    return read.accelerator in ("kvm", "tcg") and read.value("memory.engine") is None


def _why(rest: float, share: float) -> str:
    if abs(rest) <= RESOLUTION:
        return f"less than can be told: {RESOLUTION / 1024:.0f} KiB"
    if abs(share) <= EXPLAINED:
        return "within what pages on per-CPU lists and caches of the kernel's move"
    if share > 0:
        return (
            "kernel memory that no line of /proc/meminfo counts (namespaces, mounts, vmalloc, device memory), and "
            "pages on per-CPU lists"
        )
    return "more was explained than taken: pages that several rows hold, or that other programs gave back meanwhile"


def _all(parts: Any, key: str) -> float | None:
    """A number summed over all parts."""
    return _add(*(_dig(part, (key,)) for part in parts.values())) if isinstance(parts, dict) else None


def _files(read: _Read) -> float | None:
    """What is mapped from files, over all parts, as a negative number."""
    mapped = _median(_all(parts, "file") for parts in read.facts(RAMP, "parts"))
    return None if mapped is None else -mapped


def _tmpfs(read: _Read) -> float | None:
    """What the cgroup holds in tmpfs beyond what a process maps of it."""
    mapped = _median(_all(parts, "shmem") for parts in read.facts(RAMP, "parts"))
    held = _median(_dig(each, ("shmem",)) for each in read.facts(RAMP, "cgroup"))
    return None if held is None else max(0.0, held - (mapped or 0.0))


def _kernel(read: _Read) -> list[Line]:
    """Kernel memory: what the cgroup is charged, and what the host's own lines grow by beyond that."""
    inside = _median(_dig(each, ("kernel",)) for each in read.facts(RAMP, "cgroup"))
    grown = _add(*(_slope(read, key) for key in HOST_KERNEL))
    return [
        Line("kernel", "Kernel memory in its cgroup", each=inside, why="page tables, stacks, slab, sockets"),
        Line(
            "kernel-host",
            "Kernel memory outside of it",
            each=_less(grown, inside),
            why="growth of SUnreclaim, PageTables, KernelStack and Percpu, less the row above; negative where that row "
            "holds slab that can be dropped",
        ),
    ]


def _ramps(read: _Read) -> list[Trial]:
    return [trial for trial in read.trials if trial.cell.workload == RAMP]


def _others(ramp: Trial) -> float | None:
    """What other programs took during a ramp, for each of its instances: noise, that the kernel's own line tells."""
    points, parts = _plain(ramp.facts.get("ramp", "[]")), _plain(ramp.facts.get("parts", "{}"))
    grown, own = _along(points, "anon"), _all(parts, "anon")
    if grown is None or own is None:
        return None
    return grown - own - (_along(points, "engine") or 0.0) - (_along(points, "tare") or 0.0)


def _steadied(read: _Read) -> stats.Estimate | None:
    """Of those ramps of which it can be told."""
    found = [
        sample.value - others
        for trial in _ramps(read)
        for sample in trial.samples
        if sample.metric == AVAILABLE and (others := _others(trial)) is not None
    ]
    return stats.estimate(found) if found else None


def _along(points: Any, key: str) -> float | None:
    """How a line of the host's grows with each instance of one ramp."""
    return slope((_dig(point, ("instances",)), _dig(point, (key,))) for point in points) if points else None


def _slope(read: _Read, key: str) -> float | None:
    """The median over ramps of how a line of the host's grows with each instance."""
    return _median(_along(points, key) for points in read.facts(RAMP, "ramp"))


def slope(points: Iterable[tuple[float | None, float | None]]) -> float | None:
    """How the second grows with the first, by least squares; None without two different firsts.

    A ramp's way up and its way down mirror each other, so that a steady drift of the host does not tilt the line.
    """
    from statistics import linear_regression

    there = [(x, y) for x, y in points if x is not None and y is not None]
    if len({x for x, _ in there}) < 2:
        return None
    return linear_regression(*zip(*there, strict=True)).slope


def _ramp(points: Sequence[Mapping[str, float]]) -> tuple[tuple[int, float], ...]:
    first = points[0]["available"] if points else 0.0
    return tuple((int(point["instances"]), point["available"] - first) for point in points)


_BESIDE = (
    ("memory.anon", "Cgroup: anonymous", "what is charged to its cgroup, whose shim is not in it"),
    ("memory.kernel", "Cgroup: kernel", "not in any process's PSS"),
    ("memory.shmem", "Cgroup: tmpfs", "also where no process maps it"),
    ("memory.peak", "Cgroup: peak", "page cache and the start are in it"),
    ("memory.load.pss", "PSS after a load, idle again", "what was not given back"),
    ("memory.load.peak", "Cgroup: peak under that load", "page cache is in it"),
    ("memory.guest_total", "Guest: MemTotal", "inside; what its kernel took at the start is not in it"),
    ("memory.guest_available", "Guest: MemAvailable", "inside; nothing of the host's is in it"),
)
_TOLD = {
    "docker stats": "what is charged to the cgroup less page cache that was not used lately: kernel memory and the "
    "other page cache are in it, the shim is not",
    "charged": "memory.usage_in_bytes or memory.current: page cache of whoever touched it first is in it",
    "dommemstat rss": "the VMM's resident pages, shared ones whole: what its process shows, not what it was given",
    "dommemstat actual": "the size that the guest was given, touched or not",
}


def _beside(read: _Read, pss: float | None) -> Iterable[Beside]:
    """Other people's figures, and the cgroup's."""
    cache = _less(read.value("memory.file"), read.value("memory.shmem"))
    if cache is not None:
        yield Beside(
            "Cgroup: page cache", cache, _less(cache, pss), "charged to whoever touched it first; can be dropped"
        )
    for metric, title, why in _BESIDE:
        if (value := read.value(metric)) is not None:
            yield Beside(title, value, _less(value, pss), why)
    told = read.facts(IDLE, "engine says")
    for name, why in _TOLD.items():
        if (value := _median(_dig(each, (name,)) for each in told)) is not None:
            yield Beside(name, value, _less(value, pss), why)


def _settings(read: _Read) -> dict[str, str]:
    """As the last trial found them; the ages of all."""
    found: dict[str, str] = {}
    for each in read.facts(IDLE, "memory settings"):
        found |= {str(key): str(value) for key, value in each.items()} if isinstance(each, dict) else {}
    found |= _ages(read)
    for key, name in (("huge", "in transparent huge pages"), ("swap", "swapped out")):
        held = _median(_all(parts, key) for parts in read.facts(IDLE, "parts"))
        if held is not None:
            found[name] = f"{held / 2**20:.1f} MiB of one alone"
    for workload, name in ((IDLE, "peak"), (LOADED, "peak after load")):
        if told := read.facts(workload, "peak"):
            found[name] = str(told[-1])
    if tops := read.facts(RAMP, "instances"):
        found["instances in a ramp"] = ", ".join(dict.fromkeys(str(top) for top in tops))
    return found


def _ages(read: _Read) -> dict[str, str]:
    """How old the instances were when they were read, and how many were read late: the fixed age is a definition."""
    ages = []
    for text in read.facts(IDLE, "age"):
        with contextlib.suppress(ValueError):
            ages.append(float(str(text).removesuffix(" s")))
    if not ages:
        return {}
    late = sum(age > LATE for age in ages)
    found = {"age when read": f"{min(ages):.3f} to {max(ages):.3f} s"}
    return found | ({"read late": f"{late} of {len(ages)}: older than {LATE} s"} if late else {})
