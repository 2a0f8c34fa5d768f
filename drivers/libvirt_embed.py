"""libvirt's QEMU driver inside this process: a root folder of its own, no daemon, no name clash with a user's guests.

Upstream calls `qemu:///embed` experimental, and `tare check` says so. One process per root; the root lives in the
run's folder, seeded from a shared cache of QEMU's capabilities (probing them anew costs seconds).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tare_bench import paths

LIBVIRT_QEMU = 64055
"""The user id that Debian and Ubuntu set aside for libvirt's QEMU; it needs no entry in the password file."""

_CONF = """\
# Without this capability libvirt learns the CPU by a few monitor calls; with it, by about 400 that take 0.15 s.
capability_filters = [ "cpu-unavailable-features" ]
"""
_UNPRIVILEGED = """\
user = "+{uid}"
group = "+{gid}"
# 1 would give kernel, initrd and base image (a user's own, too) to that user, and leave them so.
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
seccomp_sandbox = 1
namespaces = []
stdio_handler = "file"
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom QEMU runs as."""

    uid: int
    gid: int


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


def library(log: Path = Path("/dev/null")) -> Any:
    """The libvirt module with its event loop running, and its own printing of errors off.

    Raises ImportError where libvirt-python is not installed.
    """
    # It would write to our stderr otherwise, into the middle of the progress. It reads this once, when it is loaded;
    # what we start must not inherit it, since that file goes with the run.
    chosen = os.environ.get(_LOG)
    os.environ[_LOG] = chosen or f"3:file:{log}"
    try:
        return _loaded()
    finally:
        os.environ.pop(_LOG)
        if chosen is not None:
            os.environ[_LOG] = chosen


_LOG = "LIBVIRT_LOG_OUTPUTS"


@cache
def _loaded() -> Any:
    """Once for the process, whatever the log: two threads must not run the one event loop."""
    import libvirt

    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, daemon=True, name="libvirt events").start()
    return libvirt


def make_root(root: Path, owner: Owner) -> None:
    """Lay out a root folder that libvirt can be opened with: its configuration, and what is known of QEMU."""
    (root / "etc").mkdir(parents=True)
    root.chmod(0o755)
    owned = _UNPRIVILEGED.format(uid=owner.uid, gid=owner.gid) if os.geteuid() == 0 else ""
    (root / "etc/qemu.conf").write_text(_CONF + owned)
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
    # By QEMU's own identity: libvirt would refuse an older one's anyway, but would then never be given the new.
    emulator = shutil.which(emulator_name()) or ""
    stamp = Path(emulator).stat() if emulator else None
    identity = f"{stamp.st_size:x}-{int(stamp.st_mtime):x}-{stamp.st_ino:x}" if stamp else "none"
    return paths.cache_dir() / "libvirt" / f"capabilities-{identity}"


def emulator_name() -> str:
    """QEMU's program for guests of this host's architecture."""
    return f"qemu-system-{os.uname().machine}"


@cache
def emulator_version() -> str:
    """The first line that QEMU says of itself; empty where there is none."""
    path = shutil.which(emulator_name())
    if path is None:
        return ""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, start_new_session=True)
    return answer.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")


def pid_file(root: Path, domain: str) -> Path:
    """Where the embedded driver writes a guest's pid."""
    return root / "run/qemu" / f"{domain}.pid"


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
