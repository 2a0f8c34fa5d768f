"""A guest's definition: a tree with what is needed and nothing else."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import pytest
from tare_bench.drivers import guest_image, libvirt_host
from tare_bench.drivers.libvirt_domain import METADATA, Boot, Card, Domain, disk_cache, snapshot_xml, xml
from tare_bench.drivers.libvirt_host import Owner

DOMAIN = Domain(
    name="tare-run-b0p0",
    accelerator="tcg",
    emulator="/usr/bin/qemu-system-x86_64",
    vcpus=2,
    cpus=(1, 3),
    memory=512 << 20,
    disk=Path("/var/cache/tare/overlays/x.qcow2"),
    disk_format="qcow2",
    boot=Boot(Path("/k"), Path("/i"), "console=ttyS0 quiet"),
    labels={"run": "run", "instance": "b0p0"},
    port="tare.wire",
    wire=Path("/run/tare/r/wire"),
    console=Path("/run/tare/r/console"),
)


def tree(domain: Domain) -> ET.Element:
    return ET.fromstring(xml(domain))


def attribute(root: ET.Element, path: str, name: str) -> str | None:
    found = root.find(path)
    assert found is not None, path
    return found.get(name)


def test_it_has_the_size_that_the_spec_says() -> None:
    root = tree(DOMAIN)
    assert root.findtext("memory") == str(512 << 20)
    assert attribute(root, "memory", "unit") == "b"
    assert root.findtext("vcpu") == "2"
    assert {pin.get("cpuset") for pin in root.iter("vcpupin")} == {"1,3"}
    assert len(list(root.iter("vcpupin"))) == 2
    assert attribute(root, "cputune/emulatorpin", "cpuset") == "1,3"


def test_it_boots_the_kernel_directly() -> None:
    root = tree(DOMAIN)
    assert [root.findtext(f"os/{name}") for name in ("kernel", "initrd", "cmdline")] == [
        "/k",
        "/i",
        "console=ttyS0 quiet",
    ]
    assert root.find("os/boot") is None
    assert attribute(root, "os/type", "machine") == ("virt" if platform.machine() == "aarch64" else "q35")
    sector = tree(replace(DOMAIN, boot=Boot()))
    assert attribute(sector, "os/boot", "dev") == "hd"
    assert sector.find("os/kernel") is None


def on(machine: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> ET.Element:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    return tree(replace(DOMAIN, **changes))  # type: ignore[arg-type]


def test_on_aarch64_it_is_a_virt_machine_without_what_needs_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    root = on("aarch64", monkeypatch)
    assert root.find("os/type").attrib == {"arch": "aarch64", "machine": "virt"}  # type: ignore[union-attr]
    assert root.find("features/acpi") is None, "libvirt has it there with UEFI only"
    assert attribute(root, "cpu", "mode") == "maximum"
    assert root.find("os/loader") is None
    assert attribute(on("aarch64", monkeypatch, accelerator="kvm"), "cpu", "mode") == "host-passthrough"
    serial = root.find("devices/serial")
    assert serial is not None
    assert [each.tag for each in serial] == ["source", "target"], "its model is the machine's own: a PL011"
    assert guest_image.cmdline("aarch64").startswith("console=ttyAMA0 earlycon quiet")
    assert libvirt_host.emulator_name() == "qemu-system-aarch64"


def test_on_x86_it_is_a_q35_that_powers_off_by_acpi(monkeypatch: pytest.MonkeyPatch) -> None:
    root = on("x86_64", monkeypatch)
    assert root.find("os/type").attrib == {"arch": "x86_64", "machine": "q35"}  # type: ignore[union-attr]
    assert root.find("features/acpi") is not None
    assert root.find("cpu") is None
    assert guest_image.cmdline("x86_64").startswith("console=ttyS0 earlyprintk=ttyS0,115200 quiet")


@pytest.mark.parametrize(
    ("asked", "driver"),
    [
        ("auto", {"cache": "writeback"}),
        ("writeback", {"cache": "writeback"}),
        ("none", {"cache": "none", "io": "native"}),
    ],
)
def test_its_disk_is_cached_as_the_spec_says(
    asked: Literal["auto", "writeback", "none"], driver: dict[str, str]
) -> None:
    found = tree(replace(DOMAIN, cache=disk_cache(asked))).find("devices/disk/driver")
    assert found is not None
    assert found.attrib == {"name": "qemu", "type": "qcow2", **driver}


def test_where_a_daemon_hands_out_streams_it_makes_socket_and_terminal_itself() -> None:
    root = tree(replace(DOMAIN, wire=None, console=None))
    assert attribute(root, "devices/serial", "type") == "pty"
    assert root.find("devices/serial/source") is None
    source = root.find("devices/channel/source")
    assert source is not None
    assert source.attrib == {"mode": "bind"}


def test_a_system_daemon_is_told_whom_qemu_runs_as_and_to_leave_files_alone() -> None:
    assert tree(DOMAIN).find("seclabel") is None
    label = tree(replace(DOMAIN, owner=Owner(64055, 995))).find("seclabel")
    assert label is not None
    assert label.attrib == {"type": "static", "model": "dac", "relabel": "no"}
    assert label.findtext("label") == "+64055:+995"


def test_an_emulated_guest_has_a_translation_cache_of_a_fixed_size() -> None:
    assert tree(DOMAIN).get("type") == "qemu"
    assert tree(DOMAIN).findtext("features/tcg/tb-cache") == "32"
    accelerated = tree(replace(DOMAIN, accelerator="kvm"))
    assert accelerated.get("type") == "kvm"
    assert accelerated.find("features/tcg") is None


def test_under_kvm_it_has_the_hosts_cpu_unless_told_otherwise() -> None:
    assert attribute(tree(replace(DOMAIN, accelerator="kvm")), "cpu", "mode") == "host-passthrough"
    plain = tree(replace(DOMAIN, accelerator="kvm", cpu_mode=""))
    assert plain.find("cpu") is None or platform.machine() == "aarch64"


def test_nothing_is_there_by_default() -> None:
    devices = tree(DOMAIN).find("devices")
    assert devices is not None
    kinds = sorted(each.tag for each in devices)
    assert kinds == ["channel", "controller", "controller", "disk", "emulator", "memballoon", "serial"]
    assert attribute(devices, "memballoon", "model") == "none"
    assert attribute(devices, "controller[@type='usb']", "model") == "none"
    assert attribute(devices, "channel/target", "name") == "tare.wire"
    assert attribute(devices, "channel/source", "path") == "/run/tare/r/wire"
    bare = tree(replace(DOMAIN, port="", serial=False)).find("devices")
    assert bare is not None
    assert {"serial", "channel"} & {each.tag for each in bare} == set()


@pytest.mark.parametrize(
    ("card", "kind"), [(Card("02:54:c6:12:00:02", "tare1"), "ethernet"), (Card("52:54:0:12:34:56"), "user")]
)
def test_a_card_is_virtio_on_the_root_bus_with_no_rom_to_boot_from(card: Card, kind: str) -> None:
    [found] = tree(replace(DOMAIN, card=card)).findall("devices/interface")
    assert found.get("type") == kind
    assert attribute(found, "mac", "address") == card.mac
    assert attribute(found, "model", "type") == "virtio"
    assert attribute(found, "rom", "enabled") == "no"
    assert attribute(found, "address", "bus") == "0x00"
    assert (found.find("target") is None) == (not card.device)
    assert len({each.get("slot") for each in tree(replace(DOMAIN, card=card)).iter("address")}) == 3


def test_it_ends_where_a_guest_powers_off_reboots_or_crashes() -> None:
    root = tree(DOMAIN)
    assert {root.findtext(event) for event in ("on_poweroff", "on_reboot", "on_crash")} == {"destroy"}


def test_it_carries_our_labels() -> None:
    labels = tree(DOMAIN).find(f"metadata/{{{METADATA}}}instance")
    assert labels is not None
    assert labels.attrib == {"run": "run", "instance": "b0p0"}


@pytest.mark.parametrize("hostile", ["</name><x>", "\"&'<>", "한글", "]]>"])
def test_no_name_can_break_out_of_its_place(hostile: str) -> None:
    root = tree(replace(DOMAIN, name=hostile, disk=Path("/d") / hostile.replace("/", "_"), labels={"run": hostile}))
    assert root.findtext("name") == hostile
    assert attribute(root, "devices/disk/source", "file") == str(Path("/d") / hostile.replace("/", "_"))
    assert root.find("x") is None


def test_a_snapshot_is_of_the_disk_that_the_guest_has_and_goes_on_in_the_file_that_is_there() -> None:
    [disk] = ET.fromstring(snapshot_xml(Path("/over & under.qcow2"))).iter("disk")
    assert disk.get("name") == attribute(tree(DOMAIN), "devices/disk/target", "dev")
    assert disk.get("snapshot") == "external"
    assert [attribute(disk, "driver", "type"), attribute(disk, "source", "file")] == ["qcow2", "/over & under.qcow2"]
