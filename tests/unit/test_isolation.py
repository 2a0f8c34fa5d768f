"""What the probe of the isolation says, and what is made of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tare_bench.errors import InstanceError
from tare_bench.workloads.isolation import NAMESPACES, PROBE, HostView, host_view, parse

HOST = HostView(
    boot_id="aaaa", **{f"ns {kind}": f"{kind}:[40265318{number}]" for number, kind in enumerate(NAMESPACES)}
)
HOST.processes = frozenset({(1, 10), (2, 20), (300, 3000)})

CONTAINER = """\
boot_id aaaa
kernel_release 6.1.0
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
"""


def values(text: str, host: HostView = HOST) -> dict[str, float]:
    return {each.metric.removeprefix("isolation."): each.value for each in parse(text, host).samples}


def test_a_container_shares_the_kernel_and_has_namespaces_of_its_own() -> None:
    assert values(CONTAINER) == {
        "same_kernel": 1.0,
        "namespaces": 5.0,
        "host_processes": 0.0,
        "capabilities": 14.0,
        "seccomp": 2.0,
    }
    facts = parse(CONTAINER, HOST).facts
    assert facts["namespaces"] == "ipc, mnt, net, pid, uts"
    assert facts["os"] == "Debian GNU/Linux 12 (bookworm)"


def test_another_kernel_shares_nothing_whatever_its_numbers_are() -> None:
    guest = CONTAINER.replace("boot_id aaaa", "boot_id bbbb")
    for kind in NAMESPACES:
        guest = guest.replace(f"ns {kind} ", f"ns {kind} {HOST[f'ns {kind}']} ")
    guest += "process 300 (init) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 3000 1 1\n"
    assert values(guest) | {"capabilities": 0.0} == {
        "same_kernel": 0.0,
        "namespaces": 8.0,
        "host_processes": 0.0,
        "capabilities": 0.0,
        "seccomp": 2.0,
    }


def test_a_host_process_is_one_by_pid_and_start() -> None:
    same = "process 300 (x) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 3000 1 1\n"
    other = same.replace(" 3000 ", " 3001 ")
    assert values(CONTAINER + same)["host_processes"] == 1.0
    assert values(CONTAINER + other)["host_processes"] == 0.0


@pytest.mark.parametrize("text", ["", "sh: read: not found\n", "ns pid pid:[1]\n"])
def test_a_probe_that_says_nothing_is_a_failure_and_no_zero(text: str) -> None:
    with pytest.raises(InstanceError):
        parse(text, HOST)


def test_the_probe_on_the_host_itself_sees_the_host() -> None:
    seen = subprocess.run(["/bin/sh", "-c", PROBE], capture_output=True, text=True, check=True)
    found = values(seen.stdout, host_view(set()))
    assert found["same_kernel"] == 1.0
    assert found["namespaces"] == 0.0
    assert found["host_processes"] > 1.0
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert parse(seen.stdout, host_view(set())).facts["boot_id"] == boot_id
