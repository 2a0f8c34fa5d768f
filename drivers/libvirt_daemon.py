"""The user's own libvirt, as a home for guests: root's daemon (`qemu:///system`) or the user's (`qemu:///session`).

Guests are transient, labelled in their metadata, and destroyed by the daemon itself when our connection ends. Nothing
of the daemon's is configured or restarted, and no file changes its owner: a system daemon is told, guest by guest, to
run QEMU as the user that it has for that (as ourselves where we are not root) and to leave files as they are.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tare_bench import paths, processes, system
from tare_bench.driver import Leftover
from tare_bench.errors import DriverUnavailable

from .libvirt_domain import METADATA
from .libvirt_host import Owner, learn_qemu, library, pid_in, said
from .libvirt_uri import Flavour, flavour

SYSTEM = "qemu:///system"
SESSION = "qemu:///session"
SYSTEM_STATE = Path("/run/libvirt")
SYSTEM_LOGS = Path("/var/log/libvirt/qemu")
_SOCKETS = ("virtqemud-sock", "libvirt-sock")
START_SECONDS = 60.0


def opened(uri: str) -> Any:
    """A connection. Raises DriverUnavailable, in libvirt's own words, where the daemon does not answer."""
    lv = library()
    if flavour(uri) is Flavour.SESSION:
        # a daemon that libvirt starts for us descends from us, and with it QEMU: its zombies are ours to reap
        processes.become_subreaper()
    try:
        return lv.open(_reachable(uri))
    except lv.libvirtError as error:
        raise DriverUnavailable(f"No libvirt answers at {uri}.", details=str(error), hint=fix(uri)) from error


def _reachable(uri: str) -> str:
    """The URI with transport and socket: where the embedded driver is open in this process, libvirt itself finds none.

    As it was where no daemon answers: libvirt then says so.
    """
    if "socket=" in uri:
        return uri.replace("qemu:", "qemu+unix:", 1)
    kind = flavour(uri)
    there = _socket(kind)
    if there is None and kind is Flavour.SESSION:
        _start(uri)
        there = _socket(kind)
    return uri if there is None else f"qemu+unix:///{kind}?socket={there}"


def _socket(kind: Flavour) -> Path | None:
    """Where a daemon answers."""
    folder = SYSTEM_STATE if kind is Flavour.SYSTEM else _session_runtime()
    return next((path for name in _SOCKETS if system.refusal(path := folder / name) is None), None)


def _start(uri: str) -> None:
    """Have libvirt start the user's own daemon, in another process: beside an embedded driver it doesn't."""
    code = "import libvirt, sys; libvirt.open(sys.argv[1])"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said([sys.executable, "-P", "-c", code, uri], seconds=START_SECONDS)


def fix(uri: str) -> str:
    """What to do where it does not answer."""
    if flavour(uri) is Flavour.SYSTEM:
        return "Start libvirtd (or virtqemud), and be root or a member of its group libvirt."
    if os.geteuid() == 0:
        return f"root has no session of its own in libvirt: {SYSTEM}."
    return "libvirt starts its daemon for you where the package libvirt-daemon is installed."


class Daemon:
    """A connection to a libvirt that was there before us."""

    embedded = False

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._flavour = flavour(uri)
        self.connection = opened(uri)
        if self._flavour is Flavour.SESSION:
            learn_qemu(self.connection)
        self.owner = Owner(os.geteuid(), os.getegid())
        if self._flavour is Flavour.SYSTEM and os.geteuid() == 0:
            self.owner = _named_owner() or _base_owner(self.connection.getCapabilities()) or self.owner
        self.label = self.owner if self._flavour is Flavour.SYSTEM else None

    def pid_file(self, domain: str) -> Path:
        return _state(self._flavour) / f"{domain}.pid"

    def pid_of(self, domain: str) -> int | None:
        return pid_in(self.pid_file(domain)) or _by_name(domain)

    def log_of(self, domain: str) -> Path:
        if self._flavour is Flavour.SYSTEM:
            return SYSTEM_LOGS / f"{domain}.log"
        return _xdg("XDG_CACHE_HOME", ".cache") / f"libvirt/qemu/log/{domain}.log"

    def daemons(self) -> tuple[int, ...]:
        pid = pid_in(_state(self._flavour) / "driver.pid")
        return (pid,) if pid is not None and processes.start_time(pid) is not None else ()

    def close(self) -> None:
        with contextlib.suppress(library().libvirtError):  # it has gone before us
            self.connection.close()


def _named_owner() -> Owner | None:
    """Whom distributions run QEMU as. First, since libvirt's capabilities have it ask every emulator, for 4 s each."""
    for name in ("libvirt-qemu", "qemu"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return Owner(found.pw_uid, found.pw_gid)
    return None


def _base_owner(capabilities: str) -> Owner | None:
    """Whom a system daemon runs QEMU as, where it says so."""
    for model in ET.fromstring(capabilities).findall("host/secmodel"):
        if model.findtext("model") == "dac" and (label := model.findtext("baselabel")):
            uid, gid = (int(part.lstrip("+")) for part in label.split(":"))
            return Owner(uid, gid)
    return None


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback)


def _state(kind: Flavour) -> Path:
    """Where a daemon's QEMU driver writes pids: its own, and its guests'."""
    if kind is Flavour.SYSTEM:
        return SYSTEM_STATE / "qemu"
    return _session_runtime() / "qemu/run"


def _session_runtime() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or _xdg("XDG_CACHE_HOME", ".cache")) / "libvirt"


def _by_name(domain: str) -> int | None:
    """The process that QEMU's own `-name guest=...` says is that guest; the name has the run's id in it."""
    word = f"guest={domain},".encode()
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            if any(each.startswith(word) for each in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")):
                return pid
    return None


def leftovers(live_runs: Sequence[str]) -> list[Leftover]:
    """Guests of dead runs of this user's, in the daemons that answer now; none is started to be asked."""
    found: list[Leftover] = []
    for uri in listening():
        with contextlib.suppress(DriverUnavailable), _connected(uri) as connection:
            for domain in connection.listAllDomains():
                labels = labels_of(domain)
                if labels.get("runs") == str(paths.runtime_dir()) and labels["run"] not in live_runs:
                    found.append(Leftover("guest", domain.name(), _remover(uri, domain.UUIDString())))
    return found


def listening() -> Iterator[str]:
    """The URIs of this host's daemons that answer."""
    for uri in (SYSTEM, SESSION):
        if _socket(flavour(uri)) is not None:
            yield uri


@contextlib.contextmanager
def _connected(uri: str) -> Iterator[Any]:
    try:
        connection = opened(uri)
    except ImportError:
        raise DriverUnavailable("libvirt-python is not installed.") from None
    try:
        yield connection
    finally:
        connection.close()


def labels_of(domain: Any) -> dict[str, str]:
    """What we wrote into a guest's metadata; empty for whatever is not ours."""
    lv = library()
    try:
        return dict(ET.fromstring(domain.metadata(lv.VIR_DOMAIN_METADATA_ELEMENT, METADATA)).attrib)
    except lv.libvirtError:
        return {}


def _remover(uri: str, uuid: str) -> Callable[[], None]:
    def remove() -> None:
        lv = library()
        with _connected(uri) as connection:
            try:
                connection.lookupByUUIDString(uuid).destroy()
            except lv.libvirtError as error:
                if error.get_error_code() not in (lv.VIR_ERR_NO_DOMAIN, lv.VIR_ERR_OPERATION_INVALID):
                    raise

    return remove
