"""What a process, and a guest's QEMU, are really given: by the kernel, libvirt and QEMU."""

from __future__ import annotations

import os
import subprocess

import pytest
from tare_bench import granted
from tare_bench.driver import GRANTED
from tare_bench.drivers import libvirt_granted
from tare_bench.model import UNLIMITED

LIVE = """\
<domain type='qemu' id='1'>
  <vcpu placement='static' cpuset='1'>2</vcpu>
  <cputune>{tune}</cputune>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'{io}/></disk>
    {network}
  </devices>
</domain>
"""
BLOCKS = [
    {"device": "cd", "inserted": None},
    {"device": "", "inserted": {"cache": {"writeback": True, "direct": True, "no-flush": False}}},
]
MEMORY = {"base-memory": 512 << 20, "plugged-memory": 0}


def guest(tune: str = "", io: str = "", network: str = "", **cache: bool) -> dict[str, str]:
    blocks = [{"inserted": {"cache": BLOCKS[1]["inserted"]["cache"] | cache}}]  # type: ignore[index] # it is there
    return libvirt_granted.of_guest(LIVE.format(tune=tune, io=io, network=network), 2, MEMORY, blocks)


def test_a_process_has_what_the_kernel_says_of_it() -> None:
    found = granted.of_process(os.getpid(), kind="process", writes=None)
    assert set(found) <= set(GRANTED)
    assert found["vcpus"] == str(len(os.sched_getaffinity(0)))
    assert found["cpus"] == granted.cpu_list(os.sched_getaffinity(0))
    assert found["network"] == "host"
    assert "storage" not in found


def test_one_that_is_gone_raises() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(OSError, match="No such process"):
        granted.of_process(process.pid, kind="process", writes=None)


def test_cpus_are_sorted_as_numbers() -> None:
    assert granted.cpu_list({10, 9, 0}) == "0,9,10"


def test_what_leads_nowhere_is_no_network() -> None:
    assert granted.devices(["lo", "tunl0", "sit0"]) == "none"
    assert granted.devices(["lo", "eth1", "eth0"]) == "eth0, eth1"


def test_a_guest_has_what_its_monitor_and_its_live_definition_say() -> None:
    assert guest() == {
        "kind": "vm",
        "vcpus": "2",
        "quota": UNLIMITED,
        "memory": str(512 << 20),
        "processes": UNLIMITED,
        "network": "none",
        "disk cache": "none",
        "disk io": "threads",
    }
    assert guest(io=" io='native'")["disk io"] == "native"
    cards = "<interface type='ethernet'><model type='virtio'/></interface><interface type='bridge'/>"
    assert guest(network=cards)["network"] == "network card, virtio"
    assert guest(network="<interface type='user'><model type='virtio'/></interface>")["network"] == "user"


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        ({"direct": False}, "writeback"),
        ({"direct": False, "writeback": False}, "writethrough"),
        ({"writeback": False}, "directsync"),
        ({"direct": False, "no-flush": True}, "unsafe"),
        ({"no-flush": True}, "another"),
    ],
)
def test_the_cache_mode_is_qemus_own_word(flags: dict[str, bool], mode: str) -> None:
    assert guest(**flags)["disk cache"] == mode


@pytest.mark.parametrize(
    ("tune", "quota"),
    [
        ("<quota>50000</quota><period>100000</period>", "1"),
        ("<global_quota>50000</global_quota><global_period>100000</global_period>", "0.5"),
        ("<quota>-1</quota>", UNLIMITED),
    ],
)
def test_a_quota_is_cpu_seconds_a_second(tune: str, quota: str) -> None:
    assert guest(tune)["quota"] == quota


def test_what_bounds_qemu_bounds_its_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = {"quota": "0.25", "memory": str(256 << 20), "swap": "0", "processes": "100"}
    monkeypatch.setattr("tare_bench.cgroups.limits", lambda pid: bounds)
    found = libvirt_granted.of_qemu(os.getpid(), guest())
    assert found == {
        "cpus": granted.cpu_list(os.sched_getaffinity(0)),
        "quota": "0.25",
        "memory": str(256 << 20),
        "swap": "0",
    }
    monkeypatch.setattr("tare_bench.cgroups.limits", lambda pid: {"quota": UNLIMITED, "memory": UNLIMITED})
    assert libvirt_granted.of_qemu(os.getpid(), guest())["memory"] == str(512 << 20)
