"""A guest without Tare and without libvirt: QEMU's own command line, as a careful person would write it.

The same kernel, initramfs, disk overlay, devices, machine, memory, CPUs, accelerator, sandbox and unprivileged user as
Tare's driver asks libvirt for. Making the overlay is inside the time, as it is there.
"""

from __future__ import annotations

import os
import platform
import select
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tare_bench.drivers.guest_image import CMDLINE, GuestImage
from tare_bench.drivers.libvirt_domain import TCG_CACHE_MIB
from tare_bench.drivers.libvirt_host import Owner, emulator_name
from tare_bench.guest import INIT_MARKER, PORT_NAME
from tare_bench.model import Accelerator, Spec

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class Guest:
    """What a guest is started from, and where it lives meanwhile."""

    image: GuestImage
    spec: Spec
    cpus: tuple[int, ...]
    accelerator: Accelerator
    owner: Owner
    folder: Path
    """Its sockets; made and removed by `boot`."""
    disk: Path
    """Its overlay; made and removed by `boot`."""


def argv(guest: Guest) -> list[str]:
    """The command line, from the wrapper that drops root and chooses the CPUs on."""
    machine = "virt" if platform.machine() == "aarch64" else "q35"
    accelerator = f"tcg,tb-size={TCG_CACHE_MIB}" if guest.accelerator == "tcg" else "kvm"
    pinned = ["taskset", "--cpu-list", ",".join(map(str, guest.cpus)), *_unprivileged(guest.owner)]
    qemu = [shutil.which(emulator_name()) or emulator_name(), "-nodefaults", "-no-user-config", "-display", "none"]
    qemu += ["-machine", f"{machine},usb=off,dump-guest-core=off", "-accel", accelerator, *_cpu(guest)]
    qemu += ["-m", str(guest.spec.memory >> 20), "-smp", str(guest.spec.vcpus), "-rtc", "base=utc", "-no-reboot"]
    qemu += ["-kernel", str(guest.image.kernel), "-initrd", str(guest.image.initrd), "-append", CMDLINE]
    return [*pinned, *qemu, *_devices(guest), "-sandbox", SANDBOX, "-msg", "timestamp=on"]


def _unprivileged(owner: Owner) -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={owner.uid}", f"--regid={owner.gid}", "--clear-groups"]


def _cpu(guest: Guest) -> list[str]:
    if guest.accelerator == "kvm":
        return ["-cpu", "host"]
    return ["-cpu", "max" if platform.machine() == "aarch64" else "qemu64"]


def _devices(guest: Guest) -> list[str]:
    serial = [] if platform.machine() == "aarch64" else ["-device", "isa-serial,chardev=console"]
    return [
        *("-drive", f"if=none,id=disk,file={guest.disk},format=qcow2,cache=writeback,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=disk,bus=pcie.0,addr=0x2,bootindex=1"),
        *("-chardev", f"socket,id=console,path={guest.folder / 'console'}"),
        *(serial or ["-serial", "chardev:console"]),
        *("-device", "virtio-serial-pci,id=serials,bus=pcie.0,addr=0x3"),
        *("-chardev", f"socket,id=wire,path={guest.folder / 'wire'}"),
        *("-device", f"virtserialport,bus=serials.0,nr=1,chardev=wire,name={PORT_NAME}"),
    ]


def boot(guest: Guest, seconds: float) -> dict[str, float]:
    """Boot a guest and kill it. Returns its milestones, in seconds from the request.

    Raises TimeoutError when nothing comes, ConnectionError when the wire ends, RuntimeError with QEMU's words.
    """
    asked = time.monotonic_ns()
    process: subprocess.Popen[bytes] | None = None
    listeners: dict[str, socket.socket] = {}
    try:
        listeners = make_room(guest)
        started = time.monotonic_ns()
        process = subprocess.Popen(
            argv(guest), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        stamps = converse(process, listeners, time.monotonic() + seconds)
        stamps |= {"created": started, "started": started}  # it is never there without running
        return {moment: (at - asked) / 1e9 for moment, at in stamps.items()}
    finally:
        clear(guest, process, listeners)


def make_room(guest: Guest) -> dict[str, socket.socket]:
    """The overlay, and the two sockets that QEMU connects to, which its user may reach."""
    what = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(guest.image.disk), "-F", "raw", str(guest.disk)]
    subprocess.run(what, check=True, start_new_session=True)
    guest.folder.mkdir(mode=0o750)
    listeners = {}
    for name in ("wire", "console"):
        listeners[name] = listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(guest.folder / name))
        listener.listen(1)
    if os.geteuid() == 0:
        for path in (guest.folder, guest.folder / "wire", guest.folder / "console", guest.disk):
            os.chown(path, guest.owner.uid, guest.owner.gid)
    return listeners


def converse(process: subprocess.Popen[bytes], listeners: dict[str, socket.socket], deadline: float) -> dict[str, int]:
    """Read both sockets until the first byte of READY. Returns the stamps, in nanoseconds of CLOCK_MONOTONIC."""
    stamps: dict[str, int] = {}
    wire = accept(process, listeners["wire"], deadline)
    console = accept(process, listeners["console"], deadline)
    said = b""
    with wire, console:
        while "ready" not in stamps:
            seen = select.select([wire, console], [], [], max(0.0, deadline - time.monotonic()))[0]
            if not seen:
                raise TimeoutError(f"no READY; the console said: {said[-500:]!r}")
            if console in seen:
                said += console.recv(65536)
                stamps.setdefault("kernel", time.monotonic_ns())
                if INIT_MARKER in said:
                    stamps.setdefault("init", time.monotonic_ns())
            if wire in seen:
                first, stamps["ready"] = wire.recv(4096), time.monotonic_ns()
                if not first.startswith(b"R"):
                    raise ConnectionError(f"not READY: {first!r}")
    return stamps


def accept(process: subprocess.Popen[bytes], listener: socket.socket, deadline: float) -> socket.socket:
    """QEMU's end of a socket. Raises RuntimeError with its words when it ends before it connects."""
    assert process.stderr is not None
    connecting, saying = listener.fileno(), process.stderr.fileno()
    seen = select.select([connecting, saying], [], [], max(0.0, deadline - time.monotonic()))[0]
    if connecting not in seen:
        words = os.read(saying, 4096).decode(errors="replace") if seen else "nothing"
        raise RuntimeError(f"QEMU did not connect; it said: {words}")
    return listener.accept()[0]


def clear(guest: Guest, process: subprocess.Popen[bytes] | None, listeners: dict[str, socket.socket]) -> None:
    """Leave nothing of it: the process, which is our own child, first."""
    if process is not None:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    for listener in listeners.values():
        listener.close()
    shutil.rmtree(guest.folder, ignore_errors=True)
    guest.disk.unlink(missing_ok=True)
