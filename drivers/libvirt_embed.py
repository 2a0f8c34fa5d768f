"""libvirt's QEMU driver inside this process: a root folder of its own, no daemon, no name clash with a user's guests.

Upstream calls `qemu:///embed` experimental, and `tare check` says so. One process per root; the root lives in the
run's folder, seeded from a shared cache of QEMU's capabilities (probing them anew costs seconds).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from contextlib import suppress
from pathlib import Path

from tare_bench import cgroups, paths, processes
from tare_bench.driver import RunContext
from tare_bench.errors import DriverUnavailable
from tare_bench.system import KVM_DEVICE

from .libvirt_host import Owner, emulator_name, learn_qemu, library, pid_in
from .libvirt_uri import EMBED

SOCKET_PATH = 107
"""Bytes that a socket's path may have, its end apart."""
LIBVIRT_QEMU = 64055
"""The user id that Debian and Ubuntu set aside for libvirt's QEMU; it needs no entry in the password file."""

_CONF = """\
# Without this capability libvirt learns the CPU by a few monitor calls; with it, by about 400 that take 0.15 s.
capability_filters = [ "cpu-unavailable-features" ]
security_driver = "none"
seccomp_sandbox = 1
stdio_handler = "file"
"""
_NO_CGROUPS = """\
cgroup_controllers = []
"""
"""Where none can be made, guests run without one of their own rather than not at all."""
_UNPRIVILEGED = """\
user = "+{uid}"
group = "+{gid}"
# 1 would give kernel, initrd and base image (a user's own, too) to that user, and leave them so.
dynamic_ownership = 0
remember_owner = 0
namespaces = []
"""


def qemu_owner() -> Owner:
    """An unprivileged user and the group that may open /dev/kvm; as ourselves where we are not root."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    try:
        uid = pwd.getpwnam("libvirt-qemu").pw_uid
    except KeyError:
        uid = LIBVIRT_QEMU
    try:
        gid = grp.getgrnam("kvm").gr_gid
    except KeyError:
        gid = LIBVIRT_QEMU
    return Owner(uid, gid)


def make_root(root: Path, owner: Owner) -> None:
    """Lay out a root folder that libvirt can be opened with: its configuration, and what is known of QEMU."""
    (root / "etc").mkdir(parents=True)
    root.chmod(0o755)
    owned = _UNPRIVILEGED.format(uid=owner.uid, gid=owner.gid) if os.geteuid() == 0 else ""
    alone = "" if os.geteuid() != 0 or cgroups.writable() else _NO_CGROUPS
    (root / "etc/qemu.conf").write_text(_CONF + owned + alone)
    if (kept := _kept_capabilities()).is_dir():
        shutil.copytree(kept, root / "cache/qemu/capabilities")


def keep_capabilities(root: Path) -> None:
    """Keep what this root has learnt of QEMU for the next one."""
    known, kept = root / "cache/qemu/capabilities", _kept_capabilities()
    if known.is_dir() and not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        staged = kept.with_name(f".{kept.name}.{os.getpid()}")
        shutil.copytree(known, staged, dirs_exist_ok=True)
        try:
            staged.rename(kept)
        except OSError:  # another run was quicker
            shutil.rmtree(staged)


def _kept_capabilities() -> Path:
    # By QEMU's and libvirt's own identity, and by whether there is KVM: what was learnt with another one is refused
    # anyway, and would then never be replaced.
    emulator = shutil.which(emulator_name()) or ""
    stamp = Path(emulator).stat() if emulator else None
    identity = f"{stamp.st_size:x}-{int(stamp.st_mtime):x}-{stamp.st_ino:x}" if stamp else "none"
    kvm = "-kvm" if KVM_DEVICE.exists() else ""
    return paths.cache_dir() / "libvirt" / f"capabilities-{identity}-{library().getVersion()}{kvm}"


def missing_accounts() -> list[str]:
    """Of the user and the group that libvirt was built to run QEMU as, those that this host doesn't have."""
    missing = []
    try:
        pwd.getpwnam("libvirt-qemu")
    except KeyError:
        missing.append("user libvirt-qemu")
    try:
        grp.getgrnam("kvm")
    except KeyError:
        missing.append("group kvm")
    return missing


_joined: dict[Path, Embedded] = {}
"""By the run's folder: a process can open one root only, which all drivers of a run share."""


def join(context: RunContext) -> Embedded:
    """The run's embedded driver, opened for the first who asks. Each who joined closes it once.

    Raises DriverUnavailable where it does not open.
    """
    home = _joined.get(context.folder)
    if home is None:
        home = _joined[context.folder] = Embedded(context)
    home.members += 1
    return home


class Embedded:
    """libvirt's QEMU driver in this process, for one run."""

    uri = EMBED
    label: Owner | None = None
    embedded = True

    def __init__(self, context: RunContext) -> None:
        self.members = 0
        self.owner = qemu_owner()
        self._folder = context.folder
        self._root = context.folder / "libvirt"
        _require_short(self._root)
        processes.become_subreaper()
        context.lease.own("libvirt-root", self._root)
        # libvirt makes this parent for all of its guests; where it wasn't there before us it goes with us.
        self._machine = [folder for folder in cgroups.roots("machine") if not folder.exists()]
        for folder in self._machine:
            context.lease.own("empty-cgroup", folder)
        _reachable(context.folder, self.owner.gid)
        lv = library(self._folder / "libvirt.log")
        make_root(self._root, self.owner)
        try:
            self.connection = lv.open(f"{EMBED}?root={self._root}")
        except lv.libvirtError as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise DriverUnavailable(
                "libvirt's embedded QEMU driver did not open.", details=str(error), hint="tare setup"
            ) from error
        learn_qemu(self.connection)

    def pid_file(self, domain: str) -> Path:
        return self._root / "run/qemu" / f"{domain}.pid"

    def pid_of(self, domain: str) -> int | None:
        return pid_in(self.pid_file(domain))

    def log_of(self, domain: str) -> Path:
        return self._root / "log/qemu" / f"{domain}.log"

    def daemons(self) -> tuple[int, ...]:
        return ()

    def close(self) -> None:
        """Leave it; the last one to do so closes it."""
        self.members -= 1
        if self.members or _joined.pop(self._folder, None) is None:
            return
        self.connection.close()
        keep_capabilities(self._root)
        for folder in self._machine:
            with suppress(OSError):  # somebody else has come to use it
                folder.rmdir()
        shutil.rmtree(self._root, ignore_errors=True)


_LONGEST = "lib/qemu/domain-9999-tare-0123456789-0123/monitor.sock"
"""Of libvirt's sockets below its root, about: it cuts a guest's name to 20 letters."""


def _require_short(root: Path) -> None:
    """Raise DriverUnavailable where libvirt's sockets would have longer paths than a socket may (unix(7))."""
    if len(os.fsencode(root / _LONGEST)) > SOCKET_PATH:
        raise DriverUnavailable(
            "The folder of the run has too long a path for libvirt's sockets.",
            details=f"{root}: with what libvirt adds, more than {SOCKET_PATH} bytes",
            hint="Name a shorter one: TARE_RUN=/tmp/tare",
        )


def _reachable(folder: Path, gid: int) -> None:
    """The run's folder, for QEMU's group and nobody else."""
    if os.geteuid() == 0:
        os.chown(folder, 0, gid)
        folder.chmod(0o750)
