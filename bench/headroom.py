"""The host's memory as /proc/meminfo states it, how much is left, and how much of that instances must leave alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import TareError

LEAST_SHARE = 0.15
LEAST_BYTES = 1 << 30
LIGHT = 32 << 20
"""Bytes that a process or a container is taken to need, with its shim, before one has been seen."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """The host's memory at one moment, in bytes."""

    total: int
    available: int

    @property
    def floor(self) -> int:
        """What must stay available: 15 % of all memory, and never less than 1 GiB."""
        return max(int(LEAST_SHARE * self.total), LEAST_BYTES)

    @property
    def spare(self) -> int:
        """What instances may take; negative where too little is left already."""
        return self.available - self.floor

    def holds(self, count: int, each: int) -> bool:
        """Whether so many instances that may take so many bytes each leave the floor alone."""
        return count * each <= self.spare


MEMINFO = Path("/proc/meminfo")


def host(path: Path = MEMINFO) -> dict[str, int]:
    """The host's memory now: bytes, by the kernel's own names. Raises OSError."""
    return sizes(path.read_text())


def sizes(meminfo: str) -> dict[str, int]:
    """/proc/meminfo's lines that are sizes, in bytes."""
    lines = (line.split() for line in meminfo.splitlines())
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if words[2:] == ["kB"]}


def read(path: Path = MEMINFO) -> Headroom:
    """MemTotal and MemAvailable, now. Raises TareError where the kernel does not state them."""
    try:
        values = host(path)
        return Headroom(values["MemTotal"], values["MemAvailable"])
    except (OSError, LookupError, ValueError) as error:
        raise TareError("The host does not say how much memory is available.", details=f"{path}: {error}") from error
