"""`kvm`: guests of QEMU through libvirt, accelerated by KVM where that works and emulated (TCG) where it doesn't.

Direct kernel boot, a virtio disk with a qcow2 overlay for each instance, a virtio-serial port as the wire, the serial
console as evidence; nothing else. QEMU runs unprivileged and in its sandbox.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tare_bench import network, paths
from tare_bench.driver import (
    Committed,
    Driver,
    Instance,
    Kind,
    Leftover,
    Resolution,
    RunContext,
    Support,
)
from tare_bench.errors import DriverUnavailable, UsageError
from tare_bench.guest import PORT_NAME
from tare_bench.model import Accelerator, NetworkPath, Spec
from tare_bench.network import MASK, Link

from . import guest_image, kvm_check, kvm_probe, libvirt_daemon, libvirt_embed, libvirt_host
from .libvirt_daemon import Daemon
from .libvirt_domain import Boot, Card, Domain, disk_cache
from .libvirt_guest import Base, KvmInstance, Room
from .libvirt_host import Home
from .libvirt_snapshot import Snapshot
from .libvirt_uri import EMBED, Flavour, flavour

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

USER_ADDRESS, USER_MASK = "10.0.2.15", "255.255.255.0"
"""A guest's in QEMU's own network stack, as its documentation has it."""
USER_MAC = "52:54:00:12:34:56"
"""QEMU's own choice; there is nobody beside it."""
ACCELERATORS = ("auto", "kvm", "tcg")


class KvmDriver(Driver):
    """Guests of QEMU, through libvirt: its embedded driver, or a daemon of the user's."""

    name = "kvm"
    kind = Kind.VM
    OPTIONS: ClassVar[Mapping[str, str]] = {
        "uri": "the libvirt that guests live in: qemu:///embed (default), qemu:///system or qemu:///session",
        "accelerator": "auto, kvm or tcg: this arm's, whatever the plan says",
    }

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._home: Home | None = None
        self._accelerator: Accelerator = "tcg"
        self._rootfs: Rootfs | None = None
        self.image: guest_image.GuestImage | None = None

    @property
    def uri(self) -> str:
        """The libvirt that guests live in."""
        return self.options.get("uri", EMBED)

    def check(self, *, fresh: bool = False) -> Support:
        self._asked("auto")
        return kvm_check.ladder(self.uri)

    def _asked(self, asked: str) -> str:
        """The accelerator that is asked for. Raises UsageError for one that there is not."""
        found = self.options.get("accelerator", asked)
        if found not in ACCELERATORS:
            raise UsageError(
                f"The driver kvm has no accelerator `{found}`.", hint=f"There are: {', '.join(ACCELERATORS)}."
            )
        return found

    @property
    def home(self) -> Home:
        """The libvirt that is open."""
        assert self._home is not None
        return self._home

    def describe(self) -> Mapping[str, str]:
        owner = self.home.owner
        facts = {
            # Not getVersion(): that has libvirt probe every emulator there is, for 4 s each.
            "libvirt": libvirt_host.dotted(self.home.connection.getLibVersion()),
            "libvirt-python": version("libvirt-python"),
            "uri": self.uri,
            "qemu": libvirt_host.emulator_version(),
            "accelerator": self._accelerator,
            "machine": libvirt_host.machine(),
            "disk": "virtio-blk, qcow2 overlay on raw ext4, cache as each arm's spec has it",
            "user": f"{owner.uid}:{owner.gid}, seccomp sandbox",
            "wire": "sockets" if self.home.embedded else "libvirt's streams",
        }
        if self.image is not None:
            facts |= {"kernel": self.image.kernel_version, "kernel digest": self.image.kernel_digest}
            facts |= {"image": self.image.how, "command line": guest_image.CMDLINE}
            facts["kernel is"] = "the host's own" if self.image.own_kernel else f"not the host's: {self.image.instead}"
        return facts

    def identity(self) -> str:
        """What decides, beside the host and the guest's kernel, whether KVM works: libvirt, and QEMU's user."""
        if self._home is None:
            return self.uri
        libvirt, owner = self._home.connection.getLibVersion(), self._home.owner
        return f"{self.uri} {libvirt} {owner.uid}:{owner.gid}"

    def refuses(self, path: NetworkPath) -> str:
        if path == "host":
            return "a guest has a kernel of its own, and so no network of the host's"
        if path == "nat":
            return "libvirt's default network is made by a daemon's set-up, which a guest of Tare's does not have"
        if path == "bridge" and flavour(self.uri) is not Flavour.EMBED:
            return f"the libvirt at {self.uri} makes its taps in its own network namespace, not in the run's"
        return network.refusal(path)

    def open(self, context: RunContext) -> None:
        self._context = context
        self._home = libvirt_embed.join(context) if flavour(self.uri) is Flavour.EMBED else Daemon(self.uri)

    def close(self) -> None:
        if self._home is not None:
            home, self._home = self._home, None
            home.close()

    def prepare(self, rootfs: Rootfs) -> None:
        assert self._context is not None
        self._rootfs = rootfs
        self.image = guest_image.build(rootfs, room=self._context.disk)

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        assert self.image is not None
        try:
            resolution = kvm_probe.resolve(self, self._asked(asked), self.image.kernel_digest, fresh=fresh)
        except DriverUnavailable:
            if not self._has_changed_kernel(fresh=fresh):
                raise
            return self.resolve(asked, fresh=fresh)
        if resolution.accelerator != "kvm" and self._has_changed_kernel(fresh=fresh):
            return self.resolve(asked, fresh=fresh)
        self.use(resolution.accelerator)
        return resolution

    def _has_changed_kernel(self, *, fresh: bool) -> bool:
        """Whether the host's own kernel was given up for the distribution's: where it boots not even emulated.

        Raises ImageError where there is no other.
        """
        assert self.image is not None
        if not self.image.own_kernel:
            return False
        why = kvm_probe.never_boots(self, self.image.kernel_digest, fresh=fresh)
        if why:
            assert self._context is not None
            assert self._rootfs is not None
            instead = f"it does not boot: {why.splitlines()[0]}"
            self.image = guest_image.build(self._rootfs, room=self._context.disk, instead=instead)
        return bool(why)

    def use(self, accelerator: Accelerator) -> None:
        """Have guests created from now on run under it."""
        self._accelerator = accelerator

    def refusal(self) -> str:
        """Why guests under KVM are not possible here, by libvirt's domain capabilities; empty where they are."""
        lv = libvirt_host.library()
        try:
            self.home.connection.getDomainCapabilities(None, platform.machine(), libvirt_host.machine(), "kvm")
        except lv.libvirtError as error:
            return f"libvirt: {error}"
        return ""

    def image_files(self) -> Sequence[Path]:
        assert self.image is not None
        return (self.image.kernel, self.image.initrd, self.image.disk)

    def create(self, spec: Spec, *, name: str) -> Instance:
        assert self.image is not None
        return self._create(spec, name, Base(self.image.disk, "raw"))

    def commit(self, instance: Instance, *, name: str) -> Committed:
        assert isinstance(instance, KvmInstance)
        return Snapshot(instance, name, self._create)

    def _create(self, spec: Spec, name: str, base: Base) -> Instance:
        assert self._context is not None
        assert self.image is not None
        image, context, home = self.image, self._context, self.home
        cache, link = disk_cache(spec.cache), Link(context.outside, spec.network)
        card, initrd, words = None, image.initrd, guest_image.CMDLINE
        if link.port is not None:
            card, initrd = Card(link.port.mac, link.port.device), image.network
            words = f"{words} tare.address={link.address}/{MASK}"
        elif link.path == "user":
            card, initrd, link.address = Card(USER_MAC), image.network, USER_ADDRESS
            words = f"{words} tare.address={USER_ADDRESS}/{USER_MASK}"

        def define(room: Room) -> Domain:
            room.overlay(base, cache)
            return Domain(
                name=f"tare-{context.run}-{name}",
                accelerator=self._accelerator,
                emulator=shutil.which(libvirt_host.emulator_name()) or libvirt_host.emulator_name(),
                vcpus=spec.vcpus,
                cpus=context.cpus_of(spec),
                memory=spec.memory,
                disk=room.disk,
                disk_format="qcow2",
                cache=cache,
                boot=Boot(image.kernel, initrd, words),
                labels={"run": context.run, "instance": name, "runs": str(paths.runtime_dir())},
                port=PORT_NAME,
                card=card,
                wire=room.path("wire"),
                console=room.path("console"),
                owner=home.label,
            )

        return KvmInstance(home, context, Room(context, name, home), define, image.allocated, link)

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        # All of an embedded guest stands in its run's lease.
        return libvirt_daemon.leftovers(live_runs) if find_spec("libvirt") is not None else []
