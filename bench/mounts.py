"""Which file system holds a path, by the kernel's own table of mounts: the host's, or an instance's as it was read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ESCAPED = re.compile(r"\\([0-7]{3})")
_TELLING = ("sync", "dirsync", "nobarrier", "volatile", "discard", "noexec")
_VALUED = ("data=", "barrier=", "size=", "dax")
OF_THE_DISK = ("nobarrier", "discard", "data=", "barrier=", "dax")
"""How options begin that say how a file system treats its disk."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of a mountinfo."""

    kind: str
    """The file system's type."""
    device: str
    """`major:minor`."""
    options: frozenset[str]
    """The mount's own and its file system's."""

    def words(self) -> str:
        """Type and the options that can move a number: `ext4 rw relatime`.

        `noatime` counts as `relatime`: neither writes each time that something is read.
        """
        access = "ro" if "ro" in self.options else "rw"
        lazy = self.options & {"relatime", "noatime"}
        more = sorted(each for each in self.options if each in _TELLING or each.startswith(_VALUED))
        return " ".join([self.kind, access, "relatime" if lazy else "strictatime", *more])


def holding(mountinfo: str, path: str) -> Mount | None:
    """The mount that a path lies on, by the text of a mountinfo; None where it says nothing of it."""
    best: tuple[int, Mount] | None = None
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        left, right = head.split(), tail.split()
        if len(left) < 6 or len(right) < 2:
            continue
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), left[4])
        depth = len(PurePosixPath(point).parts)
        # the last one that was mounted at a place hides the others
        if PurePosixPath(path).is_relative_to(point) and (best is None or depth >= best[0]):
            options = frozenset(f"{left[5]},{right[2] if len(right) > 2 else ''}".split(",")) - {""}
            best = depth, Mount(right[0], left[2], options)
    return best[1] if best else None


def storage(path: Path) -> str:
    """The host's file system that takes what is written there, as `ext4 rw relatime on 254:0`; empty: not known."""
    try:
        found = holding(Path("/proc/self/mountinfo").read_text(errors="replace"), str(path.resolve()))
    except OSError:
        return ""
    return f"{found.words()} on {found.device}" if found else ""
