"""What the host is and what it lacks: its distribution, the packages that Tare needs, and why each of them.

Nothing here changes anything.
"""

from __future__ import annotations

import grp
import importlib.util
import json
import os
import platform
import pwd
import socket
import stat
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import tool
from .errors import ImageError

OS_RELEASE = Path("/etc/os-release")
KVM_DEVICE = Path("/dev/kvm")

APPARMOR_SWITCH = "kernel.apparmor_restrict_unprivileged_userns"

LIBVIRT_USER = "libvirt-qemu"
_LIBVIRT_ID = 64055
"""The number that Debian has set aside for libvirt's QEMU user, so that images can be shared between machines."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The host's distribution, as its own os-release says."""

    id: str
    codename: str
    version: str
    name: str

    @property
    def known(self) -> bool:
        """Whether the names of its packages are known here."""
        return self.id in ("debian", "ubuntu")


def distribution(os_release: Path = OS_RELEASE) -> Distribution:
    """What the host runs; fields that it doesn't state are empty, never guessed."""
    stated = _os_release(os_release)
    return Distribution(
        id=stated.get("ID", ""),
        codename=stated.get("VERSION_CODENAME", ""),
        version=stated.get("VERSION_ID", ""),
        name=stated.get("PRETTY_NAME") or stated.get("NAME", "an unknown distribution"),
    )


def _os_release(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text(errors="replace").splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def architecture() -> str:
    """The machine's name as Debian spells it: amd64, arm64."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def is_root() -> bool:
    """Whether we may change the system."""
    return os.geteuid() == 0


def root_within() -> tuple[str, ...]:
    """What goes before a command that keeps files of all owners: nothing for root, a user namespace for others.

    Raises ImageError with the fix where an ordinary user gets no such namespace.
    """
    if is_root():
        return ()
    try:
        tool.run([*tool.AS_MAPPED_ROOT, "true"])
    except ImageError as error:
        fix = "tare setup (it names the package uidmap), and lines for yourself in /etc/subuid and /etc/subgid"
        if restricts_namespaces():
            fix = f"as an administrator: sysctl -w {APPARMOR_SWITCH}=0 (AppArmor denies them to ordinary users)"
        raise ImageError(
            "an ordinary user gets no user namespace here, in which files could keep their owners",
            details=error.details or error.brief,
            hint=f"{fix}; or run it as root",
        ) from error
    return tool.AS_MAPPED_ROOT


def restricts_namespaces(switches: Path = Path("/proc/sys")) -> bool:
    """Whether AppArmor keeps ordinary users from having user namespaces with rights, as on Ubuntu since 24.04."""
    try:
        return (switches / APPARMOR_SWITCH.replace(".", "/")).read_text().strip() == "1"
    except OSError:
        return False


def runs_systemd() -> bool:
    """Whether the distribution starts a service when its package is installed (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the distribution, and what Tare needs it for."""

    name: str
    why: str
    there: Callable[[], bool]
    """Whether what it brings is on the host, from whatever source."""


def packages(*, tests: bool = False, os_release: Path = OS_RELEASE) -> list[Package]:
    """All that Tare can use on this distribution; with `tests`, what its own tests need as well."""
    emulator = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}.get(architecture(), "qemu-system-misc")
    found = [
        Package("docker.io", "the engine that containers are measured with", engine_there),
        # not libvirt-daemon-system: that starts a daemon and a network bridge, and the embedded driver needs neither
        Package("libvirt-daemon-driver-qemu", "libvirt's QEMU driver, which runs inside Tare", _libvirt_driver_there),
        Package(emulator, "QEMU, which runs the guests", _program(f"qemu-system-{platform.machine()}")),
        Package("qemu-utils", "qemu-img, which makes each guest's disk", _program("qemu-img")),
        Package("mmdebstrap", "builds the root filesystem that all instances run", _program("mmdebstrap")),
        Package("busybox-static", "the first program in a guest", _program("busybox")),
        Package("kmod", "finds the modules that a guest's kernel needs", _program("modprobe", "depmod")),
        Package("cpio", "packs a guest's initramfs", _program("cpio")),
        Package("e2fsprogs", "makes the file system of a guest's disk", _program("mke2fs")),
        Package("lz4", "unpacks a kernel", _program("lz4")),
        Package("zstd", "unpacks a kernel and its modules", _program("zstd")),
        Package("iproute2", "sets up a private engine's network", _program("ip")),
        Package("mount", "gives native processes a view of their own", _program("mount")),
        Package("util-linux", "gives processes namespaces of their own", _program("unshare", "fallocate", "setpriv")),
        Package("libvirt-dev", "compiles libvirt-python", _bindings_or(_header("libvirt/libvirt.h"))),
        Package("pkg-config", "compiles libvirt-python", _bindings_or(_program("pkg-config"))),
        Package("gcc", "compiles libvirt-python", _bindings_or(_program("gcc"))),
        Package("libc6-dev", "compiles libvirt-python", _bindings_or(_header("stdio.h"))),
        Package("python3-dev", "compiles libvirt-python", _bindings_or(_python_header)),
    ]
    if not is_root():
        found.append(Package("uidmap", "builds the root filesystem without root", _program("newuidmap")))
    if tests:
        # the program alone: it brings no service, no network and no configuration, which libvirt-daemon-system has
        found.append(Package("libvirt-daemon", "a libvirtd of the tests' own", _program("libvirtd")))
        found.append(Package("openssl", "makes certificates for the tests' own engine", _program("openssl")))
    if tests and distribution(os_release).id != "ubuntu":  # there the package is only an installer of a snap
        browsers = ("chromium", "chromium-browser", "google-chrome")
        found.append(Package("chromium", "looks at the report in the tests", _any_program(*browsers)))
    return found


_FOR_CONTAINERS = ("docker.io", "iproute2")


def missing(*, tests: bool = False) -> list[Package]:
    """Those of `packages` whose purpose nothing on the host serves."""
    return [package for package in packages(tests=tests) if not package.there()]


def missing_for_guests() -> list[Package]:
    """Those of `missing` that virtual machines need."""
    return [package for package in missing() if package.name not in _FOR_CONTAINERS]


def engine_there() -> bool:
    """Whether a container engine is there, was named by the user, or could be started."""
    if named_engine() is not None or tool.find("dockerd") is not None:
        return True
    # One that does not let us in is there all the same.
    return any(isinstance(refusal(path), PermissionError | None) for path in engine_sockets())


def named_engine() -> tuple[str, str] | None:
    """What names the user's engine, and the name: as the docker command goes about it.

    DOCKER_HOST has an address; DOCKER_CONTEXT, and the `currentContext` of the docker command's own file, a context.
    """
    if host := os.environ.get("DOCKER_HOST", "").strip():
        return "DOCKER_HOST", host
    if (context := os.environ.get("DOCKER_CONTEXT", "")) and context != "default":
        return "DOCKER_CONTEXT", context
    file = docker_config() / "config.json"
    try:
        current = "" if context else json.loads(file.read_text()).get("currentContext")
    except (OSError, ValueError, AttributeError):  # the docker command goes on without it, too
        current = ""
    return (str(file), current) if isinstance(current, str) and current not in ("", "default") else None


def docker_config() -> Path:
    """The folder of the docker command's settings and contexts."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser())


def engine_sockets() -> list[Path]:
    """Where an engine listens that nothing names: the system's, then the user's own (rootless)."""
    folders = ["/var/run", os.environ.get("XDG_RUNTIME_DIR") or "", f"/run/user/{os.getuid()}"]
    return [Path(folder, "docker.sock") for folder in dict.fromkeys(folders) if folder]


def refusal(path: Path) -> OSError | None:
    """Why nobody can be reached at that socket; None where somebody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error
    return None


def _program(*names: str) -> Callable[[], bool]:
    return lambda: all(tool.find(name) is not None for name in names)


def _any_program(*names: str) -> Callable[[], bool]:
    return lambda: any(tool.find(name) is not None for name in names)


def _header(name: str) -> Callable[[], bool]:
    return lambda: Path("/usr/include", name).is_file()


def _bindings_or(there: Callable[[], bool]) -> Callable[[], bool]:
    """What only the compiling of libvirt-python needs is not needed where that is installed."""
    return lambda: importlib.util.find_spec("libvirt") is not None or there()


def _python_header() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


def _libvirt_driver_there() -> bool:
    drivers = "libvirt/connection-driver/libvirt_driver_qemu.so"
    return any(
        any(Path(lib).glob(pattern)) for lib in ("/usr/lib", "/usr/lib64") for pattern in (drivers, f"*/{drivers}")
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A change to the system beside its packages: what, why, and the commands that make it."""

    what: str
    why: str
    commands: tuple[tuple[str, ...], ...]


def steps() -> list[Step]:
    """The changes that the host needs, in order; none where all is as a full installation would have it."""
    return [*_accounts(), *_kvm_access()]


def _accounts() -> list[Step]:
    """The accounts that Debian's libvirt-daemon-system would make: libvirt was built to run QEMU as that user."""
    commands: list[tuple[str, ...]] = []
    if not _group_there("kvm"):
        commands.append(("groupadd", "--system", "kvm"))
    if not _group_there(LIBVIRT_USER):
        commands.append(("groupadd", "--system", "--gid", str(_LIBVIRT_ID), LIBVIRT_USER))
    if not _user_there(LIBVIRT_USER):
        home = ("--home-dir", "/var/lib/libvirt", "--no-create-home", "--shell", "/usr/sbin/nologin")
        groups = ("--gid", "kvm", "--groups", LIBVIRT_USER)
        commands.append(("useradd", "--system", "--uid", str(_LIBVIRT_ID), *groups, *home, LIBVIRT_USER))
    why = "libvirt runs QEMU as this user without privileges; Debian makes it with libvirt's daemon, which Tare avoids"
    return [Step(f"make the user {LIBVIRT_USER} and its groups", why, tuple(commands))] if commands else []


def _kvm_access(device: Path = KVM_DEVICE) -> list[Step]:
    """Where no udev has been at work, /dev/kvm is root's alone: then libvirt probes QEMU anew for each guest."""
    if not device.exists():
        return []
    seen = device.stat()
    if (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) != (0, 0, 0o600):
        return []
    why = "as udev's rule has it (root:kvm, 0660); without it libvirt takes a minute to start each guest"
    commands = (("chgrp", "kvm", str(device)), ("chmod", "0660", str(device)))
    return [Step(f"give the group kvm access to {device}", why, commands)]


def _group_there(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _user_there(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
