"""The cache's rules: a thing is built under a temporary name and renamed, so what has its name is whole; and what a
process uses it holds, so that nobody removes it meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import tool
from .errors import ImageError

_STAGED = ".new-"
_MAKE_ROOM = "make room there, name another folder with TARE_CACHE, or remove what is not needed: tare images remove"
_FULL = 1 << 20
"""With fewer bytes free than this, a build that failed did so because of it."""

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)

_held: dict[Path, int] = {}


@contextmanager
def area(folder: Path, *, say: Callable[[str], None], mode: int = 0o711, wait: bool = True) -> Iterator[Path]:
    """A folder of the cache, made if need be and held by us alone until the block ends.

    What dead builds left in it under temporary names is removed: whoever holds the lock is the only builder.
    Raises ImageError where the folder cannot be written into, BlockingIOError where somebody else holds it and there
    is to be no waiting.
    """
    try:
        with _locked(folder, say, mode, wait=wait):
            yield folder
    except BlockingIOError:
        raise
    except OSError as error:
        hint = "name another folder with TARE_CACHE" if error.errno in _DENIED else ""
        raise ImageError(f"cannot build in {folder}", details=str(error), hint=hint) from error


@contextmanager
def _locked(folder: Path, say: Callable[[str], None], mode: int, *, wait: bool) -> Iterator[None]:
    make_folder(folder, mode)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            say(f"waiting for another tare that is building in {folder}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with tool.holding(descriptor):
            for leftover in folder.glob(_STAGED + "*"):
                remove(leftover)
            yield
    finally:
        os.close(descriptor)


@contextmanager
def staged(area: Path) -> Iterator[Path]:
    """A temporary folder in `area`, which the caller holds; removed at the end, unless it was published.

    Raises ImageError that says so where the block failed because the disk is full.
    """
    temporary = Path(tempfile.mkdtemp(prefix=_STAGED, dir=area))
    try:
        yield temporary
    except (OSError, ImageError) as error:
        if not _is_full(area, error):
            raise
        details = f"{shutil.disk_usage(area).free >> 20} MiB are free.\n{error}"
        raise ImageError(f"the disk of {area} is full", details=details, hint=_MAKE_ROOM) from error
    finally:
        if temporary.exists():
            remove(temporary)


def _is_full(area: Path, error: OSError | ImageError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # a program's own words, or that nothing is left: not all programs say why they fail
    return os.strerror(errno.ENOSPC) in error.details or shutil.disk_usage(area).free < _FULL


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise ImageError where the folder's file system has fewer bytes free than are needed for `what`."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        details = f"{_mib(needed)} MiB are needed, {free >> 20} MiB are free in {folder}"
        raise ImageError(f"not enough space for {what}", details=details, hint=_MAKE_ROOM)


def _mib(size: int) -> int:
    return -(-size >> 20)


def hold(folder: Path) -> None:
    """Keep a thing of the cache from being removed, as long as this process lives."""
    if folder in _held and os.path.samestat(os.fstat(_held[folder]), folder.stat()):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if (former := _held.pop(folder, None)) is not None:  # of a folder that somebody has removed by hand
        os.close(former)
    _held[folder] = descriptor


def let_go() -> None:
    """Hold nothing any more."""
    while _held:
        os.close(_held.popitem()[1])


def discard(folder: Path) -> bool:
    """Remove a thing of an area that the caller holds: its name goes first. False where a process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed = folder.with_name(f"{_STAGED}{folder.name}")
        folder.rename(unnamed)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    remove(unnamed)
    return True


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
        tool.run(command, seconds=tool.LARGE)
    except ImageError:
        if os.geteuid() == 0:
            raise
        tool.run([*tool.AS_MAPPED_ROOT, *command], seconds=tool.LARGE)


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
