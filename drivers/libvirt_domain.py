"""A guest as libvirt's domain XML, built as a tree."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from .libvirt_host import Owner, machine

METADATA = "urn:tare:domain:1"
"""The namespace of our labels in a domain's metadata; a name, not an address."""

DISK = "vda"
"""The guest's one disk, as libvirt names it."""

TCG_CACHE_MIB = 32
"""An emulated guest's translation cache: of a fixed size, or memory figures would depend on the host's."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a guest starts from: a kernel directly, or (tests of the KVM path) a disk's boot sector."""

    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A network card."""

    mac: str
    device: str = ""
    """The host's end: a tap that libvirt makes in the network namespace of the thread that asks for the guest. Empty:
    QEMU's own network stack."""


@dataclass(frozen=True, slots=True)
class Domain:
    """All that one guest's definition depends on."""

    name: str
    accelerator: str
    """`kvm` or `tcg`."""
    emulator: str
    vcpus: int
    cpus: tuple[int, ...]
    """The host CPUs that vCPUs and emulator threads alike run on."""
    memory: int
    """Bytes."""
    disk: Path
    disk_format: str
    boot: Boot
    labels: Mapping[str, str]
    cache: str = "writeback"
    """The disk's, as libvirt names it; `none` is with native AIO."""
    port: str = ""
    """The name of the virtio-serial port that is the wire; empty: no wire."""
    wire: Path | None = None
    """The socket that QEMU connects it to; None: libvirt makes one, and hands out streams."""
    card: Card | None = None
    """Its network card; None: it has none."""
    serial: bool = True
    """Whether there is a serial console."""
    console: Path | None = None
    """The socket that QEMU connects it to; None: a terminal, of which libvirt hands out streams."""
    owner: Owner | None = None
    """Whom a system daemon is to run QEMU as, leaving files as they are; None: libvirt is set up so."""
    cpu_mode: str = "host-passthrough"
    """Under KVM; empty: the hypervisor's default model."""


def disk_cache(asked: Literal["auto", "writeback", "none"]) -> str:
    """A spec's cache mode as libvirt names it. `auto` is what a disk has where storage is not measured."""
    return "writeback" if asked == "auto" else asked


def xml(domain: Domain) -> str:
    """The definition, for createXML."""
    arm = platform.machine() == "aarch64"
    root = ET.Element("domain", type="kvm" if domain.accelerator == "kvm" else "qemu")
    _text(root, "name", domain.name)
    labels = ET.SubElement(ET.SubElement(root, "metadata"), f"{{{METADATA}}}instance")
    for key, value in domain.labels.items():
        labels.set(key, value)
    _text(root, "memory", str(domain.memory), unit="b")
    _text(root, "vcpu", str(domain.vcpus), placement="static", cpuset=",".join(map(str, domain.cpus)))
    _pin(root, domain)
    _os(root, domain)
    features = ET.SubElement(root, "features")
    if not arm:  # there libvirt has ACPI with UEFI firmware only; the guest finds its devices by device tree
        ET.SubElement(features, "acpi")
    if domain.accelerator == "tcg":
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(TCG_CACHE_MIB), unit="MiB")
    if domain.accelerator == "kvm" and domain.cpu_mode:
        ET.SubElement(root, "cpu", mode=domain.cpu_mode)
    elif arm:
        ET.SubElement(root, "cpu", mode="maximum")
    ET.SubElement(root, "clock", offset="utc")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _text(root, event, "destroy")
    _devices(root, domain)
    if domain.owner is not None:
        label = ET.SubElement(root, "seclabel", type="static", model="dac", relabel="no")
        _text(label, "label", f"+{domain.owner.uid}:+{domain.owner.gid}")
    return ET.tostring(root, encoding="unicode")


def snapshot_xml(follows: Path) -> str:
    """An external snapshot of the disk, for snapshotCreateXML: the guest goes on in that qcow2 file, which is there."""
    root = ET.Element("domainsnapshot")
    disk = ET.SubElement(ET.SubElement(root, "disks"), "disk", name=DISK, snapshot="external", type="file")
    ET.SubElement(disk, "driver", type="qcow2")
    ET.SubElement(disk, "source", file=str(follows))
    return ET.tostring(root, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _pin(root: ET.Element, domain: Domain) -> None:
    """The same host CPUs for vCPUs and emulator threads: the same budget that a container's cpuset gives."""
    tune, cpus = ET.SubElement(root, "cputune"), ",".join(map(str, domain.cpus))
    for vcpu in range(domain.vcpus):
        ET.SubElement(tune, "vcpupin", vcpu=str(vcpu), cpuset=cpus)
    ET.SubElement(tune, "emulatorpin", cpuset=cpus)


def _os(root: ET.Element, domain: Domain) -> None:
    element = ET.SubElement(root, "os")
    _text(element, "type", "hvm", arch=platform.machine(), machine=machine())
    if domain.boot.kernel is None:
        ET.SubElement(element, "boot", dev="hd")
        return
    _text(element, "kernel", str(domain.boot.kernel))
    _text(element, "initrd", str(domain.boot.initrd))
    _text(element, "cmdline", domain.boot.cmdline)


def _devices(root: ET.Element, domain: Domain) -> None:
    """Only what is needed: each device that is there by default costs a guest time to find."""
    devices = ET.SubElement(root, "devices")
    _text(devices, "emulator", domain.emulator)
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    driver = ET.SubElement(disk, "driver", name="qemu", type=domain.disk_format, cache=domain.cache)
    if domain.cache == "none":
        driver.set("io", "native")
    ET.SubElement(disk, "source", file=str(domain.disk))
    ET.SubElement(disk, "target", dev=DISK, bus="virtio")
    _slot(disk, 2)
    if domain.card is not None:
        _card(devices, domain.card)
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    if domain.serial:
        serial = ET.SubElement(devices, "serial", type="pty" if domain.console is None else "unix")
        _connected(serial, domain.console)
        ET.SubElement(serial, "target", port="0")
    if domain.port:
        _slot(ET.SubElement(devices, "controller", type="virtio-serial", index="0"), 3)
        channel = ET.SubElement(devices, "channel", type="unix")
        _connected(channel, domain.wire)
        if domain.wire is None:
            ET.SubElement(channel, "source", mode="bind")
        ET.SubElement(channel, "target", type="virtio", name=domain.port)


def _card(devices: ET.Element, card: Card) -> None:
    interface = ET.SubElement(devices, "interface", type="ethernet" if card.device else "user")
    ET.SubElement(interface, "mac", address=card.mac)
    if card.device:
        ET.SubElement(interface, "target", dev=card.device)
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "rom", enabled="no")  # nothing is booted from it
    _slot(interface, 4)


def _connected(device: ET.Element, path: Path | None) -> None:
    if path is not None:
        ET.SubElement(device, "source", mode="connect", path=str(path))


def _slot(device: ET.Element, slot: int) -> None:
    """A place on the root bus itself; libvirt would otherwise give each device a PCIe port of its own to be found."""
    ET.SubElement(device, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{slot:02x}", function="0x0")
