"""What the probe of the isolation says, and what is made of it."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from pathlib import Path

import pytest
from tare_bench import lifecycle, syscalls
from tare_bench.driver import Accounts
from tare_bench.drivers.fake import Behaviour, FakeDriver, Reply
from tare_bench.errors import InstanceError
from tare_bench.model import Spec
from tare_bench.workloads import Measured
from tare_bench.workloads.isolation import NAMESPACES, PROBE, HostView, Isolation, _of_vmm, host_view, parse, weigh

HOST = HostView(
    boot_id="aaaa",
    kernel="6.1.0 #1 SMP",
    namespaces={kind: f"{kind}:[40265318{number}]" for number, kind in enumerate(NAMESPACES)},
    processes=frozenset({(1, 10), (2, 20), (300, 3000)}),
    filesystems=frozenset({"8:1", "0:29"}),
)

CONTAINER = """\
boot_id aaaa
kernel_release 6.1.0
kernel_version #1 SMP
machine x86_64
os "Debian GNU/Linux 12 (bookworm)"
ns cgroup cgroup:[402653180]
ns ipc ipc:[5]
ns mnt mnt:[6]
ns net net:[7]
ns pid pid:[8]
ns time time:[402653185]
ns user user:[402653186]
ns uts uts:[9]
status CapEff: 00000000a80425fb
status NoNewPrivs: 0
status Seccomp: 2
process 1 (sh) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 999 1 1
process 2 (a ) (b) R 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1000 1 1
mount 101 74 0:41 / / rw - overlay overlay rw
mount 107 106 0:29 /a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu
mount 119 101 8:1 /x /etc/hosts rw - ext4 /dev/sda1 rw
device 1:3 character special file
device 5:2 character special file
device 88:0 character special file
device 8:0 block special file
device 8:0 block special file
devices 5
listed 40
log 12
"""


def values(text: str, host: HostView = HOST) -> dict[str, float]:
    return named(weigh(parse(text), host))


def named(found: Measured) -> dict[str, float]:
    return {each.metric.removeprefix("isolation."): each.value for each in found.samples}


def test_a_container_shares_the_kernel_and_has_namespaces_of_its_own() -> None:
    assert values(CONTAINER) == {
        "same_kernel": 1.0,
        "same_version": 1.0,
        "namespaces": 5.0,
        "host_processes": 0.0,
        "host_devices": 1.0,
        "host_devices_listed": 40.0,
        "host_mounts": 2.0,
        "host_log": 12.0,
        "capabilities": 14.0,
        "seccomp": 2.0,
        "no_new_privs": 0.0,
    }
    facts = weigh(parse(CONTAINER), HOST).facts
    assert facts["namespaces"] == "ipc, mnt, net, pid, uts"
    assert facts["os"] == "Debian GNU/Linux 12 (bookworm)"


def test_another_kernel_shares_nothing_whatever_its_numbers_are() -> None:
    guest = CONTAINER.replace("boot_id aaaa", "boot_id bbbb")
    for kind in NAMESPACES:
        guest = guest.replace(f"ns {kind} ", f"ns {kind} {HOST.namespaces[kind]} ")
    guest += "process 300 (init) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 3000 1 1\n"
    found = values(guest)
    assert found["namespaces"] == 8.0
    assert found["same_version"] == 1.0
    for name in ("same_kernel", "host_processes", "host_devices", "host_devices_listed", "host_mounts", "host_log"):
        assert found[name] == 0.0, name


def test_a_kernel_of_another_build_is_not_of_the_hosts_version() -> None:
    assert values(CONTAINER.replace("#1 SMP", "#2 SMP"))["same_version"] == 0.0


def test_a_host_process_is_one_by_pid_and_start() -> None:
    same = "process 300 (x) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 3000 1 1\n"
    other = same.replace(" 3000 ", " 3001 ")
    assert values(CONTAINER + same)["host_processes"] == 1.0
    assert values(CONTAINER + other)["host_processes"] == 0.0


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("status CapEff: 00000000a80425fb\n", "capabilities"),
        ("status Seccomp: 2\n", "seccomp"),
        ("status NoNewPrivs: 0\n", "no_new_privs"),
        ("devices 5\n", "host_devices"),
        ("log 12\n", "host_log"),
    ],
)
def test_what_could_not_be_read_is_not_there_and_no_zero(line: str, name: str) -> None:
    assert line in CONTAINER
    assert name not in values(CONTAINER.replace(line, ""))


def test_a_namespace_that_cannot_be_read_is_not_its_own() -> None:
    assert values(CONTAINER.replace("ns pid pid:[8]", "ns pid "))["namespaces"] == 4.0


@pytest.mark.parametrize("text", ["", "sh: read: not found\n", "ns pid pid:[1]\n"])
def test_a_probe_that_says_nothing_is_a_failure(text: str) -> None:
    with pytest.raises(InstanceError):
        parse(text)


def test_the_probe_on_the_host_itself_sees_the_host() -> None:
    seen = subprocess.run(["/bin/sh", "-c", PROBE], capture_output=True, text=True, check=True)
    found = values(seen.stdout, host_view(set()))
    assert (found["same_kernel"], found["same_version"], found["namespaces"]) == (1.0, 1.0, 0.0)
    assert found["host_processes"] > 1.0
    assert found["host_mounts"] == len(Path("/proc/self/mountinfo").read_text().splitlines())
    assert found["host_devices_listed"] > 0
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert weigh(parse(seen.stdout), host_view(set())).facts["boot_id"] == boot_id


def test_what_was_mounted_for_the_instance_is_not_the_hosts() -> None:
    line = Path("/proc/self/mountinfo").read_text().splitlines()[-1]
    device, point = line.split()[2], line.split()[4]
    assert device in host_view(set()).filesystems
    assert device not in host_view(set(), [device, point]).filesystems


def test_the_vmm_is_read_on_the_host_and_what_has_none_has_no_row() -> None:
    found = _of_vmm(Accounts(parts={os.getpid(): "vmm"}))
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    assert found == {
        "vmm_seccomp": int(status["Seccomp"]),
        "vmm_capabilities": int(status["CapEff"], 16).bit_count(),
    }
    assert _of_vmm(Accounts(parts={os.getpid(): "shim"})) == {}


def tried(probe: str, calls: Reply) -> Measured:
    """What the workload finds in an instance whose probe and whose system calls answer so."""
    driver = FakeDriver(Behaviour(replies={PROBE: Reply(probe.encode()), "perl *": calls}))
    with lifecycle.created(driver, Spec(vcpus=1, memory=1 << 29), name="x", clock=driver.clock, seconds=60.0) as live:
        lifecycle.boot(live)
        return Isolation().measure(live, {})


def answers(**named: int) -> Reply:
    known = syscalls.numbers("x86_64")
    lines = [f"{number} {named.get(name, 9)}" for number, name in known.items()]
    return Reply("\n".join([*lines, "end", ""]).encode())


UNFILTERED = CONTAINER.replace("Seccomp: 2", "Seccomp: 0")
TOTAL = len(syscalls.numbers("x86_64"))


def test_without_a_filter_the_answers_speak_for_themselves() -> None:
    found = tried(UNFILTERED, answers(mount=1, acct=1, vserver=38))
    assert {name: value for name, value in named(found).items() if name.startswith("syscalls")} == {
        "syscalls": TOTAL - 3,
        "syscalls_filtered": 0,
        "syscalls_refused": 2,
        "syscalls_missing": 1,
    }
    assert found.facts["syscalls refused"] == "acct, mount"


def test_a_filter_in_a_kernel_that_is_not_here_leaves_only_what_is_let_through() -> None:
    found = tried(CONTAINER, answers(mount=1, vserver=38))
    counted = {name: value for name, value in named(found).items() if name.startswith("syscalls")}
    assert counted == {"syscalls": TOTAL - 2}
    assert found.facts["syscalls unknown"] == "a filter in another kernel than the host's"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the answers are by x86-64's numbers")
def test_a_filter_in_the_hosts_kernel_is_told_by_what_that_answers_here() -> None:
    view, held = host_view(set()), "0" * 16
    probe = CONTAINER.replace("boot_id aaaa", f"boot_id {view.boot_id}").replace("00000000a80425fb", held)
    probe = probe.replace("user:[402653186]", view.namespaces["user"])
    here = subprocess.run(syscalls.argv("x86_64", held), capture_output=True, check=True, timeout=60)
    known = syscalls.parse(here.stdout.decode(), "x86_64")
    assert known is not None
    own_filter = "Seccomp:\t0" not in Path("/proc/self/status").read_text()
    found = tried(probe, answers(**{**known, "read": 1, "futex": 38}))
    if own_filter:
        assert found.facts["syscalls unknown"] == "the host is under a filter itself"
    else:
        assert found.facts["syscalls filtered"] == "futex, read"
        assert "acct" in found.facts["syscalls refused"]


def test_a_user_namespaces_capabilities_are_not_the_hosts() -> None:
    probe = CONTAINER.replace("boot_id aaaa", f"boot_id {host_view(set()).boot_id}")
    probe = probe.replace("machine x86_64", f"machine {platform.machine()}")
    if platform.machine() == "x86_64":
        found = tried(probe, answers())
        assert found.facts["syscalls unknown"] == "its capabilities are those of a user namespace"


def test_a_rootfs_without_perl_and_an_unknown_machine_have_no_number() -> None:
    for probe, calls, why in (
        (CONTAINER, Reply(status=127), "not tried: the rootfs has no perl"),
        (CONTAINER.replace("x86_64", "vax"), answers(), "not tried: their numbers on vax are not known"),
    ):
        found = tried(probe, calls)
        assert "syscalls" not in named(found)
        assert found.facts["syscalls"] == why


def test_a_program_that_broke_off_fails_the_trial() -> None:
    with pytest.raises(InstanceError, match="did not end"):
        tried(UNFILTERED, Reply(b"0 9\n"))
    with pytest.raises(InstanceError, match="fork"):
        tried(UNFILTERED, Reply(stderr=b"fork: no more\n", status=11))


def test_the_host_view_knows_an_older_kernels_fewer_namespaces() -> None:
    older = dataclasses.replace(HOST, namespaces={k: v for k, v in HOST.namespaces.items() if k != "time"})
    assert values(CONTAINER.replace("boot_id aaaa", "boot_id b"), older)["namespaces"] == 7.0
