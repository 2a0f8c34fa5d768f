"""What this machine is, before and after a run, and which notices that earns: everything that could explain a number.

Facts are read from files below a root folder, so that a test can store what another machine says of itself.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import cgroups, headroom, paths, pressure
from .clock import NS, Clock, sleep_until
from .model import Notice

ROOT = Path("/")


def busy_seconds() -> float | None:
    """CPU seconds that all of the host's CPUs have worked so far, less those of this process; 10 ms resolution."""
    busy = pressure.cpu_times().get("busy")
    return None if busy is None else busy - time.process_time()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n\t ")
    except OSError:
        return ""


_TELLING = (
    "amd_pstate", "cgroup", "clocksource", "cpuidle", "default_hugepagesz", "haltpoll", "hugepages", "idle",
    "intel_idle", "intel_pstate", "iommu", "isolcpus", "kvm", "l1tf", "maxcpus", "mds", "mitigations", "mmio_stale",
    "nested", "nohz", "nopti", "nosmt", "nospectre", "nox2apic", "numa", "preempt", "processor.max_cstate", "psi",
    "rcu_nocbs", "retbleed", "skew_tick", "spec_", "spectre", "srbds", "systemd.unified", "transparent_hugepage", "tsc",
)  # fmt: skip


def telling(command_line: str) -> str:
    """The parameters of a kernel's command line that can explain a number: the rest is nobody's business.

    Reports are mailed and archived, and a command line may name disks, addresses and secrets.
    """
    words = command_line.partition(" -- ")[0].split()
    return " ".join(word for word in words if word.startswith(_TELLING))


def _choice(text: str) -> str:
    """`always [madvise] never` is madvise."""
    return text.partition("[")[2].partition("]")[0] or text


# Facts


_SETTINGS = {
    "boot id": "proc/sys/kernel/random/boot_id",
    "frequency driver": "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
    "smt": "sys/devices/system/cpu/smt/active",
    "isolated cpus": "sys/devices/system/cpu/isolated",
    "swappiness": "proc/sys/vm/swappiness",
    "numa balancing": "proc/sys/kernel/numa_balancing",
    "nx_huge_pages": "sys/module/kvm/parameters/nx_huge_pages",
    "halt_poll_ns": "sys/module/kvm/parameters/halt_poll_ns",
}
"""What one file says."""


def collect(root: Path = ROOT) -> dict[str, str]:
    """The facts, as text. One that this host doesn't state is not there."""
    release = _release(root)
    facts = {
        "hostname": _read(root / "proc/sys/kernel/hostname") or platform.node(),
        "os": _os(root),
        "kernel": release,
        "architecture": platform.machine() if root == ROOT else "",
        "kernel command line": telling(_read(root / "proc/cmdline")),
        "python": platform.python_version(),
        "cgroups": cgroups.hierarchies(root).version,
        "psi": "on" if _read(root / "proc/pressure/cpu") else "off",
        **{name: _read(root / path) for name, path in _SETTINGS.items()},
        "transparent hugepages": _choice(_read(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "nested": _any(root / f"sys/module/{module}/parameters/nested" for module in ("kvm_intel", "kvm_amd")),
        "container": _container(root, release),
        **_cpu(root),
        **_lscpu(root),
        **_mitigations(root),
        **_memory(root),
        **volatile(root),
    }
    return {key: value for key, value in facts.items() if value}


def volatile(root: Path = ROOT) -> dict[str, str]:
    """The facts that may change while a run goes on: read once more at its end."""
    times, counters = pressure.cpu_times(root), pressure.read((), root)
    total = sum(times.values())
    facts = {
        "online cpus": _read(root / "sys/devices/system/cpu/online"),
        "governor": _governor(root),
        "turbo": _turbo(root),
        "ksm": _read(root / "sys/kernel/mm/ksm/run"),
        "clocksource": _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "cpu microcode": _cpuinfo(root).get("microcode", ""),
        "steal since boot": f"{times['steal'] / total:.2%} of CPU time" if total else "",
        "overheated since boot": f"{counters['overheated']:.0f} times" if "overheated" in counters else "",
        "memory available": _mebibytes(_meminfo(root).get("MemAvailable")),
        "swap used": _swap_used(root),
        "disk free": _disk_free() if root == ROOT else "",
        "engine daemons": ", ".join(_daemons(root)),
    }
    return {key: value for key, value in facts.items() if value}


def busy_share(clock: Clock, window: float = 0.1) -> dict[str, str]:
    """How busy the host is now, over a window in seconds. Empty where the clock doesn't know."""
    at, before = clock.now(), clock.busy()
    sleep_until(clock, at + int(window * NS))
    after, seconds = clock.busy(), (clock.now() - at) / NS
    if before is None or after is None:
        return {}
    return {"busy": f"{max(0.0, after - before) / seconds:.2f} CPUs"}


def _any(files: Iterable[Path]) -> str:
    return next(filter(None, map(_read, files)), "")


def _release(root: Path) -> str:
    return _read(root / "proc/sys/kernel/osrelease") or platform.release()


def _os(root: Path) -> str:
    for line in _any([root / "etc/os-release", root / "usr/lib/os-release"]).splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'")
    return ""


def _governor(root: Path) -> str:
    found = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({_read(path) for path in found} - {""}))


def _turbo(root: Path) -> str:
    """`on`, `off`; empty where it cannot be told."""
    no_turbo = _read(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = _read(root / "sys/devices/system/cpu/cpufreq/boost")
    return {"0": "on", "1": "off"}.get(no_turbo) or {"1": "on", "0": "off"}.get(boost, "")


def _cpuinfo(root: Path) -> dict[str, str]:
    """What it says of the first CPU."""
    first = _read(root / "proc/cpuinfo").partition("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _cpu(root: Path) -> dict[str, str]:
    info = _cpuinfo(root)
    nodes = len(list(root.glob("sys/devices/system/node/node[0-9]*")))
    facts = {
        "cpus": str(os.cpu_count() or 0) if root == ROOT else str(_read(root / "proc/cpuinfo").count("processor\t")),
        "cpu model name": info.get("model name", ""),
        "numa node(s)": str(nodes) if nodes else "",
    }
    if not facts["cpu model name"] and "CPU part" in info:  # Arm's kernels name no model
        facts["cpu model name"] = f"implementer {info.get('CPU implementer', '')}, part {info['CPU part']}"
    if vendor := _hypervisor(root, info):
        facts["hypervisor vendor"] = vendor
    return facts


_VENDORS = {"qemu": "KVM", "kvm": "KVM", "microsoft": "Microsoft", "vmware": "VMware", "virtualbox": "VirtualBox",
            "amazon ec2": "Amazon EC2", "google": "Google", "xen": "Xen", "parallels": "Parallels"}  # fmt: skip


def _hypervisor(root: Path, info: Mapping[str, str]) -> str:
    """Whose virtual machine this host is; empty where it is a machine."""
    names = ("sys_vendor", "product_name", "bios_vendor")
    board = " ".join(_read(root / "sys/class/dmi/id" / name) for name in names)
    tree = _read(root / "proc/device-tree/hypervisor/compatible")
    said = f"{_read(root / 'sys/hypervisor/type')} {tree} {board}".lower()
    vendor = next((name for word, name in _VENDORS.items() if word in said), "")
    if "hypervisor" in info.get("flags", "").split():
        return vendor or "not told"
    # Without the flag, which only x86 has, the board alone proves it only where no real one is called so.
    return vendor if tree or ("flags" not in info and vendor in ("KVM", "VMware", "VirtualBox", "Xen")) else ""


_LSCPU = {
    "Hypervisor vendor:": "hypervisor vendor",
    "Virtualization type:": "virtualization type",
    "Model name:": "cpu model name",
    "Socket(s):": "socket(s)",
    "Thread(s) per core:": "thread(s) per core",
}


def _lscpu(root: Path) -> dict[str, str]:
    """What only the CPU itself tells."""
    if root != ROOT or not shutil.which("lscpu"):
        return {}
    answer = subprocess.run(["lscpu", "-J"], capture_output=True, text=True, check=False, start_new_session=True)
    said = dict(_flatten(json.loads(answer.stdout or "{}").get("lscpu", [])))
    return {name: said[field] for field, name in _LSCPU.items() if said.get(field)}


def _flatten(rows: list[dict[str, object]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for row in rows:
        found.append((str(row.get("field", "")), str(row.get("data") or "")))
        below = row.get("children")
        if isinstance(below, list):
            found += _flatten(below)
    return found


def _mitigations(root: Path) -> dict[str, str]:
    """What the kernel does, or doesn't, about each weakness that this CPU has."""
    found = {path.name: _read(path) for path in sorted(root.glob("sys/devices/system/cpu/vulnerabilities/*"))}
    return {
        f"mitigation {name.replace('_', ' ')}": said.removeprefix("Mitigation: ")
        for name, said in found.items()
        if said != "Not affected"
    }


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes."""
    return headroom.sizes(_read(root / "proc/meminfo"))


def _mebibytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.0f} MiB"


def _memory(root: Path) -> dict[str, str]:
    sizes = _meminfo(root)
    return {"memory": _mebibytes(sizes.get("MemTotal")), "swap": _mebibytes(sizes.get("SwapTotal"))}


def _swap_used(root: Path) -> str:
    sizes = _meminfo(root)
    return _mebibytes(sizes["SwapTotal"] - sizes.get("SwapFree", 0)) if sizes.get("SwapTotal") else ""


def _disk_free() -> str:
    """Where the images are."""
    folder = paths.cache_dir()
    try:
        return _mebibytes(shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free)
    except OSError:
        return ""


_DAEMONS = ("containerd", "crio", "dockerd", "incusd", "kubelet", "libvirtd", "lxd", "virtlxcd", "virtqemud")


def _daemons(root: Path) -> list[str]:
    """Engines' daemons that run now, idle ones too. By their names, since nothing is done to them."""
    return sorted({name for path in root.glob("proc/[0-9]*/comm") if (name := _read(path)) in _DAEMONS})


# The kernel's own numbers for the first namespaces (include/linux/proc_ns.h).
_FIRST_NAMESPACES = {"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026531835]"}
_MARKS = {"run/.containerenv": "podman", ".dockerenv": "docker", "run/systemd/container": "", "dev/lxd": "lxd"}
"""Files that container engines leave, with whose they are; empty: the file says so."""


def _container(root: Path, release: str) -> str:
    """What kind of container this host is; empty where it isn't one. A file that says so proves nothing by itself."""
    mark = next((name or _read(root / path) for path, name in _MARKS.items() if (root / path).exists()), "")
    elsewhere = {kind for kind, first in _FIRST_NAMESPACES.items() if _namespace(root, kind) not in (first, "")}
    if "microsoft" in release.lower():
        wsl = "WSL 2" if "wsl2" in release.lower() or "Microsoft" not in release else "WSL 1"
        return f"{mark} in {wsl}" if mark else wsl
    if "pid" in elsewhere or (mark and elsewhere):
        return mark or "a container"
    return ""


def _namespace(root: Path, kind: str) -> str:
    try:
        return str((root / "proc/self/ns" / kind).readlink())
    except OSError:
        return ""


# Notices


def notices(facts: Mapping[str, str], spec_memory: int, *, guests: bool = False) -> list[Notice]:
    """What of these facts is known to move results, and what to do about it.

    `spec_memory`: bytes of the largest instance. `guests`: whether virtual machines are among what is measured.
    """
    found = [
        Notice(code=code, subject="host", message=message, hint=hint)
        for applies, code, message, hint in (*_kind(facts), *_settings(facts), *_room(facts, spec_memory))
        if applies
    ]
    if guests and facts.get("nx_huge_pages") == "Y":
        message = "KVM splits the huge pages of guests' code (nx_huge_pages): guests are slower than on other CPUs."
        hint = "It is part of what guests cost on this CPU. kvm.nx_huge_pages=off only where all guests are trusted."
        found.append(Notice(code="nx-huge-pages", subject="host", message=message, hint=hint))
    return found


_Rule = tuple[bool, str, str, str]
"""Whether it applies; code, message, hint."""


def _kind(facts: Mapping[str, str]) -> tuple[_Rule, ...]:
    hypervisor, where = facts.get("hypervisor vendor", ""), facts.get("container", "")
    return (
        (
            bool(hypervisor),
            "host-is-a-guest",
            f"This host is itself a virtual machine ({hypervisor}): guests in it are nested.",
            "Compare arms within this run; run it on the machine itself for numbers of its own.",
        ),
        (
            bool(where),
            "host-is-a-container",
            f"This host is a container ({where}): its limits, and what else runs on the machine, are not all seen.",
            "WSL runs in a virtual machine of Windows: its guests are nested, its disk is a file. "
            "Run it on Linux itself for numbers of its own."
            if "WSL" in where
            else "Run it on the machine itself for numbers of its own.",
        ),
    )


_SLOW_CLOCKS = ("acpi_pm", "hpet", "jiffies", "refined-jiffies", "pit")


def _settings(facts: Mapping[str, str]) -> tuple[_Rule, ...]:
    governor, clock = facts.get("governor", ""), facts.get("clocksource", "")
    return (
        (
            governor not in ("", "performance"),
            "governor",
            f"The CPU frequency governor is `{governor}`: short work runs at a lower clock than long work.",
            "--tune for this run, or: cpupower frequency-set -g performance",
        ),
        (
            facts.get("turbo") == "on",
            "turbo",
            "Turbo is on: the clock depends on how warm the CPU is and how many of its cores work.",
            "--tune turns it off for this run.",
        ),
        (
            facts.get("smt") == "1",
            "smt",
            "SMT is on: two vCPUs, or an instance and its engine, may share one core.",
            "Judge `instance cpus` by lscpu -e; or: echo off > /sys/devices/system/cpu/smt/control",
        ),
        (
            facts.get("ksm") == "1",
            "ksm",
            "KSM merges equal pages of guests: their memory looks smaller, and ksmd takes CPU time.",
            "--tune stops it for this run.",
        ),
        (
            facts.get("transparent hugepages") == "always",
            "thp",
            "Transparent huge pages are always on: memory may be taken in steps of 2 MiB.",
            "Compare memory within this run; or: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        (
            clock in _SLOW_CLOCKS,
            "clocksource",
            f"The clock source is {clock}: to read the time is slow, and slower still in a guest.",
            "dmesg says why the kernel does not trust the TSC; firmware settings may help.",
        ),
        (
            any(word in facts.get("kernel command line", "").split() for word in ("mitigations=off", "nopti")),
            "mitigations-off",
            "The host's mitigations are switched off: system calls and exits cost less than elsewhere.",
            "Do not take these numbers to a host that has them on.",
        ),
        (
            facts.get("numa node(s)", "1") not in ("0", "1"),
            "numa",
            f"This host has {facts.get('numa node(s)')} NUMA nodes: memory of another node is slower.",
            "numactl --cpunodebind=0 --membind=0 tare run keeps all on one.",
        ),
    )


_BUSY = 0.5
_STEAL = 1.0
"""Per cent of all CPU time since boot."""
_LITTLE_DISK = 1024
"""MiB."""


def _room(facts: Mapping[str, str], spec_memory: int) -> tuple[_Rule, ...]:
    available, disk, busy = (_figure(facts, name) for name in ("memory available", "disk free", "busy"))
    return (
        (
            available is not None and available * 2**20 < 2 * spec_memory,
            "little-memory",
            f"Only {available or 0:.0f} MiB are available for instances of {spec_memory >> 20} MiB.",
            "End what else runs, or give instances less: [instance] memory.",
        ),
        (
            disk is not None and disk < _LITTLE_DISK,
            "little-disk",
            f"Only {disk or 0:.0f} MiB are free where images and overlays are: a full disk is a slow one.",
            "tare images, tare sweep; or name another folder: TARE_CACHE=FOLDER",
        ),
        (
            busy is not None and busy > _BUSY,
            "busy",
            f"The host was busy with {busy or 0:.2f} CPUs before anything was measured.",
            "End what else runs.",
        ),
        (
            _percent(facts.get("steal since boot", "")) > _STEAL,
            "steal",
            f"Other virtual machines have taken {facts.get('steal since boot')} since this host was booted.",
            "Use a machine of your own, or more rounds.",
        ),
    )


def _figure(facts: Mapping[str, str], name: str) -> float | None:
    """The number that a fact begins with."""
    word = facts.get(name, "").partition(" ")[0]
    return float(word) if word.replace(".", "", 1).isdigit() else None


def _percent(text: str) -> float:
    return float(text.partition("%")[0]) if "%" in text else 0.0


_COUNTS = ("overheated since boot",)
_STATES = ("online cpus", "governor", "turbo", "ksm", "clocksource", "cpu microcode", "engine daemons")


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Notice]:
    """What of the volatile facts is not at the end of a run as it was at its beginning."""
    what = [
        f"{name}: {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in (*_STATES, *_COUNTS)
        if before.get(name) != after.get(name)
    ]
    for name in ("memory available", "disk free"):
        was, is_ = _figure(before, name), _figure(after, name)
        if was is not None and is_ is not None and is_ < was / 2:
            what.append(f"{name}: {was:.0f} → {is_:.0f} MiB")
    if not what:
        return []
    message = f"The host changed while it was measured: {'; '.join(what)}."
    hint = "Values from before and after that are not alike: measure once more on a host that stays as it is."
    return [Notice(code="host-changed", subject="host", message=message, hint=hint)]
