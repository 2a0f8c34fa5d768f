"""What all of the KVM driver shares: libvirt's module, QEMU's program, whom QEMU runs as."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from tare_bench import processes

PROGRAM_SECONDS = 20.0
"""Within which a program must have said its version."""

_LOG = "LIBVIRT_LOG_OUTPUTS"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom QEMU runs as."""

    uid: int
    gid: int


class Home(Protocol):
    """The libvirt that guests live in: the embedded one, or a daemon of the user's."""

    uri: str
    connection: Any
    owner: Owner
    """Whom QEMU runs as."""
    label: Owner | None
    """Whom each guest's definition has to name as that; None where libvirt is set up so, or has no choice."""
    embedded: bool
    """Whether QEMU descends from this process and connects to our sockets; a daemon hands out streams."""

    def pid_file(self, domain: str) -> Path:
        """Where libvirt writes QEMU's pid."""

    def pid_of(self, domain: str) -> int | None:
        """QEMU's pid; None where it cannot be known (yet)."""

    def log_of(self, domain: str) -> Path:
        """Where QEMU's own words go."""

    def daemons(self) -> tuple[int, ...]:
        """The pids of what serves all guests, where that is not this process."""

    def close(self) -> None:
        """Leave it. Twice too."""


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


def machine() -> str:
    """QEMU's machine for guests of this host's architecture: `virt` on aarch64, else `q35`."""
    return "virt" if platform.machine() == "aarch64" else "q35"


def emulator_name() -> str:
    """QEMU's program for guests of this host's architecture."""
    return f"qemu-system-{platform.machine()}"


@cache
def emulator_version() -> str:
    """The first line that QEMU says of itself; empty where there is none, or it says nothing."""
    path = shutil.which(emulator_name())
    if path is None:
        return ""
    try:
        answer = said([path, "--version"])
    except subprocess.TimeoutExpired:
        return ""
    return answer.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")


def said(argv: Sequence[str], *, seconds: float = PROGRAM_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a program that has that many seconds. Raises subprocess.TimeoutExpired when it takes longer."""
    # a session of its own: Ctrl-C reaches only us
    return subprocess.run(
        argv, capture_output=True, text=True, errors="replace", check=False, start_new_session=True, timeout=seconds
    )


def dotted(number: int) -> str:
    """A version as libvirt numbers it, in words."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def pid_in(path: Path) -> int | None:
    """The pid that a file holds; None where the file is not there (yet), or not yet written."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def learn_qemu(connection: Any) -> None:
    """Have libvirt know QEMU before the first guest asks for it: seconds for the first time, then some milliseconds.

    It waits for the zombie of each QEMU that it asks, 40 s where nobody reaps it: as the subreaper we must.
    """
    done = threading.Event()
    reaper = threading.Thread(target=_reap_asked, args=(done,), daemon=True, name="reap asked")
    reaper.start()
    try:
        with contextlib.suppress(library().libvirtError):  # what it cannot say of QEMU, the first guest will
            connection.getDomainCapabilities(None, platform.machine(), machine(), "qemu")
    finally:
        done.set()
        reaper.join()


def _reap_asked(done: threading.Event) -> None:
    while not done.wait(0.05):
        processes.reap(pid for pid in processes.all_pids() if _asked_and_ended(pid))


def _asked_and_ended(pid: int) -> bool:
    """Whether it is a zombie of ours that was QEMU in the background, in a session of its own.

    Its pid file is of no use: it is removed with it, sooner than we may have read it. In our own session are the
    children that libvirt collects itself.
    """
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return False
    state, parent, _, session, *_ = after.split()
    name = before.partition("(")[2]
    ours = state == "Z" and int(parent) == os.getpid() and int(session) != os.getsid(0)
    return ours and emulator_name().startswith(name)
