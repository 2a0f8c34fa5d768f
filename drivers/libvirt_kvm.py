"""`kvm`: guests of QEMU through libvirt, accelerated by KVM where that works and emulated (TCG) where it doesn't.

Direct kernel boot, a virtio disk with a qcow2 overlay for each instance, a virtio-serial port as the wire, the serial
console as evidence; nothing else. QEMU runs unprivileged and in its sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tare_bench import cgroups, paths, processes
from tare_bench.driver import (
    Accounts,
    Driver,
    Instance,
    Kind,
    Leftover,
    Resolution,
    RunContext,
    Streams,
    Support,
)
from tare_bench.errors import DriverUnavailable, InstanceError
from tare_bench.guest import PORT_NAME
from tare_bench.model import Accelerator, Spec
from tare_bench.wire import SocketChannel

from . import guest_image, kvm_check, kvm_probe, libvirt_embed
from .libvirt_domain import Boot, Domain, xml

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

T = TypeVar("T")

REAP_SECONDS = 20.0


class KvmDriver(Driver):
    """Guests of QEMU, through libvirt's embedded driver."""

    name = "kvm"
    kind = Kind.VM

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._connection: Any = None
        self._owner = libvirt_embed.qemu_owner()
        self._accelerator: Accelerator = "tcg"
        self._machine: list[Path] = []
        self.image: guest_image.GuestImage | None = None

    def check(self, *, fresh: bool = False) -> Support:
        return kvm_check.ladder(self._owner)

    def describe(self) -> Mapping[str, str]:
        lv = libvirt_embed.library()
        facts = {
            "libvirt": _dotted(lv.getVersion()),
            "libvirt-python": version("libvirt-python"),
            "uri": "qemu:///embed",
            # Not by getVersion(): that has libvirt probe every emulator there is, for 4 s each.
            "qemu": libvirt_embed.emulator_version(),
            "accelerator": self._accelerator,
            "machine": "virt" if os.uname().machine == "aarch64" else "q35",
            "disk": "virtio-blk, qcow2 overlay on raw ext4, cache writeback",
            "user": f"{self._owner.uid}:{self._owner.gid}, seccomp sandbox",
        }
        if self.image is not None:
            facts |= {"kernel": self.image.kernel_version, "kernel digest": self.image.kernel_digest}
            facts |= {"image": self.image.how, "command line": guest_image.CMDLINE}
        return facts

    def open(self, context: RunContext) -> None:
        self._context = context
        processes.become_subreaper()
        root = context.folder / "libvirt"
        context.lease.own("libvirt-root", root)
        # libvirt makes this parent for all of its guests; where it wasn't there before us it goes with us.
        self._machine = [folder for folder in cgroups.roots("machine") if not folder.exists()]
        for folder in self._machine:
            context.lease.own("empty-cgroup", folder)
        _reachable(context.folder, self._owner.gid)
        libvirt_embed.make_root(root, self._owner)
        try:
            self._connection = libvirt_embed.library(context.folder / "libvirt.log").open(f"qemu:///embed?root={root}")
        except Exception as error:  # libvirt's own class is known only once it is imported
            raise DriverUnavailable(
                "libvirt's embedded QEMU driver did not open.", details=str(error), hint="tare setup"
            ) from error

    def close(self) -> None:
        if self._connection is not None:
            assert self._context is not None
            self._connection.close()
            self._connection = None
            root = self._context.folder / "libvirt"
            libvirt_embed.keep_capabilities(root)
            for folder in self._machine:
                with contextlib.suppress(OSError):  # somebody else has come to use it
                    folder.rmdir()
            shutil.rmtree(root, ignore_errors=True)

    def prepare(self, rootfs: Rootfs) -> None:
        assert self._context is not None
        self.image = guest_image.build(rootfs, room=self._context.disk)

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        assert self.image is not None
        resolution = kvm_probe.resolve(self, asked, self.image.kernel_digest, fresh=fresh)
        self.use(resolution.accelerator)
        return resolution

    def use(self, accelerator: Accelerator) -> None:
        """Have guests created from now on run under it."""
        self._accelerator = accelerator

    def refusal(self) -> str:
        """Why guests under KVM are not possible here, by libvirt's domain capabilities; empty where they are."""
        lv, machine = libvirt_embed.library(), "virt" if os.uname().machine == "aarch64" else "q35"
        try:
            self._connection.getDomainCapabilities(None, os.uname().machine, machine, "kvm")
        except lv.libvirtError as error:
            return f"libvirt: {error}"
        return ""

    def create(self, spec: Spec, *, name: str) -> Instance:
        assert self._context is not None
        assert self.image is not None
        image, context = self.image, self._context
        room = Room(context, name, self._owner)

        def define(room: Room) -> Domain:
            room.overlay(image.disk)
            return Domain(
                name=f"tare-{context.run}-{name}",
                accelerator=self._accelerator,
                emulator=shutil.which(libvirt_embed.emulator_name()) or libvirt_embed.emulator_name(),
                vcpus=spec.vcpus,
                cpus=context.cpus_of(spec),
                memory=spec.memory,
                disk=room.disk,
                disk_format="qcow2",
                boot=Boot(image.kernel, image.initrd, guest_image.CMDLINE),
                labels={"run": context.run, "instance": name},
                port=PORT_NAME,
                wire=room.folder / "wire",
                console=room.folder / "console",
            )

        return KvmInstance(self._connection, context, room, define, image.allocated)

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        return []  # all of an embedded guest stands in its run's lease


def _whole(folder: Path) -> Path:
    """The guest's own cgroup: libvirt puts QEMU's threads into parts of it (`emulator`, `vcpu0`)."""
    return next(each for each in (*reversed(folder.parents), folder) if "qemu" in each.name)


def _pid_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):  # not there yet, or not yet written
        return None


def _collect(pid: int) -> None:
    """Wait until QEMU has ended, and reap it.

    Not by waitpid at once: its pid is written while it is still the child of libvirt's helper, and it becomes ours
    when that one has ended, a moment later. Somebody else's child is left to whoever reaps it.
    """
    processes.wait_gone(pid, None, None)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            return
        select.select([], [], [], 0.005)
        processes.reap([pid])


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _reachable(folder: Path, gid: int) -> None:
    """The run's folder, for QEMU's group and nobody else."""
    if os.geteuid() == 0:
        os.chown(folder, 0, gid)
        folder.chmod(0o750)


class Room:
    """The folder of one guest: its sockets, which we listen on, and its overlay, all with QEMU's group."""

    def __init__(self, context: RunContext, name: str, owner: libvirt_embed.Owner) -> None:
        self.folder = context.folder / name
        self.disk = paths.cache_dir() / "overlays" / f"{context.run}-{name}.qcow2"
        self._owner = owner
        self.listeners: dict[str, socket.socket] = {}
        context.lease.own("file", self.disk)
        try:
            self._listen()
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        self.folder.mkdir()
        self._give(self.folder, 0o750)
        for kind in ("wire", "console"):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listeners[kind] = listener
            listener.bind(str(self.folder / kind))
            self._give(self.folder / kind, 0o660)
            listener.listen(1)

    def _give(self, path: Path, mode: int) -> None:
        if os.geteuid() == 0:
            os.chown(path, 0, self._owner.gid)
        path.chmod(mode)

    def overlay(self, base: Path) -> None:
        """Make the qcow2 file that takes what this guest writes. Raises InstanceError with qemu-img's words."""
        self.disk.parent.mkdir(parents=True, exist_ok=True)
        self.disk.parent.chmod(0o711)
        made = subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(self.disk)],
            capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip
        if made.returncode:
            raise InstanceError("The guest's overlay could not be made.", details=made.stderr)
        self._give(self.disk, 0o660)

    def accept(self, kind: str) -> SocketChannel:
        """QEMU's end of a socket; it connected while it was being created."""
        listener = self.listeners[kind]
        listener.settimeout(10)
        connected, _ = listener.accept()
        return SocketChannel(connected)

    def close(self) -> None:
        """Remove the folder and the overlay. Twice too."""
        for listener in self.listeners.values():
            listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.disk.unlink(missing_ok=True)


class KvmInstance(Instance):
    """One guest. Made whole, or not at all."""

    def __init__(
        self,
        connection: Any,
        context: RunContext,
        room: Room,
        define: Callable[[Room], Domain],
        image_bytes: int | None,
    ) -> None:
        self._lv = libvirt_embed.library()
        self._room = room
        self._image_bytes = image_bytes
        self._channels: list[SocketChannel] = []
        self._domain: Any = None
        self._pid: int | None = None
        self._reaped, self._returned = threading.Event(), threading.Event()
        self._definition = ""
        self._log = context.folder / "libvirt/log/qemu"
        try:
            domain = define(room)
            self.id = domain.labels["instance"]
            self._definition = xml(domain)
            pid_file = libvirt_embed.pid_file(context.folder / "libvirt", domain.name)
            threading.Thread(target=self._reap, args=(pid_file,), daemon=True, name=f"reap {self.id}").start()
            paused = self._lv.VIR_DOMAIN_START_PAUSED
            self._domain = self._calling(
                "libvirt did not create the guest.", connection.createXML, self._definition, paused
            )
            self._pid = int(pid_file.read_text())
            self._returned.set()
            for kind in ("wire", "console"):
                if getattr(domain, kind) is not None:
                    self._channels.append(room.accept(kind))
        except BaseException:
            self._returned.set()
            self.destroy()
            raise

    def _reap(self, pid_file: Path) -> None:
        """Collect QEMU when it ends: libvirt waits for its zombie to go, 40 s for one that failed to start.

        By its pid, from the file that is written before QEMU is executed, and never whatever child comes.
        """
        pid = _pid_in(pid_file)
        while pid is None and not self._returned.wait(0.02):
            pid = _pid_in(pid_file)
        if pid is not None or (pid := self._pid) is not None:
            _collect(pid)
        self._reaped.set()

    def _calling(self, brief: str, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except self._lv.libvirtError as error:
            raise InstanceError(brief, details=str(error)) from error

    def _qemu_log(self) -> str:
        with contextlib.suppress(OSError):
            return "".join(path.read_text(errors="replace")[-2000:] for path in self._log.glob("*.log"))
        return ""

    def attach(self) -> Streams:
        return Streams(*self._channels)

    def start(self) -> None:
        self._calling("libvirt did not start the guest.", self._domain.resume)

    def accelerator(self) -> Accelerator:
        import libvirt_qemu

        words = self._calling(
            "The guest's monitor did not answer.",
            libvirt_qemu.qemuMonitorCommand, self._domain, json.dumps({"execute": "query-kvm"}), 0,
        )  # fmt: skip
        return "kvm" if json.loads(words)["return"]["enabled"] else "tcg"

    def accounts(self) -> Accounts:
        assert self._pid is not None
        below = processes.descendants(self._pid)
        folders = tuple(
            dict.fromkeys(_whole(folder) for folder in cgroups.of_process(self._pid) if "qemu" in str(folder))
        )
        return Accounts((self._pid, *below), folders, (self._room.disk,), image_bytes=self._image_bytes)

    def diagnostics(self) -> Mapping[str, bytes]:
        return {"domain.xml": self._definition.encode(), "qemu.log": self._qemu_log().encode()}

    def stop(self) -> None:
        if self._domain is None:
            return
        try:
            self._domain.destroy()
        except self._lv.libvirtError as error:
            gone = (self._lv.VIR_ERR_NO_DOMAIN, self._lv.VIR_ERR_OPERATION_INVALID)
            if error.get_error_code() not in gone:
                raise InstanceError("libvirt did not destroy the guest.", details=str(error)) from error

    def destroy(self) -> None:
        self.stop()
        self._domain = None
        if self._pid is not None:
            if not self._reaped.wait(REAP_SECONDS):
                processes.kill(self._pid)
                raise InstanceError("QEMU did not end.", details=f"pid {self._pid}", hint="tare sweep")
            self._pid = None
        for channel in self._channels:
            channel.close()
        self._room.close()
