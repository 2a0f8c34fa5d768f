"""An engine's own processes on this host, by what the kernel says: who listens at its socket, and at containerd's."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

from tare_bench import processes

_ACCEPTS = 0x10000
"""In the flags of /proc/net/unix: a socket that listens (__SO_ACCEPTCON)."""


class Daemons:
    """The daemons that serve all containers of one engine: dockerd and containerd, never a shim.

    All of them or none: a part of the CPU time would pass for the whole.
    """

    def __init__(self, url: str, private: int | None = None) -> None:
        """Of the private engine with that pid, as long as it has no container; else of the one that listens there."""
        self._private = private is not None
        found = [private, *processes.descendants(private)] if private is not None else listeners(url)
        self.engine = tuple(found)
        """The engine's own, without containerd where that is another's; empty where they cannot be told."""
        self._known: dict[int, int | None] = {pid: processes.start_time(pid) for pid in found if self._private}

    def serving(self, shim: int) -> tuple[int, ...]:
        """Their pids, where `shim` is one of the engine's; empty where not all can be told."""
        if not self.engine:
            return ()
        if not self._known or not self._alive():
            if self._private or (containerd := _containerd_of(shim, self.engine[0])) is None:
                return ()
            self._known = {pid: processes.start_time(pid) for pid in (*self.engine, containerd)}
        return tuple(self._known)

    def _alive(self) -> bool:
        return all(started is not None and processes.start_time(pid) == started for pid, started in self._known.items())


def listeners(url: str) -> list[int]:
    """Who serves the socket: the process that listens; where that is PID 1, for others, those that it was handed to."""
    if not url.startswith("unix://"):
        return []
    path = Path(url.removeprefix("unix://"))
    peer = _peer(str(path))
    if peer is None or peer > 1:
        return [] if peer is None else [peer]
    return sorted(_holders(path) - {1})


def _peer(address: str) -> int | None:
    """The process that called listen(2), by SO_PEERCRED; 0 for one that cannot be seen from here."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        probe.connect(address)
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])
    return None


def _holders(path: Path) -> set[int]:
    """Processes that have the listening socket open; only root sees other users'."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    fields = [line.split(maxsplit=7) for line in lines]
    names = {str(path), str(path.resolve())}
    wanted = {f"socket:[{each[6]}]" for each in fields if each[7:] and each[7] in names and int(each[3], 16) & _ACCEPTS}
    return {pid for pid in processes.all_pids() if wanted & _open_files(pid)}


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(entry.readlink()))
    return found


def _containerd_of(shim: int, dockerd: int) -> int | None:
    """Who listens where the shim reports to: an address in its arguments, as dockerd's mount namespace has it."""
    try:
        argv = Path(f"/proc/{shim}/cmdline").read_bytes().decode(errors="replace").split("\0")
        address = Path(argv[argv.index("-address") + 1])
        folder = os.open(f"/proc/{dockerd}/root{address.parent}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError, LookupError):
        return None
    try:
        peer = _peer(f"/proc/self/fd/{folder}/{address.name}")  # a socket's address has 108 bytes
    finally:
        os.close(folder)
    return peer if peer is not None and peer > 1 else None
