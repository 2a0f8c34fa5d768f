"""A guest of the project's own under `type='kvm'`: 512 bytes that say READY and halt.

It runs where `/dev/kvm` opens, also on hosts where a stock kernel does not boot under KVM.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hosts import Hosts
from tare_bench.clock import NS
from tare_bench.driver import Streams
from tare_bench.drivers import libvirt_host
from tare_bench.drivers.libvirt_domain import Boot, Domain
from tare_bench.drivers.libvirt_guest import KvmInstance, Room
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.wire import ConsoleLog, SocketChannel, Wire

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("kvm"), pytest.mark.needs("kvm-device")]

SAYS = b"READY 0.00\n"
CODE = bytes.fromhex(
    "fa"  # cli
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "be167c"  # mov si, the text
    "baf803"  # mov dx, COM1
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7403"  # jz halt
    "ee"  # out dx, al
    "ebf8"  # jmp next
    "f4"  # halt: hlt
    "ebfd"  # jmp halt
)
TEXT_AT = 0x16


def sector() -> bytes:
    """What the firmware loads to 0x7c00 and jumps to."""
    assert len(CODE) == TEXT_AT
    return (CODE + SAYS + b"\0").ljust(510, b"\0") + b"\x55\xaa"


def test_the_sector_is_one() -> None:
    assert len(sector()) == 512
    assert sector()[TEXT_AT:].startswith(SAYS)


def test_a_guest_runs_under_kvm_and_its_monitor_says_so(hosts: Hosts) -> None:
    host = hosts["kvm"]
    assert isinstance(host.driver, KvmDriver)
    context, clock = host.context, host.driver.clock
    room = Room(context, "sector", host.driver.home)

    def define(room: Room) -> Domain:
        return _domain(room, context.run, context.cpus)

    instance = KvmInstance(host.driver.home, context, room, define, None)
    try:
        console = instance._channels[0]
        assert isinstance(console, SocketChannel)
        wire = Wire(Streams(console), clock, ConsoleLog(b""))
        instance.start()
        assert instance.accelerator() == "kvm"
        wire.ready(clock.now() + 60 * NS)
    finally:
        instance.destroy()
    assert host.traces("sector") == []


def _domain(room: Room, run: str, cpus: tuple[int, ...]) -> Domain:
    disk = Path(room.folder) / "sector.img"
    disk.write_bytes(sector().ljust(1 << 20, b"\0"))
    room._give(disk, 0o660)
    return Domain(
        name=f"tare-{run}-sector",
        accelerator="kvm",
        emulator=f"/usr/bin/{libvirt_host.emulator_name()}",
        vcpus=1,
        cpus=cpus,
        memory=64 << 20,
        disk=disk,
        disk_format="raw",
        boot=Boot(),
        labels={"run": run, "instance": "sector"},
        console=room.folder / "console",
        cpu_mode="",
    )
