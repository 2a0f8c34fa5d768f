"""What this machine is, and which notices that earns: everything about it that could explain a number."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from . import cgroups
from .model import Notice

_TICK = os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float | None:
    """CPU seconds that all of the host's CPUs have worked so far, less those of this process; 10 ms resolution."""
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / _TICK - time.process_time()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
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


def collect() -> dict[str, str]:
    """The facts, as text. One that this host doesn't state is not there."""
    facts = {
        "hostname": platform.node(),
        "os": platform.freedesktop_os_release().get("PRETTY_NAME", "") if Path("/etc/os-release").exists() else "",
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "kernel command line": telling(_read("/proc/cmdline")),
        "boot id": _read("/proc/sys/kernel/random/boot_id"),
        "python": platform.python_version(),
        "cgroups": cgroups.hierarchies().version,
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo off": _read("/sys/devices/system/cpu/intel_pstate/no_turbo"),
        "smt": _read("/sys/devices/system/cpu/smt/active"),
        "ksm": _read("/sys/kernel/mm/ksm/run"),
        "transparent hugepages": _choice(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "nx_huge_pages": _read("/sys/module/kvm/parameters/nx_huge_pages"),
        "nested": _read("/sys/module/kvm_intel/parameters/nested") or _read("/sys/module/kvm_amd/parameters/nested"),
        "container": _container(),
    }
    return {key: value for key, value in {**facts, **_cpu(), **_memory()}.items() if value}


_LSCPU = ("Hypervisor vendor:", "Virtualization type:", "NUMA node(s):", "Socket(s):", "Thread(s) per core:")


def _cpu() -> dict[str, str]:
    facts = {"cpus": str(os.cpu_count() or 0)}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "microcode"):
            facts.setdefault(f"cpu {key.strip()}", value.strip())
    if shutil.which("lscpu"):
        answer = subprocess.run(["lscpu", "-J"], capture_output=True, text=True, check=False, start_new_session=True)
        for name, value in _flatten(json.loads(answer.stdout or "{}").get("lscpu", [])):
            if name in (
                "Hypervisor vendor:",
                "Virtualization type:",
                "NUMA node(s):",
                "Socket(s):",
                "Thread(s) per core:",
            ):
                facts[name.rstrip(":").lower()] = value
            elif name.startswith("Vulnerability ") and value.startswith("Mitigation"):
                facts[f"mitigation {name.removeprefix('Vulnerability ').rstrip(':').lower()}"] = value
    return facts


def _flatten(rows: list[dict[str, object]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for row in rows:
        found.append((str(row.get("field", "")), str(row.get("data") or "")))
        below = row.get("children")
        if isinstance(below, list):
            found += _flatten(below)
    return found


def _memory() -> dict[str, str]:
    values = {
        key: rest.split()[0] for key, _, rest in (line.partition(":") for line in _read("/proc/meminfo").splitlines())
    }
    facts = {}
    for key, name in (("MemTotal", "memory"), ("MemAvailable", "memory available"), ("SwapTotal", "swap")):
        if key in values:
            facts[name] = f"{int(values[key]) / 1024:.0f} MiB"
    return facts


# The kernel's own numbers for the first namespaces (include/linux/proc_ns.h).
_FIRST_PID_NAMESPACE = "pid:[4026531836]"


def _container() -> str:
    """What kind of container this host is; empty where it isn't one. A file that says so proves nothing."""
    if "microsoft" in platform.release().lower():
        return "WSL"
    if str(Path("/proc/self/ns/pid").readlink()) == _FIRST_PID_NAMESPACE:
        return ""
    return (
        "podman" if Path("/run/.containerenv").exists() else "docker" if Path("/.dockerenv").exists() else "a container"
    )


def notices(facts: dict[str, str], spec_memory: int) -> list[Notice]:
    """What of these facts is known to move results, and what to do about it."""
    found = []
    if hypervisor := facts.get("hypervisor vendor"):
        found.append(
            Notice(
                code="host-is-a-guest",
                subject="host",
                message=f"This host is itself a virtual machine ({hypervisor}): guests in it are nested.",
                hint="Compare arms within this run; run it on the machine itself for numbers of its own.",
            )
        )
    if where := facts.get("container"):
        found.append(Notice(code="host-is-a-container", subject="host", message=f"This host is a container ({where})."))
    governor = facts.get("governor", "")
    if governor not in ("", "performance"):
        found.append(
            Notice(
                code="governor",
                subject="host",
                message=f"The CPU frequency governor is `{governor}`: short work runs at a lower clock than long work.",
                hint="cpupower frequency-set -g performance",
            )
        )
    if facts.get("ksm") == "1":
        found.append(
            Notice(code="ksm", subject="host", message="KSM merges equal pages of guests: their memory looks smaller.")
        )
    available = float(facts.get("memory available", "0 MiB").split()[0]) * 2**20
    if available and available < 2 * spec_memory:
        found.append(
            Notice(
                code="little-memory",
                subject="host",
                message=f"Only {available / 2**20:.0f} MiB are available for instances of {spec_memory >> 20} MiB.",
                hint="End what else runs, or give instances less: [instance] memory.",
            )
        )
    return found
