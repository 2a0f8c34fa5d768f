"""What a number means: the metric's record, and the definitions of the lifecycle and footprint metrics.

A workload declares its own metrics beside its parser; all are found through the registry.
"""

from __future__ import annotations

import math
from typing import Literal

from .model import Record


class Metric(Record, frozen=True, kw_only=True):
    """One thing that is measured, the same for every technology."""

    name: str
    """Dotted, from general to particular: `boot.ready`."""
    unit: str
    """In SI base units: s, B, 1/s, B/s, or 1 for a count."""
    better: Literal["lower", "higher", "neither"]
    scale: Literal["ratio", "difference", "exact"] = "ratio"
    """How two arms are compared: exp of a difference of logs; in the metric's own unit; or as such."""
    resolution: float = 0.0
    """The least difference that the instrument can see, in the unit."""
    region: float = 0.05
    """The region that does not matter: a share on the ratio scale, in the unit on the difference scale."""
    title: str
    """As a table's row says it: `Boot to ready`."""
    definition: str
    """With its start and stop events."""

    @property
    def at_timeout(self) -> float | None:
        """What stands for a trial that timed out: an infinite time, or a rate below every other; None where a deadline
        censors nothing: a memory figure that was never read is simply not there."""
        return {"s": math.inf, "1/s": -math.inf, "B/s": -math.inf}.get(self.unit)


def _boot(name: str, title: str, definition: str) -> Metric:
    return Metric(
        name=f"boot.{name}",
        unit="s",
        better="lower",
        resolution=1e-4,
        title=title,
        definition=f"{definition} On the host's CLOCK_MONOTONIC, from the moment the instance was asked for.",
    )


RESIDENT = "image in page cache"
"""The fact of a trial that tells how much of the arm's image was in memory when its instance was asked for."""

CLOCK_TICK = 0.01
"""Seconds: the resolution of /proc/stat (USER_HZ is 100 on every architecture that is supported)."""

BOOT = (
    _boot("created", "Created", "The object exists and nothing of it has run: its disk and cgroup are part of it."),
    _boot("started", "Start issued", "The start (or a paused guest's resume) is issued."),
    _boot("start_returned", "Start returned", "The call that starts it returns, which may be after it is ready."),
    _boot("kernel", "Kernel speaks", "Guests only: the first byte on the console."),
    _boot("init", "Init runs", "Guests only: the marker line that the init of the initramfs writes to the console."),
    _boot("ready", "Boot to ready", "The host reads the first byte of the agent's READY."),
    _boot("first_command", "First command", "The host reads the answer to the first command, `true`."),
    _boot(
        "network",
        "Network up",
        "Only with a network: the host reads the answer to a command that sees the network device up and with its "
        "address. It is sent once the start has returned, since an engine attaches what it has started.",
    ),
    Metric(
        name="boot.cpu",
        unit="s",
        better="lower",
        resolution=CLOCK_TICK,
        title="CPU time of a boot",
        definition="Host CPU seconds from the request to the first command (to the network, where there is one): the "
        "change of the host's busy time in /proc/stat, less this program's own and less the idle rate of the moments "
        "before the latest instances; not given where the host was not quiet just before.",
    ),
)

BOOT_CPU_INSTANCE = Metric(
    name="boot.cpu.instance",
    unit="s",
    better="lower",
    resolution=1e-3,
    title="CPU time of a boot, the instance's own",
    definition="Of the CPU time of a boot, what the instance's cgroup and the processes that exist because of it (VMM, "
    "shim) had spent when it had answered its first command. The rest is the engine's, and that of processes that "
    "lived for the start only.",
)

FLOOR = Metric(
    name="floor.run",
    unit="s",
    better="neither",
    resolution=1e-4,
    title="Measurement floor",
    definition="The time that an empty command takes from the host's RUN to its DONE: no number that is driven "
    "through the agent can be told apart from another by less.",
)

CLOCK = Metric(
    name="clock.rate",
    unit="1",
    better="neither",
    scale="difference",
    region=0.01,
    title="Instance clock",
    definition="Seconds of the instance's uptime for each second of the host's CLOCK_MONOTONIC: the slope over all "
    "messages of an instance, where they span 3 s or more. Off by more than 1 %, rates by that clock are not compared.",
)

STOP = Metric(
    name="stop.stopped",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="Hard stop",
    definition="From asking for the instance to be killed to the end of file on its wire, not to the call's return.",
)

LIFECYCLE = (*BOOT, BOOT_CPU_INSTANCE, FLOOR, CLOCK, STOP)


def _memory(name: str, title: str, definition: str) -> Metric:
    return Metric(
        name=f"memory.{name}",
        unit="B",
        better="lower",
        scale="difference",
        resolution=256 * 1024,
        region=4 * 1024 * 1024,
        title=title,
        definition=f"{definition} Idle, read at READY + 1.0 s.",
    )


MEMORY = (
    _memory(
        "pss",
        "Memory (PSS)",
        "Proportional set size, summed over every process that exists because of the instance (payload, shim, VMM), "
        "found by cgroup and by parentage from what the engine says.",
    ),
    _memory("uss", "Memory (USS)", "Memory that only these processes map: private clean and dirty pages, summed."),
    _memory("anon", "Cgroup: anonymous", "Anonymous memory charged to the instance's cgroup."),
    _memory("file", "Cgroup: page cache", "Page cache charged to the instance's cgroup, tmpfs included."),
    _memory("kernel", "Cgroup: kernel", "Kernel memory charged to the instance's cgroup."),
)

DISK = (
    Metric(
        name="disk.image",
        unit="B",
        better="lower",
        scale="exact",
        title="Image on disk",
        definition="Bytes allocated on the host once for all instances: the image, and for guests their kernel and "
        "initramfs too.",
    ),
    Metric(
        name="disk.instance",
        unit="B",
        better="lower",
        scale="exact",
        title="Disk for each instance",
        definition="Bytes allocated on the host because one instance has started: its overlay, layer or work folder.",
    ),
    Metric(
        name="disk.ten",
        unit="B",
        better="lower",
        scale="exact",
        title="Disk of ten instances",
        definition="The image once, which all share, and ten times what one instance has: computed from the two.",
    ),
)
