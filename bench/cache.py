"""The cache's one rule: a thing is built under a temporary name and renamed, so what has its name is whole."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import tool
from .errors import ImageError

_STAGED = ".new-"


@contextmanager
def area(folder: Path, *, say: Callable[[str], None], mode: int = 0o711) -> Iterator[Path]:
    """A folder of the cache, made if need be and held by us alone until the block ends.

    What dead builds left in it under temporary names is removed: whoever holds the lock is the only builder.
    """
    make_folder(folder, mode)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another tare that is building in {folder}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with tool.holding(descriptor):
            for leftover in folder.glob(_STAGED + "*"):
                remove(leftover)
            yield folder
    finally:
        os.close(descriptor)


@contextmanager
def staged(area: Path) -> Iterator[Path]:
    """A temporary folder in `area`, which the caller holds; removed at the end, unless it was published."""
    temporary = Path(tempfile.mkdtemp(prefix=_STAGED, dir=area))
    try:
        yield temporary
    finally:
        if temporary.exists():
            remove(temporary)


def publish(temporary: Path, final: Path, *, mode: int = 0o711) -> None:
    """Give what was staged its name. Where that is there already it stays: equal names have equal content."""
    temporary.chmod(mode)
    if not final.exists():
        temporary.rename(final)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, but nothing that is mounted there.

    An ordinary user's may hold files of subordinate accounts, which only root of a user namespace can remove.
    """
    command = ["rm", "-rf", "--one-file-system", "--", str(folder)]
    try:
        tool.run(command)
    except ImageError:
        if os.geteuid() == 0:
            raise
        tool.run([*tool.AS_MAPPED_ROOT, *command])


def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{_STAGED}{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.chmod(mode)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path, mode: int = 0o711) -> None:
    """Make a folder and what is above it, each with exactly this mode, whatever the umask; leave what is there.

    0711 is what lets an unprivileged QEMU reach a disk by its name without seeing what else there is.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
