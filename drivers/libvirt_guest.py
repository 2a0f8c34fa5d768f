"""One guest: its room (folder, sockets, overlay), its life by libvirt, and how QEMU is reaped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

from tare_bench import cgroups, mounts, network, paths, processes
from tare_bench.driver import Accounts, Channel, Instance, Kind, RunContext, Streams, Told
from tare_bench.errors import InstanceError
from tare_bench.model import Accelerator
from tare_bench.network import Link, Reach
from tare_bench.wire import SocketChannel

from . import libvirt_granted, libvirt_host
from .libvirt_domain import DISK, Domain, snapshot_xml, xml
from .libvirt_host import Home, pid_in
from .libvirt_stream import StreamChannel

T = TypeVar("T")

END_SECONDS = 20.0
OVERLAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Base:
    """What an overlay stands on."""

    path: Path
    format: str
    """`raw` or `qcow2`."""


class Room:
    """What one guest has on the host: a folder, its overlay, and where QEMU is ours the sockets that we listen on.

    All with the group that QEMU runs as.
    """

    def __init__(self, context: RunContext, name: str, home: Home) -> None:
        self._context = context
        self.folder = context.folder / name
        self.disk = self._disk(name)
        self._gid = home.owner.gid
        self.listeners: dict[str, socket.socket] = {}
        context.lease.own("file", self.disk)
        try:
            self.folder.mkdir()
            self._give(self.folder, 0o750)
            if home.embedded:
                self._listen()
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        for kind in ("wire", "console"):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listeners[kind] = listener
            listener.bind(str(self.folder / kind))
            self._give(self.folder / kind, 0o660)
            listener.listen(1)

    def _give(self, path: Path, mode: int) -> None:
        if os.geteuid() == 0:
            os.chown(path, 0, self._gid)
        path.chmod(mode)

    def path(self, kind: str) -> Path | None:
        """The socket that QEMU connects to; None where it doesn't."""
        return self.folder / kind if kind in self.listeners else None

    def _disk(self, name: str) -> Path:
        return paths.cache_dir() / "overlays" / f"{self._context.run}-{name}.qcow2"

    def overlay(self, base: Base, cache: str = "writeback") -> None:
        """Make the qcow2 file that takes what this guest writes.

        Raises InstanceError with qemu-img's words, or where its file system cannot bypass the page cache and must.
        """
        self.disk.parent.mkdir(parents=True, exist_ok=True)
        self.disk.parent.chmod(0o711)
        self._make(self.disk, base)
        if cache == "none":
            require_direct(self.disk)

    def next_overlay(self, name: str, size: int) -> Path:
        """An overlay on the guest's own, which is in use: a disk of that many bytes, for what it writes from now on.

        Raises InstanceError.
        """
        made = self._disk(name)
        self._context.lease.own("file", made)
        # Unsafe only in that the base is not looked at: QEMU has it open, and locked.
        self._make(made, Base(self.disk, "qcow2"), "-u", size=size)
        return made

    def _make(self, disk: Path, base: Base, *options: str, size: int | None = None) -> None:
        words = ["qemu-img", "create", "-q", "-f", "qcow2", *options, "-b", str(base.path), "-F", base.format]
        words += [str(disk), *([str(size)] if size is not None else [])]
        try:
            made = libvirt_host.said(words, seconds=OVERLAY_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstanceError("The guest's overlay could not be made.", details=str(error)) from error
        if made.returncode:
            raise InstanceError("The guest's overlay could not be made.", details=made.stderr)
        self._give(disk, 0o660)

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


def require_direct(disk: Path) -> None:
    """Raise InstanceError where the file system of a disk has no O_DIRECT, which `cache = "none"` opens it with."""
    try:
        os.close(os.open(disk, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        raise InstanceError(
            'The guest\'s disk cannot have `cache = "none"`: its file system has no direct I/O.',
            details=f"{disk}: O_DIRECT: {error.strerror}",
            hint='Name a cache folder on a disk (TARE_CACHE=FOLDER; tmpfs has none), or take `cache = "writeback"`.',
        ) from error


class KvmInstance(Instance):
    """One guest. Made whole, or not at all."""

    def __init__(
        self,
        home: Home,
        context: RunContext,
        room: Room,
        define: Callable[[Room], Domain],
        image_bytes: int | None,
        link: Link | None = None,
    ) -> None:
        self._lv = libvirt_host.library()
        self._home = home
        self._room = room
        self._image_bytes = image_bytes
        self._channels: list[Channel] = []
        self._domain: Any = None
        self._pid: int | None = None
        self._started: int | None = None
        self._name = self._definition = ""
        self._memory = 0
        self._log: Path | None = None
        self._link = link or Link()
        self.address = self._link.address
        self._reaped, self._returned = threading.Event(), threading.Event()
        try:
            self._create(define(room), context)
        except BaseException:
            self._returned.set()
            self.destroy()
            raise

    def _create(self, domain: Domain, context: RunContext) -> None:
        self.id, self._name, self._memory = domain.labels["instance"], domain.name, domain.memory
        self._definition = xml(domain)
        self._log = self._home.log_of(self._name)
        flags = self._lv.VIR_DOMAIN_START_PAUSED
        threading.Thread(target=self._reap, daemon=True, name=f"reap {self.id}").start()
        if not self._home.embedded:
            # the daemon ends the guest with our connection; what it keeps of QEMU's words goes with it
            flags |= self._lv.VIR_DOMAIN_START_AUTODESTROY
            context.lease.own("file", self._log)
        create = self._home.connection.createXML
        # The embedded driver makes a tap in the namespace of the thread that calls it, and QEMU then lives there, too.
        with self._link.entered():
            self._domain = self._calling("libvirt did not create the guest.", create, self._definition, flags)
        self._pid = self._home.pid_of(self._name)
        self._started = processes.start_time(self._pid) if self._pid is not None else None
        self._returned.set()
        self._link.adopt()
        if self._link.path == "user":
            self._link.published |= {port: self._forwarded(port) for port in network.PORTS}
        if domain.port:
            self._channels.append(self._end("wire", domain.port))
        if domain.serial:
            self._channels.append(self._end("console", None))

    def reach(self, port: int) -> Reach | None:
        return self._link.reach(port)

    def _end(self, kind: str, port: str | None) -> Channel:
        """Our end of a port, or (None) of the serial console."""
        if self._room.path(kind) is not None:
            return self._room.accept(kind)
        channel = StreamChannel(self._lv, self._home.connection)
        opening = self._domain.openConsole if port is None else self._domain.openChannel
        try:
            self._calling(f"libvirt did not open the guest's {kind}.", opening, port, channel.stream, 0)
        except BaseException:
            channel.close()
            raise
        channel.listen()
        return channel

    def _reap(self) -> None:
        """Collect QEMU when it ends: libvirt waits for its zombie to go, 40 s for one that failed to start.

        By its pid, from the file that is written before QEMU is executed, and never whatever child comes.
        """
        file = self._home.pid_file(self._name)
        while (pid := pid_in(file)) is None and not self._returned.wait(0.02):
            pass
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
            return self._log.read_text(errors="replace")[-4000:] if self._log is not None else ""
        return ""

    def attach(self) -> Streams:
        return Streams(*self._channels)

    def start(self) -> None:
        self._calling("libvirt did not start the guest.", self._domain.resume)

    def accelerator(self) -> Accelerator:
        return "kvm" if self._monitor("query-kvm")["enabled"] else "tcg"

    def _monitor(self, query: str) -> Any:
        """What QEMU itself answers."""
        import libvirt_qemu

        words = self._calling(
            "The guest's monitor did not answer.",
            libvirt_qemu.qemuMonitorCommand, self._domain, json.dumps({"execute": query}), 0,
        )  # fmt: skip
        return json.loads(words)["return"]

    def _forwarded(self, port: int) -> int:
        """The port of the host's loopback that QEMU's own network stack hands on to that one of the guest.

        The kernel chooses it, so that nobody else can have it.
        """
        import libvirt_qemu

        def ask(command: str) -> str:
            hmp = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
            brief = "QEMU did not forward a port to the guest."
            return str(self._calling(brief, libvirt_qemu.qemuMonitorCommand, self._domain, command, hmp))

        said = ask(f"hostfwd_add hostnet0 tcp:{network.LOOPBACK}:0-:{port}")
        found = re.search(rf"{re.escape(network.LOOPBACK)} +(\d+) +\S+ +{port}\b", ask("info usernet"))
        if found is None:
            raise InstanceError("QEMU did not forward a port to the guest.", details=said)
        return int(found[1])

    def granted(self) -> Mapping[str, str]:
        if self._domain is None:
            return {"kind": Kind.VM}
        definition = self._calling("libvirt does not know the guest.", self._domain.XMLDesc, 0)
        cpus = [int(each["thread-id"]) for each in self._monitor("query-cpus-fast")]
        memory = self._monitor("query-memory-size-summary")
        blocks = self._monitor("query-block")
        found = libvirt_granted.of_guest(definition, len(cpus), memory, blocks)
        found["storage"] = mounts.storage(self._room.disk)
        found |= self._link.granted()
        if self._pid is not None:
            with contextlib.suppress(OSError):  # a thread that is gone is none of the guest's
                found |= libvirt_granted.of_qemu(self._pid, found)
        return {name: value for name, value in found.items() if value}

    def accounts(self) -> Accounts:
        files, daemons = (self._room.disk,), self._home.daemons()
        if self._pid is None:
            why = f"the libvirt at {self._home.uri} does not say which process is the guest's QEMU"
            return Accounts(files=files, engine=daemons, image_bytes=self._image_bytes, unavailable=why)
        pids = (self._pid, *processes.descendants(self._pid))
        folders = tuple(dict.fromkeys(whole for each in cgroups.of_process(self._pid) if (whole := whole_of(each))))
        return Accounts(
            pids=pids,
            parts={self._pid: "vmm"},
            others="other",
            guest_memory=self._memory,
            cgroups=folders,
            files=files,
            engine=daemons,
            image_bytes=self._image_bytes,
        )

    def told(self) -> Told:
        said = self._calling("libvirt has no statistics of the guest's memory.", self._domain.memoryStats)
        definition = self._calling("libvirt does not know the guest.", self._domain.XMLDesc, 0)
        names = [name for name in ("actual", "rss", "unused", "usable") if name in said]
        figures = {f"dommemstat {name}": int(said[name]) * 1024 for name in names}
        return Told(figures, settings(definition))

    def freeze(self, name: str) -> Path:
        """Have what it has written by now stay as it is, in the file that is returned; it goes on in another one.

        An external snapshot of its disk, while it runs. Raises InstanceError in libvirt's words.
        """
        lv, frozen = self._lv, self._room.disk
        brief = "libvirt did not make a snapshot of the guest's disk."
        size = self._calling(brief, self._domain.blockInfo, DISK)[0]
        follows = self._room.next_overlay(name, size)
        flags = lv.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | lv.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        flags |= lv.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC | lv.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        try:
            self._calling(brief, self._domain.snapshotCreateXML, snapshot_xml(follows), flags)
        except BaseException:
            follows.unlink(missing_ok=True)
            raise
        self._room.disk = follows
        return frozen

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
        for channel in self._channels:
            channel.close()
        if self._pid is not None:
            self._wait_ended(self._pid)
            self._pid = None
        self._link.drop()
        self._room.close()
        if self._log is not None and not self._home.embedded:
            with contextlib.suppress(OSError):  # a system daemon's log is root's
                self._log.unlink()

    def _wait_ended(self, pid: int) -> None:
        if not self._reaped.wait(END_SECONDS):
            processes.kill(pid, self._started)
            raise InstanceError("QEMU did not end.", details=f"pid {pid}", hint="tare sweep")


def settings(definition: str) -> dict[str, str]:
    """What of a running guest's definition can give its memory back, or have it counted elsewhere."""
    root = ET.fromstring(definition)
    balloon = root.find("devices/memballoon")
    model = "none" if balloon is None else balloon.get("model", "none")
    reporting = "off" if balloon is None else balloon.get("freePageReporting", "off")
    backing = [each.tag for each in root.findall("memoryBacking/*")]
    return {"balloon": model, "free page reporting": reporting, "memory backing": ", ".join(backing) or "anonymous"}


def whole_of(folder: Path) -> Path | None:
    """The guest's own cgroup: libvirt puts QEMU's threads into parts of it (`emulator`, `vcpu0`).

    None where it has none: a session's QEMU is in its daemon's, with all else there.
    """
    return next(
        (each for each in (*reversed(folder.parents), folder) if "qemu" in each.name and "tare" in each.name), None
    )


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
