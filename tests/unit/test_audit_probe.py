"""What the audit's probe prints, and the facts that are made of it."""

from __future__ import annotations

import os
import subprocess

import pytest
from tare_bench.workloads import audit

SEEN = """\
==> payload <==
{one}  /usr/bin/sh
{two}  /usr/bin/fio
==> network <==
lo
eth0
==> /proc/self/status <==
Name:\tsh
Umask:\t0022
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
Cpus_allowed_list:\t0,2-4

==> /proc/self/limits <==
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max processes             1890                 1890                 processes
Max nice priority         0                    0

==> /proc/self/mountinfo <==
1 1 0:1 / / rw,relatime - overlay overlay rw
2 1 0:2 / /tmp rw,nosuid,nodev,relatime - tmpfs tmp rw

==> /proc/meminfo <==
MemTotal:        1048576 kB
MemFree:          524288 kB

==> /proc/sys/kernel/osrelease <==
6.1.0-28-amd64

==> /sys/devices/system/cpu/online <==
0-3

==> /sys/kernel/mm/transparent_hugepage/enabled <==
always [madvise] never

==> /sys/fs/cgroup/memory.max <==
536870912

==> /sys/devices/system/cpu/vulnerabilities/meltdown <==
Not affected

==> /sys/devices/system/cpu/vulnerabilities/l1tf <==
Mitigation: PTE Inversion

==> /proc/cpuinfo <==
processor\t: 0
model name\t: AMD EPYC 7763

processor\t: 1
model name\t: another

==> /proc/self/environ <==
PATH=/bin\0HOME=/\0SECRET=hunter2\nx\n==> /proc/meminfo <==\nMemTotal: 1 kB\0""".format(one="a" * 64, two="b" * 64)


def test_the_facts_are_what_was_printed() -> None:
    facts = {name: value for name, value in audit.parse(SEEN).items() if value}
    secret = facts.pop("environment").splitlines()
    assert secret[:2] == ["HOME=/", "PATH=/bin"]
    assert secret[2].startswith("SECRET=sha256:")
    assert len(secret) == 3
    assert facts == {
        "cpus": "3",
        "memory": str(1 << 30),
        "memory limit": str(512 << 20),
        "kernel": "6.1.0-28-amd64",
        "cpu": "AMD EPYC 7763",
        "mitigations": "l1tf: Mitigation: PTE Inversion\nmeltdown: Not affected",
        "transparent hugepages": "madvise",
        "mount /": "overlay rw relatime",
        "mount /work": "overlay rw relatime",
        "mount /tmp": "tmpfs rw relatime",
        "limits": "cpu time: unlimited of unlimited\nprocesses: 1890 of 1890\nnice priority: 0 of 0",
        "user": "0 0 0 0 0 0 0 0 0022",
        "network": "eth0",
        "payload": f"fio: {'b' * 64}\nsh: {'a' * 64}",
    }


def test_no_value_of_a_variable_is_kept() -> None:
    assert b"hunter2" not in audit._without_environment(SEEN.encode())
    assert "hunter2" not in "".join(audit.parse(SEEN).values())


def test_a_processor_without_a_name_has_its_numbers() -> None:
    arm = "==> /proc/cpuinfo <==\nprocessor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
    assert audit.parse(arm)["cpu"] == "CPU implementer 0x41, CPU part 0xd0c"


@pytest.mark.parametrize("text", ["", "head: not found\n", "==> /proc/self/status <==\n", "==> network <==\n"])
def test_what_was_not_printed_is_no_fact(text: str) -> None:
    assert not any(value for value in audit.parse(text).values())


def test_the_probe_on_the_host_itself_reads_all_of_it() -> None:
    seen = subprocess.run(["/bin/sh", "-c", audit.PROBE], capture_output=True, text=True, check=True)
    facts = audit.parse(seen.stdout)
    assert facts["kernel"] == os.uname().release
    assert facts["cpus"] == str(len(os.sched_getaffinity(0)))
    assert facts["memory"] == str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    assert f"open files: {os.sysconf('SC_OPEN_MAX')} of " in facts["limits"]
    assert "sh: " in facts["payload"]
    assert not [name for name, value in facts.items() if not value and name != "memory limit"]


@pytest.mark.parametrize(("text", "cpus"), [("0", {0}), ("0-2,5", {0, 1, 2, 5})])
def test_a_list_of_cpus_is_a_set(text: str, cpus: set[int]) -> None:
    assert audit.cpu_set(text) == cpus


@pytest.mark.parametrize("text", ["", "x", "-1", "0-99999999999", "9" * 5000])
def test_what_is_no_list_of_cpus_is_no_fact(text: str) -> None:
    status = f"==> /proc/self/status <==\nCpus_allowed_list:\t{text}\n==> /sys/devices/system/cpu/online <==\n0\n"
    assert audit.parse(status)["cpus"] == ""
