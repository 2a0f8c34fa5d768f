"""What this machine is, and which notices that earns."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tare_bench import hostfacts
from tare_bench.drivers.fake import FakeClock

MIB = 1 << 20

CPU = "sys/devices/system/cpu"
FIRST = {"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026531835]"}
OTHER = {"pid": "pid:[4026532777]", "cgroup": "cgroup:[4026532778]"}
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
INTEL = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-9700\nmicrocode\t: 0xf4\nflags\t\t: fpu vmx{}\n"

METAL = {
    "proc/self/mounts": V2,
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "proc/sys/kernel/osrelease": "6.1.0-28-amd64",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=UUID=1 mitigations=off",
    "proc/cpuinfo": INTEL.format("") + "\n" + INTEL.format(""),
    "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\nX: 1\n",
    "proc/stat": "cpu  900 0 100 5000 0 0 0 20 0 0\ncpu0 900 0 100 5000 0 0 0 20 0 0\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/77/comm": "dockerd\n",
    "proc/78/comm": "bash\n",
    "proc/sys/vm/swappiness": "60",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    f"{CPU}/online": "0-1",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate",
    f"{CPU}/intel_pstate/no_turbo": "0",
    f"{CPU}/smt/active": "1",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
    f"{CPU}/vulnerabilities/spectre_v1": "Mitigation: usercopy",
    f"{CPU}/vulnerabilities/mds": "Vulnerable",
    f"{CPU}/vulnerabilities/l1tf": "Not affected",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
    "sys/devices/system/node/node0/cpulist": "0",
    "sys/devices/system/node/node1/cpulist": "1",
    "sys/kernel/mm/ksm/run": "1",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    "sys/module/kvm/parameters/nx_huge_pages": "Y",
    "sys/module/kvm_intel/parameters/nested": "Y",
    "sys/class/dmi/id/sys_vendor": "Dell Inc.",
}


def host(root: Path, files: Mapping[str, str], namespaces: Mapping[str, str] = FIRST) -> Path:
    """A folder in which another machine says what it is."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for kind, name in namespaces.items():
        link = root / "proc/self/ns" / kind
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(name)
    return root


def guest(vendor: str, product: str = "") -> dict[str, str]:
    return {
        **METAL,
        "proc/cpuinfo": INTEL.format(" hypervisor"),
        "sys/class/dmi/id/sys_vendor": vendor,
        "sys/class/dmi/id/product_name": product,
    }


def codes(facts: dict[str, str], memory: int = 512 * MIB) -> list[str]:
    return [notice.code for notice in hostfacts.notices(facts, memory)]


def test_the_facts_of_this_host() -> None:
    facts = hostfacts.collect()
    assert facts["kernel"] == platform.release()
    assert facts["cpus"] == str(os.cpu_count())
    assert facts["boot id"]
    assert facts["cgroups"] in ("v1", "v2", "hybrid", "none")
    assert facts["memory"].endswith(" MiB")
    assert all(isinstance(value, str) and value for value in facts.values())


def test_a_quiet_machine_earns_no_notice() -> None:
    assert codes({"governor": "performance", "ksm": "0", "memory available": "9000 MiB"}) == []
    assert codes({}) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"hypervisor vendor": "KVM"}, "host-is-a-guest"),
        ({"container": "docker"}, "host-is-a-container"),
        ({"governor": "powersave"}, "governor"),
        ({"ksm": "1"}, "ksm"),
        ({"memory available": "1000 MiB"}, "little-memory"),
    ],
)
def test_what_moves_results_earns_one(facts: dict[str, str], code: str) -> None:
    assert codes(facts) == [code]


def test_little_memory_depends_on_what_instances_get() -> None:
    assert codes({"memory available": "1000 MiB"}, 256 * MIB) == []


def test_a_choice_is_the_one_in_brackets() -> None:
    assert hostfacts._choice("always [madvise] never") == "madvise"
    assert hostfacts._choice("performance") == "performance"


def test_busy_time_is_less_our_own() -> None:
    before = hostfacts.busy_seconds()
    assert before is not None
    sum(range(100_000))
    after = hostfacts.busy_seconds()
    assert after is not None


def test_of_the_kernels_command_line_only_what_tells_is_kept() -> None:
    line = "root=UUID=1234 mitigations=off quiet rd.luks.key=secret nohz_full=1 -- --token mitigations=secret"
    assert hostfacts.telling(line) == "mitigations=off nohz_full=1"


def test_a_machine_says_what_it_is(tmp_path: Path) -> None:
    facts = hostfacts.collect(host(tmp_path, METAL))
    expected = {
        "os": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.1.0-28-amd64", "kernel command line": "mitigations=off",
        "cgroups": "v2", "psi": "on", "cpus": "2", "cpu model name": "Intel(R) Core(TM) i7-9700",
        "cpu microcode": "0xf4", "numa node(s)": "2", "governor": "performance, powersave", "turbo": "on", "smt": "1",
        "frequency driver": "intel_pstate", "mitigation spectre v1": "usercopy", "mitigation mds": "Vulnerable",
        "clocksource": "hpet", "ksm": "1", "transparent hugepages": "always", "nx_huge_pages": "Y", "nested": "Y",
        "memory": "15625 MiB", "memory available": "8789 MiB", "swap": "2 MiB", "swap used": "1 MiB",
        "steal since boot": "1.96% of CPU time", "overheated since boot": "3 times", "engine daemons": "dockerd",
        "online cpus": "0-1", "swappiness": "60",
    }  # fmt: skip
    assert {key: facts.get(key) for key in expected} == expected
    assert not {"container", "hypervisor vendor", "mitigation l1tf"} & set(facts)


def test_each_of_them_that_moves_results_earns_a_notice_with_a_hint(tmp_path: Path) -> None:
    facts = hostfacts.collect(host(tmp_path, METAL))
    found = hostfacts.notices(facts, 512 * MIB, guests=True)
    assert {notice.code for notice in found} == {
        *("governor", "turbo", "smt", "ksm", "thp", "clocksource", "mitigations-off", "numa", "steal", "nx-huge-pages"),
    }
    assert all(notice.hint for notice in found)
    assert "nx-huge-pages" not in codes(facts)


@pytest.mark.parametrize(
    ("files", "namespaces", "facts"),
    [
        (
            {**guest("Microsoft Corporation"), "proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2"},
            OTHER,
            {"container": "WSL 2", "hypervisor vendor": "Microsoft"},
        ),
        ({**METAL, "proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}, FIRST, {"container": "WSL 1"}),
        (
            {**guest(""), "proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2", ".dockerenv": ""},
            OTHER,
            {"container": "docker in WSL 2", "hypervisor vendor": "not told"},
        ),
        ({**METAL, ".dockerenv": ""}, OTHER, {"container": "docker"}),
        ({**METAL, "run/.containerenv": "engine"}, OTHER, {"container": "podman"}),
        ({**METAL, "run/systemd/container": "systemd-nspawn\n"}, OTHER, {"container": "systemd-nspawn"}),
        (METAL, OTHER, {"container": "a container"}),
        ({**METAL, ".dockerenv": ""}, {**FIRST, "cgroup": OTHER["cgroup"]}, {"container": "docker"}),
        ({**METAL, ".dockerenv": ""}, FIRST, {}),
        (METAL, {**FIRST, "cgroup": OTHER["cgroup"]}, {}),
        (guest("QEMU", "Standard PC (Q35 + ICH9, 2009)"), FIRST, {"hypervisor vendor": "KVM"}),
        (guest("VMware, Inc."), FIRST, {"hypervisor vendor": "VMware"}),
        (guest("innotek GmbH", "VirtualBox"), FIRST, {"hypervisor vendor": "VirtualBox"}),
        ({**METAL, "sys/class/dmi/id/sys_vendor": "Amazon EC2"}, FIRST, {}),
    ],
)
def test_what_kind_of_host_it_is(
    tmp_path: Path, files: dict[str, str], namespaces: dict[str, str], facts: dict[str, str]
) -> None:
    found = hostfacts.collect(host(tmp_path, files, namespaces))
    assert {key: found[key] for key in ("container", "hypervisor vendor") if key in found} == facts
    expected = {"container": "host-is-a-container", "hypervisor vendor": "host-is-a-guest"}
    assert {code for code in codes(found) if code.startswith("host-is")} == {expected[key] for key in facts}


def test_an_arm_host(tmp_path: Path) -> None:
    files = {
        "proc/self/mounts": V2,
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids",
        "proc/cpuinfo": "processor\t: 0\nFeatures: fp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n",
        "proc/device-tree/hypervisor/compatible": "linux,kvm\0",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter",
        f"{CPU}/cpufreq/boost": "0",
    }
    facts = hostfacts.collect(host(tmp_path, files))
    assert facts["cpu model name"] == "implementer 0x41, part 0xd0c"
    assert facts["hypervisor vendor"] == "KVM"
    assert (facts["cpus"], facts["turbo"], facts["psi"]) == ("2", "off", "off")
    assert codes(facts) == ["host-is-a-guest"]


def test_v1_and_both(tmp_path: Path) -> None:
    v1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    both = v1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    files = {"sys/fs/cgroup/unified/cgroup.controllers": ""}
    assert hostfacts.collect(host(tmp_path / "1", {"proc/self/mounts": v1}))["cgroups"] == "v1"
    assert hostfacts.collect(host(tmp_path / "2", {"proc/self/mounts": both, **files}))["cgroups"] == "hybrid"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"disk free": "300 MiB"}, "little-disk"),
        ({"busy": "0.90 CPUs"}, "busy"),
        ({"steal since boot": "1.20% of CPU time"}, "steal"),
        ({"kernel command line": "quiet nopti"}, "mitigations-off"),
    ],
)
def test_what_there_is_too_little_of_earns_one(facts: dict[str, str], code: str) -> None:
    assert codes(facts) == [code]


def test_usual_values_earn_none() -> None:
    usual = {
        "disk free": "70000 MiB", "busy": "0.10 CPUs", "steal since boot": "0.90% of CPU time", "clocksource": "tsc",
        "turbo": "off", "smt": "0", "transparent hugepages": "madvise", "numa node(s)": "1", "nx_huge_pages": "N",
    }  # fmt: skip
    assert hostfacts.notices(usual, 512 * MIB, guests=True) == []


def test_how_busy_the_host_is_now() -> None:
    clock = FakeClock()
    clock.select = lambda sources, deadline: (clock.spend(0.05), clock.advance(0.1), [])[2]  # type: ignore[method-assign]
    assert hostfacts.busy_share(clock) == {"busy": "0.50 CPUs"}
    clock.busy = lambda: None  # type: ignore[method-assign]
    assert hostfacts.busy_share(clock) == {}


def test_what_changed_during_a_run_is_one_notice(tmp_path: Path) -> None:
    root = host(tmp_path, METAL)
    before = hostfacts.collect(root)
    assert hostfacts.changes(before, hostfacts.volatile(root)) == []
    later = {
        f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "9",
        "proc/meminfo": "MemAvailable: 4000000 kB\n",
        "proc/stat": "cpu  9000 0 100 5000 0 0 0 20 0 0\n",
        "proc/77/comm": "bash",
    }
    [notice] = hostfacts.changes(before, hostfacts.volatile(host(root, later, {})))
    assert notice.code == "host-changed"
    for words in (
        "governor: performance, powersave → performance", "overheated since boot: 3 times → 9 times",
        "memory available: 8789 → 3906 MiB", "engine daemons: dockerd → none",
    ):  # fmt: skip
        assert words in notice.message
    assert "steal" not in notice.message


@pytest.mark.needs("root")
def test_a_real_pid_namespace_is_a_container() -> None:
    asks = "from tare_bench import hostfacts; print(hostfacts.collect().get('container', ''))"
    inside = ["unshare", "--pid", "--cgroup", "--fork", "--mount-proc", sys.executable, "-c", asks]
    assert subprocess.run(inside, capture_output=True, text=True, check=True).stdout.strip()
