"""What a guest was really given: QEMU's own answers, libvirt's live definition, and the kernel's word on QEMU."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tare_bench import cgroups
from tare_bench.driver import Kind
from tare_bench.granted import cpu_list
from tare_bench.model import UNLIMITED


def of_guest(
    definition: str, vcpus: int, memory: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """By the live domain XML and by what the monitor answers to query-cpus-fast (how many), query-memory-size-summary
    and query-block. What is not stated is empty."""
    root = ET.fromstring(definition)
    disk = root.find("devices/disk/driver")
    names = sorted({_network(each) for each in root.findall("devices/interface")})
    return {
        "kind": Kind.VM,
        "vcpus": str(vcpus),
        "quota": _quota(root, vcpus),
        "memory": str(int(memory["base-memory"]) + int(memory.get("plugged-memory", 0))),
        "processes": UNLIMITED,  # its kernel counts its own, and the host does not
        "network": ", ".join(names) or "none",
        "disk cache": _cache(blocks),
        "disk io": "" if disk is None else disk.get("io", "threads"),
    }


def _network(interface: ET.Element) -> str:
    """What a card leads to, as a spec names it where it does."""
    if interface.get("type") == "user":
        return "user"
    model = interface.find("model")
    return "network card" if model is None else model.get("type", "")


def of_qemu(pid: int, guest: Mapping[str, str]) -> dict[str, str]:
    """What the kernel says of QEMU: it bounds what the guest was given. Raises OSError where it is gone."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    bounds = cgroups.limits(pid)
    found = {"cpus": cpu_list(cpu for thread in threads for cpu in os.sched_getaffinity(thread))}
    found |= {name: bounds[name] for name in ("swap",) if name in bounds}
    for name in ("quota", "memory"):
        if name in bounds:
            found[name] = min(guest[name], bounds[name], key=_number)
    return found


def _number(text: str) -> float:
    return math.inf if text == UNLIMITED else float(text)


def _quota(root: ET.Element, vcpus: int) -> str:
    """CPU seconds a second: of the whole guest, or of each vCPU times their number."""
    found = [math.inf]
    for name, times in (("global", 1), ("", vcpus)):
        prefix = f"{name}_" if name else ""
        quota, period = (root.findtext(f"cputune/{prefix}{each}") for each in ("quota", "period"))
        if quota is not None and int(quota) > 0:
            found.append(times * int(quota) / int(period or 100_000))
    least = min(found)
    return UNLIMITED if least == math.inf else f"{least:.10g}"


def _cache(blocks: Sequence[Mapping[str, Any]]) -> str:
    """The mode in which QEMU has the disk open, as libvirt names it."""
    for block in blocks:
        if block.get("inserted"):
            cache = block["inserted"]["cache"]
            return _MODES.get((cache["writeback"], cache["direct"], cache["no-flush"]), "another")
    return ""


_MODES = {
    (True, False, False): "writeback",
    (False, False, False): "writethrough",
    (True, True, False): "none",
    (False, True, False): "directsync",
    (True, False, True): "unsafe",
}
"""By writeback, direct and no-flush, as QEMU's documentation of -drive cache has them."""
