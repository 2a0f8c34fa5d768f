"""`memory`, `memory-load`: what an instance holds of the host's memory, idle at a fixed age and idle after a load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .. import cgroups, footprint, headroom
from ..clock import NS, finish, sleep_until
from ..driver import Accounts
from ..errors import InstanceError
from ..lifecycle import Live
from ..metrics import MEMORY, Metric
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts
from .sized import NOT_FOUND

IDLE_SECONDS = 1.0
TOLD_SECONDS = 30.0
LOAD_SECONDS = 60.0
LOAD_MIB = 64

LOAD = (
    f"head -c {LOAD_MIB << 20} /dev/zero | tail -c {LOAD_MIB << 20} >/dev/null "
    "&& { cat /usr/bin/* >/dev/null 2>&1; true; }"
)
"""What an instance is given to do: memory that a process fills and gives back (`tail` keeps what it may have to print),
and files of the image that are read. Nothing is written to the disk."""


def _metric(name: str, title: str, definition: str, **changes: Any) -> Metric:
    """One more kind of memory, on the scale that all have."""
    named = {"name": f"memory.{name}", "title": title, "definition": definition}
    return msgspec.structs.replace(MEMORY[0], **named, **changes)


_IDLE = "Idle, read at READY + 1.0 s."

SHMEM = _metric(
    "shmem",
    "Cgroup: tmpfs",
    f"What of the cgroup's page cache is tmpfs and shared memory: it cannot be dropped. {_IDLE}",
)
PEAK = _metric(
    "peak",
    "Cgroup: peak",
    "The most that was charged to the instance's cgroup at once since it was made, page cache included, as the kernel "
    f"keeps it; not there where it keeps none. {_IDLE}",
)
GUEST = (
    _metric(
        "guest_total",
        "Guest's own view: total",
        "Guests only: MemTotal inside. The memory it was given, less what its kernel took for itself at the start.",
        better="neither",
    ),
    _metric(
        "guest_available",
        "Guest's own view: available",
        "Guests only: MemAvailable inside, of the memory that it was given; read after the host's figures.",
        better="neither",
    ),
)

_IDLE_ROWS = {metric.name.removeprefix("memory."): metric for metric in (*MEMORY, SHMEM, PEAK)}
_LOAD_ROWS = {
    row: _metric(
        f"load.{row}",
        f"After load: {metric.title}",
        f"As `{metric.name}`, 1.0 s after a fixed load has ended in the instance: {LOAD_MIB} MiB that a process filled "
        "and gave back, and the files of /usr/bin read once."
        + (" Counted from the load's beginning where the kernel can." if row == "peak" else ""),
    )
    for row, metric in _IDLE_ROWS.items()
}


class Memory(Workload):
    """Idle memory, by process and by cgroup."""

    name = "memory"
    title = "memory of an idle instance at READY + 1.0 s: PSS of all that exists because of it, and its cgroup"
    metrics = (SHMEM, PEAK, *GUEST)
    primary = "memory.pss"
    seconds = IDLE_SECONDS

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        where = accounts(live)
        sleep_until(live.clock, live.ready_at + int(IDLE_SECONDS * NS))
        age = (live.clock.now() - live.ready_at) / NS
        measured = read(live, where, _IDLE_ROWS)
        measured.facts["age"] = f"{age:.3f} s"
        if "peak" not in _named(measured):
            measured.facts["peak"] = "not there: this kernel keeps none of a control group"
        measured.facts |= _told(live)
        if where.guest_memory is not None:
            for metric, key in zip(GUEST, ("MemTotal", "MemAvailable"), strict=True):
                measured.add(metric, float(inside(live)[key]))
        return measured


class MemoryLoad(Workload):
    """Memory that stays after a load."""

    name = "memory-load"
    title = "memory of an instance that has done some work and is idle again, and its peak meanwhile"
    metrics = tuple(_LOAD_ROWS.values())
    primary = "memory.load.pss"
    seconds = IDLE_SECONDS + 1.0

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        where = accounts(live)
        since = "the load's beginning" if cgroups.reset_peak(where.cgroups) else "the instance's start"
        answer = live.run(LOAD, seconds=LOAD_SECONDS)
        if answer.status == NOT_FOUND:
            raise Skipped("The rootfs has no `tail`.")
        answer.checked()
        sleep_until(live.clock, answer.done_at + int(IDLE_SECONDS * NS))
        idle = (live.clock.now() - answer.done_at) / NS
        measured = read(live, where, _LOAD_ROWS)
        measured.facts["idle for"] = f"{idle:.3f} s"
        there = "load.peak" in _named(measured)
        measured.facts["peak"] = f"since {since}" if there else "not there: this kernel keeps none of a control group"
        return measured


def _named(measured: Measured) -> set[str]:
    return {each.metric.removeprefix("memory.") for each in measured.samples}


def read(live: Live, where: Accounts, metrics: Mapping[str, Metric]) -> Measured:
    """What it holds now, by row. Raises InstanceError without a process, Skipped where nothing may be read."""
    found = footprint.memory(where)
    if not found.processes and not found.unreadable:
        raise InstanceError("The instance has no process whose memory could be read.")
    if not found.rows:
        raise Skipped("Not available: its processes' memory needs root, and no cgroup accounts for it.")
    measured = Measured()
    for row, value in found.rows.items():
        measured.add(metrics[row], float(value))
    measured.facts["processes"] = ", ".join(f"{each.name} {each.bytes['pss']}" for each in found.processes)
    if found.unreadable:
        measured.facts["unreadable"] = f"{found.unreadable} processes: needs root"
    else:
        measured.facts["parts"] = json.dumps(found.parts())
    if where.guest_memory is not None:
        measured.facts["guest memory"] = str(where.guest_memory)
    return measured


def inside(live: Live) -> dict[str, int]:
    """The instance's own /proc/meminfo: bytes by name. Raises InstanceError where it has none."""
    answer = live.run("cat /proc/meminfo", seconds=30).checked()
    return headroom.sizes(answer.stdout.decode(errors="replace"))


def _told(live: Live) -> dict[str, str]:
    """What the engine and the host say beside: untimed, and after our own reading."""
    assert live.instance is not None
    told = finish(live.clock, live.instance.told, live.clock.now() + int(TOLD_SECONDS * NS), what="Asking the engine")
    facts = {"memory settings": json.dumps({**host_settings(), **told.settings})}
    if told.figures:
        facts["engine says"] = json.dumps(dict(told.figures))
    return facts


def host_settings() -> dict[str, str]:
    """What of the host can make memory look smaller, as it stands now; one that it does not state is not there."""
    swap = headroom.host().get("SwapTotal")
    files = {"KSM": Path("/sys/kernel/mm/ksm/run"), "THP": Path("/sys/kernel/mm/transparent_hugepage/enabled")}
    read = {name: path.read_text().strip() for name, path in files.items() if path.is_file()}
    if "KSM" in read:
        read["KSM"] = {"0": "off", "1": "on"}.get(read["KSM"], "off, all unmerged")
    if "THP" in read:
        read["THP"] = read["THP"].partition("[")[2].partition("]")[0] or read["THP"]
    if swap is not None:
        read["swap"] = f"{swap >> 20} MiB" if swap else "none"
    return read
