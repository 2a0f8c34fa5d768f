"""What the host gives a process: read back from the kernel, the same for every technology whose instances are some."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from . import cgroups, mounts
from .model import INHERENT

_FALLBACK = frozenset(
    ("lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0")
)  # fmt: skip
"""Devices that the kernel gives each network namespace by itself; none of them leads anywhere."""


def of_process(pid: int, *, kind: str, writes: Path | None) -> dict[str, str]:
    """What a process or container whose first process that is may use. `writes`: where its files land on the host.

    What cannot be read is not there. Raises OSError where the process is gone.
    """
    allowed = os.sched_getaffinity(pid)
    found = {
        "kind": kind,
        "vcpus": str(len(allowed)),
        "cpus": cpu_list(allowed),
        **cgroups.limits(pid),
        "network": network(pid),
        "disk cache": INHERENT,
        "disk io": INHERENT,
        "storage": mounts.storage(writes) if writes is not None else "",
    }
    return {key: value for key, value in found.items() if value}


def cpu_list(cpus: Iterable[int]) -> str:
    """`0,1`, sorted: equal text for equal sets."""
    return ",".join(map(str, sorted(set(cpus))))


def network(pid: int) -> str:
    """`host`, `none`, or the devices of its network namespace; empty where it cannot be read."""
    try:
        theirs, ours = (Path(f"/proc/{each}/ns/net").readlink() for each in (pid, "self"))
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return ""
    if theirs == ours:
        return "host"
    return devices(line.partition(":")[0].strip() for line in lines)


def devices(names: Iterable[str]) -> str:
    """Network devices that lead somewhere, sorted; `none` where there is none of them."""
    return ", ".join(sorted(set(names) - _FALLBACK)) or "none"
