"""The ladder of what guests need on this host. It starts nothing and changes nothing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tare_bench import environment
from tare_bench.driver import Rung, Support
from tare_bench.errors import DriverUnavailable
from tare_bench.model import Notice

from . import libvirt_daemon, libvirt_embed, libvirt_host
from .libvirt_host import Owner
from .libvirt_uri import Flavour, flavour

DEVICE = Path("/dev/kvm")
SETUP = "tare setup"


def ladder(uri: str) -> Support:
    """Each rung with its fix; whether KVM itself works is another question, which a real guest answers.

    Raises UsageError for a URI that guests cannot live at.
    """
    kind = flavour(uri)
    rungs = [_binding(), _program(libvirt_host.emulator_name()), _program("qemu-img")]
    if kind is not Flavour.EMBED:
        # the daemon's own user is its affair, and so is the device
        rungs += [_daemon(uri)] if rungs[0].ok else []
        return Support(tuple(rungs))
    rungs += [_driver(), _accounts(), _device(libvirt_embed.qemu_owner())]
    return Support(tuple(rungs), notices=(EXPERIMENTAL,))


EXPERIMENTAL = Notice(
    code="libvirt-embed",
    subject="kvm",
    message="Guests run in libvirt's embedded QEMU driver, which its authors call experimental.",
    hint="It needs no daemon and cannot clash with your own guests.",
)


def _binding() -> Rung:
    if not environment.binding_there():
        return Rung(environment.BINDING, False, "not installed", "\n".join(environment.binding_commands()))
    # in a process of its own: libvirt reads its log's settings but once, when it is loaded
    try:
        loaded = libvirt_host.said([sys.executable, "-P", "-c", "import libvirt"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Rung(environment.BINDING, False, str(error), "\n".join(environment.binding_commands()))
    if loaded.returncode:
        seen = f"installed, and does not load: {loaded.stderr.strip().splitlines()[-1]}"
        return Rung(environment.BINDING, False, seen, "\n".join(environment.binding_commands()))
    return Rung(environment.BINDING, True, "installed")


def _program(name: str) -> Rung:
    path = shutil.which(name)
    if path is None:
        return Rung(name, False, "not on the PATH", SETUP)
    try:
        answer = libvirt_host.said([path, "--version"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Rung(name, False, str(error), f"Reinstall its package: {path} does not run.")
    return Rung(name, answer.returncode == 0, answer.stdout.splitlines()[0] if answer.stdout else answer.stderr, SETUP)


def _daemon(uri: str) -> Rung:
    try:
        connection = libvirt_daemon.opened(uri)
    except DriverUnavailable as error:
        return Rung("libvirt", False, f"{uri}: {error.details}", error.hint)
    try:
        return Rung("libvirt", True, f"{libvirt_host.dotted(connection.getLibVersion())} at {uri}")
    finally:
        connection.close()


def _driver() -> Rung:
    """libvirt loads its QEMU driver as a module of its own, which is a package of its own."""
    found = [*Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_qemu.so")]
    found += Path("/usr/lib64/libvirt/connection-driver").glob("libvirt_driver_qemu.so")
    return Rung("libvirt's QEMU driver", bool(found), str(found[0]) if found else "not installed", SETUP)


def _accounts() -> Rung:
    """As root, libvirt refuses to open without the user and group that its distribution runs QEMU as."""
    if os.geteuid() != 0:
        return Rung("QEMU's user", True, "yourself")
    missing = libvirt_embed.missing_accounts()
    seen = f"no {' and no '.join(missing)}" if missing else "an unprivileged one"
    return Rung("QEMU's user", not missing, seen, SETUP)


def _device(owner: Owner) -> Rung:
    """Where QEMU's user cannot open it, libvirt distrusts what it knows of QEMU and probes for 4 s each time."""
    try:
        info = DEVICE.stat()
    except FileNotFoundError:
        return Rung("/dev/kvm", True, "not there: guests are emulated (TCG)")
    mode = stat.S_IMODE(info.st_mode)
    seen = f"mode {mode:04o}, owner {info.st_uid}:{info.st_gid}"
    reached = (info.st_gid == owner.gid and mode & 0o060 == 0o060) or mode & 0o006 == 0o006
    if os.geteuid() != 0 and not os.access(DEVICE, os.R_OK | os.W_OK):
        join = "an administrator gives it with: usermod -aG kvm USER"
        return Rung("/dev/kvm", True, f"{seen}, not yours to open: guests are emulated (TCG); {join}")
    reached |= os.geteuid() != 0
    return Rung("/dev/kvm", reached, seen, f"{SETUP} (it gives the group kvm access, as udev's rule does)")
