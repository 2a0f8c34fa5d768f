"""`disk-written`, `disk-changed`: what an instance's disk grows by, on the host, for what is written inside."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping

from ..crowd import Crowd, CrowdWorkload
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped, accounts
from .disk import own_bytes
from .sized import NOT_FOUND

MB = 1_000_000
FILE = "tare-written"
SLACK = 64 * MB
"""Bytes of room that stay free, on the instance's disk and on the host's."""
DEADLINE = 120.0
LARGE_BLOCKS = 2048
"""Of 512 bytes, as find(1) counts: from 1 MiB on a file of the image counts as large."""
CANDIDATES = 5
"""Files that are tried: the largest may be a program that runs, which nobody may write to."""

WRITTEN = Metric(
    name="disk.written",
    unit="B",
    better="lower",
    scale="exact",
    title="Disk for what was written",
    definition="Bytes allocated on the host because a fresh instance wrote a file of that size (`written`, random "
    "bytes) to its disk: synced inside, then on the host, less what was allocated before.",
)
CHANGED = Metric(
    name="disk.changed",
    unit="B",
    better="lower",
    scale="exact",
    title="Disk for one changed byte",
    definition="Bytes allocated on the host because a fresh instance wrote one byte in the middle of its image's "
    "largest file anew: synced inside, then on the host, less what was allocated before. An overlay of files copies "
    "the file, one of blocks a cluster of 64 KiB, and what the file system notes beside it.",
)


class DiskWritten(CrowdWorkload):
    """A file of a given size."""

    name = "disk-written"
    title = "bytes on disk for a file of 1, 10 and 100 MB that a fresh instance writes"
    metrics = (WRITTEN,)
    primary = WRITTEN.name
    variants = ({"written": MB}, {"written": 10 * MB}, {"written": 100 * MB})
    seconds = 4.0

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        size = int(params["written"])
        measured = Measured()
        with crowd.created() as live:
            crowd.boot(live)
            require_room(live, size)
            before = settled_bytes(live)
            write(live, size)
            grown = settled_bytes(live) - before
        measured.add(WRITTEN, float(grown))
        measured.facts["for each byte"] = f"{grown / size:.3f}"
        return measured


class DiskChanged(CrowdWorkload):
    """One byte of a large file."""

    name = "disk-changed"
    title = "bytes on disk for one byte that a fresh instance changes in its image's largest file"
    metrics = (CHANGED,)
    primary = CHANGED.name
    seconds = 4.0

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        measured = Measured()
        with crowd.created() as live:
            crowd.boot(live)
            candidates = largest(live)
            before = settled_bytes(live)
            size, path = change(live, candidates)
            measured.add(CHANGED, float(settled_bytes(live) - before))
        measured.facts |= {"file": path, "its size": str(size)}
        return measured


def settled_bytes(live: Live) -> int:
    """What is allocated for it once all that it has written is on the disk. Raises Skipped."""
    live.run("sync", seconds=DEADLINE).checked()
    os.sync()
    return own_bytes(live)


def require_room(live: Live, size: int) -> None:
    """Raise Skipped where a file of that size would not fit, on its disk or on the host's."""
    answer = live.run("df -Pk .", seconds=30)
    rooms = {} if answer.status else {"its disk": int(answer.stdout.split()[-3]) * 1024}
    if files := accounts(live).files:
        rooms["the host's disk"] = shutil.disk_usage(files[0]).free
    for where, free in rooms.items():
        if free < size + SLACK:
            needed = f"{free // MB} MB are free on {where}, and {(size + SLACK) // MB} MB are needed"
            raise Skipped(f"{needed}; [instance] `disk` is the room that a guest's disk has.")


def write(live: Live, size: int, name: str = FILE) -> None:
    """Have it write a file of that size to its work folder. One MB of random bytes again and again: no file system
    with compression finds what repeats only then, and random bytes are slow to come by."""
    chunk = "/run/tare/chunk"
    live.run(
        f"dd if=/dev/urandom of={chunk} bs=100000 count=10 2>/dev/null && "
        f"{{ while cat {chunk}; do :; done 2>/dev/null | head -c {size} >{name}; }} && rm {chunk} && "
        f'[ "$(stat -c %s {name})" = {size} ]',
        seconds=DEADLINE,
    ).checked()


def largest(live: Live) -> list[tuple[int, str]]:
    """The largest files of its image, in bytes and by path, the largest first. Raises Skipped where none is large."""
    listed = f"find / -xdev -type f -size +{LARGE_BLOCKS} -exec ls -ln {{}} + | sort -rn -k5 | head -n {CANDIDATES}"
    answer = live.run(listed, seconds=DEADLINE)
    if answer.status == NOT_FOUND:
        raise Skipped("The rootfs has no `find`.")
    rows = [line.split(maxsplit=8) for line in answer.stdout.decode(errors="replace").splitlines()]
    found = [(int(row[4]), row[8]) for row in rows if len(row) == 9]
    if not found:
        raise Skipped("The rootfs has no file of 1 MiB.")
    return found


def change(live: Live, candidates: list[tuple[int, str]]) -> tuple[int, str]:
    """Write one byte in the middle of the first that lets itself be written to, the same byte. Raises Skipped."""
    words = ""
    for size, path in candidates:
        name, at = shlex.quote(path), size // 2
        command = f"dd if={name} bs=1 skip={at} count=1 2>/dev/null | dd of={name} bs=1 seek={at} count=1 conv=notrunc"
        answer = live.run(command, seconds=DEADLINE)
        if not answer.status:
            return size, path
        words = answer.stderr.decode(errors="replace").strip().splitlines()[0]
    raise Skipped(f"Its image cannot be written to: {words}")
