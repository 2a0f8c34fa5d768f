"""A root filesystem as a tar file: cleaned of what is one machine's own, in a fixed order, known by its digest."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import platform
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import ImageError

EPOCH = 1_700_000_000
"""The one time that every file of a rootfs has, in seconds: a build's date must not be part of what is built."""

FOLDERS: Mapping[str, int] = {
    "dev": 0o755,
    "dev/pts": 0o755,
    "dev/shm": 0o1777,
    "proc": 0o555,
    "run": 0o755,
    "run/tare": 0o700,
    "sys": 0o555,
    "tmp": 0o1777,
    "work": 0o755,
}
"""What every driver mounts over or works in."""

_EMPTIED = ("dev/", "proc/", "run/", "sys/", "tmp/", "work/", "var/cache/", "var/log/", "var/tmp/")
"""Folders whose content is a machine's state, or is hidden by what is mounted there."""

_DROPPED = frozenset(
    {
        "etc/hostname",
        "etc/hosts",
        "etc/machine-id",
        "etc/mtab",
        "etc/resolv.conf",
        "etc/.pwd.lock",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "var/lib/dpkg/lock",
        "var/lib/dpkg/lock-frontend",
        "var/lib/dpkg/triggers/Lock",
        ".dockerenv",
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/subuid-",
        "etc/subgid-",
    }
)
"""Files that carry the host's state, or that an engine puts in place itself."""

_DROPPED_BELOW = ("etc/apt/", "var/lib/apt/")
"""The package lists are a day's, the mirrors and their proxies the host's; and nothing here installs."""

_MACHINES: Mapping[str, frozenset[int]] = {"x86_64": frozenset({3, 62}), "aarch64": frozenset({183})}
"""The numbers in ELF headers (e_machine) whose programs each machine runs."""

_OTHERS: Mapping[bytes, str] = {
    b"QFI\xfb": "a qcow2 disk image",
    b"hsqs": "a squashfs image",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"PK": "a zip file",
    b"\x7fELF": "a program",
}

_MOST_LINKS = 40
"""As the kernel has it (path_resolution(7))."""

_WRITTEN: Mapping[str, bytes] = {
    "etc/hostname": b"tare\n",
    "etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": b"",
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a rootfs holds."""

    digest: str
    """`sha256:<hex>` over path, type, mode, owner, link target, device number, attributes and content, sorted."""
    size: int
    """Bytes of its files, each hard link counted once."""
    packages: Mapping[str, str]
    """Name to version, from its dpkg database; empty where it has none."""


def normalise(source: Path, target: Path) -> Content:
    """Write the rootfs in the tar file `source` to the tar file `target`, cleaned, sorted, without dates.

    Raises ImageError when the source cannot be read, is cut off, or has no /bin/sh that this machine can run.
    """
    try:
        with tarfile.open(source, "r:") as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
            return _Writer(old, new).write()
    except (tarfile.TarError, EOFError) as error:
        raise ImageError(
            f"{source.resolve()} cannot be read as a tar file",
            details=str(error),
            hint="it may have been cut off when it was copied: `tar -tf` it, and make it again",
        ) from error


class _Writer:
    """One pass over the sorted members: each is written and hashed once."""

    def __init__(self, old: tarfile.TarFile, new: tarfile.TarFile) -> None:
        self._old, self._new = old, new
        self._hash = hashlib.sha256()
        self._first: dict[str, str] = {}
        """The path of a file that has several names -> its first in sorted order, which carries the content."""
        self._size = 0
        self._status = b""

    def write(self) -> Content:
        members = _members(self._old)
        _require_end(self._old)
        _require_shell(self._old, members)
        for name in sorted(members):
            self._add(name, members)
        return Content(f"sha256:{self._hash.hexdigest()}", self._size, packages(self._status))

    def _add(self, name: str, members: Mapping[str, tarfile.TarInfo]) -> None:
        member = members[name]
        content = _WRITTEN.get(name)
        data = None
        if content is None and (member.isreg() or member.islnk()):
            data, content = self._read(name, member, members)
        entry = _entry(name, member, content)
        if entry.islnk():
            entry.linkname = "./" + self._first[_origin(name, members)]
        self._digest(entry, data if data is not None else content)
        self._new.addfile(entry, io.BytesIO(content) if content is not None else None)

    def _read(
        self, name: str, member: tarfile.TarInfo, members: Mapping[str, tarfile.TarInfo]
    ) -> tuple[bytes | None, bytes | None]:
        """The content, where this name is the first of the file's names; nothing where it is a further one."""
        origin = _origin(name, members)
        if self._first.setdefault(origin, name) != name:
            return None, None
        stream: IO[bytes] | None = self._old.extractfile(members[origin])
        content = stream.read() if stream is not None else b""
        self._size += len(content)
        if name == "var/lib/dpkg/status":
            self._status = content
        return content, content

    def _digest(self, entry: tarfile.TarInfo, content: bytes | None) -> None:
        fields = [entry.name, entry.type.decode(), f"{entry.mode:o}", str(entry.uid), str(entry.gid), entry.linkname]
        fields += [f"{entry.devmajor},{entry.devminor}"]
        fields += [f"{key}={value}" for key, value in sorted(entry.pax_headers.items())]
        fields += [hashlib.sha256(content).hexdigest() if content is not None else ""]
        self._hash.update("\0".join(fields).encode(errors="surrogateescape") + b"\n")


def _members(old: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """By path without a leading slash or dot, what is to be in the rootfs; the folders that must be, too."""
    members = {name: member for member in old if (name := _clean(member.name)) and _kept(name)}
    for name, mode in FOLDERS.items():
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        members[name] = folder
    for name in _WRITTEN:
        file = tarfile.TarInfo(name)
        file.mode = 0o644
        members[name] = file
    members.setdefault("etc", _folder("etc"))
    return members


def _folder(name: str) -> tarfile.TarInfo:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    return folder


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _kept(name: str) -> bool:
    if name in _DROPPED or name.startswith((*_EMPTIED, *_DROPPED_BELOW)):
        return False
    # dpkg keeps yesterday's file beside today's
    return not (name.endswith("-old") and name.startswith("var/lib/dpkg/"))


def _origin(name: str, members: Mapping[str, tarfile.TarInfo]) -> str:
    """The path whose member holds the content of this one."""
    seen = [name]
    while members[seen[-1]].islnk():
        target = _clean(members[seen[-1]].linkname)
        if target not in members or target in seen:
            raise ImageError(f"/{name} is a hard link to /{target}, which is not in the rootfs")
        seen.append(target)
    return seen[-1]


def _entry(name: str, member: tarfile.TarInfo, content: bytes | None) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("./" + name)
    entry.mode, entry.uid, entry.gid, entry.mtime = stat.S_IMODE(member.mode), member.uid, member.gid, EPOCH
    entry.devmajor, entry.devminor = member.devmajor, member.devminor
    entry.pax_headers = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
    if content is not None:
        entry.size = len(content)
    elif member.isreg() or member.islnk():
        entry.type = tarfile.LNKTYPE
    else:
        entry.type, entry.linkname = member.type, member.linkname
    return entry


def _require_end(old: tarfile.TarFile) -> None:
    """tarfile takes a file that was cut off between two members for a whole one: such a one has no block of zeros."""
    assert old.fileobj is not None
    old.fileobj.seek(old.offset)
    if old.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it has no end: what follows its last file is no block of zeros")


def _require_shell(old: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> None:
    """A /bin/sh, wherever it leads to, that this machine can run."""
    path = _followed("bin/sh", members)
    if path is None or not (members[path].isreg() or members[path].islnk()):
        raise _no_shell("it has no /bin/sh")
    member = members[_origin(path, members)]
    stream = old.extractfile(member)
    why = _unrunnable(stream.read(20) if stream is not None else b"", member.mode)
    if why:
        raise _no_shell(f"its /{path} {why}")


def _no_shell(why: str) -> ImageError:
    return ImageError(
        f"the rootfs cannot be used: {why}",
        details="Tare's agent, the first program in every instance, is a POSIX shell script.",
        hint="use a rootfs with a shell, or the distribution's own: --rootfs default",
    )


def _followed(path: str, members: Mapping[str, tarfile.TarInfo]) -> str | None:
    """The path with all symbolic links in it resolved; None where it leads nowhere."""
    todo, done, links = path.split("/"), "", 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}".strip("/")
        member = members.get(here)
        if member is not None and member.issym():
            links += 1
            if links > _MOST_LINKS:
                return None
            done = "" if member.linkname.startswith("/") else done
            todo = [*_clean(member.linkname).split("/"), *todo]
            continue
        if member is None if not todo else member is not None and not member.isdir():
            return None
        done = here  # a tar file need not name the folders above its files
    return done


def _unrunnable(head: bytes, mode: int) -> str:
    """Why a program that begins so cannot run on this machine; empty where it can."""
    if not mode & 0o111:
        return "is not executable"
    if head.startswith(b"#!"):
        return ""
    if head[:4] != b"\x7fELF":
        return "is no program"
    machine = int.from_bytes(head[18:20], "big" if head[5:6] == b"\2" else "little")
    runs = _MACHINES.get(platform.machine(), frozenset({machine}))
    return "" if machine in runs else f"is a program for another machine than {platform.machine()} (ELF {machine})"


_PACKED: Mapping[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": gzip.open,  # type: ignore[dict-item]
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


def unpacked(source: Path, target: Path) -> None:
    """Put a tar file at `target`: uncompressed where `source` is compressed, a link to it where it isn't.

    Raises ImageError where it is cut off, or is something else: a disk image, a text.
    """
    with source.open("rb") as file:
        head = file.read(8)
    for magic, opened in _PACKED.items():
        if head.startswith(magic):
            try:
                with opened(source) as packed, target.open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
            except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
                raise ImageError(f"{source} cannot be unpacked", details=str(error), hint="make it again") from error
            return
    if not tarfile.is_tarfile(source):
        kind = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "a file of another kind")
        raise ImageError(
            f"{source} is no tar file",
            details=f"It is {kind}. A rootfs is a folder or a tar file, plain or packed by gzip, bzip2 or xz.",
            hint="pack the root filesystem's folder: tar --numeric-owner --xattrs -cf FILE.tar -C FOLDER .",
        )
    target.symlink_to(source)


def extent(tar: Path, *, block: int = 4096) -> tuple[int, int]:
    """What the content takes on a disk: bytes in whole blocks, and the number of its files and folders."""
    with tarfile.open(tar) as members:
        sizes = [member.size for member in members if not member.islnk()]
    return sum(max(1, -(-size // block)) * block for size in sizes), len(sizes)


def packages(status: bytes) -> dict[str, str]:
    """Name to version of what is installed, from the text of a dpkg status file."""
    found: dict[str, str] = {}
    for stanza in status.decode(errors="replace").split("\n\n"):
        fields = dict(_fields(stanza))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.splitlines():
        if not line.startswith(" "):
            key, _, value = line.partition(":")
            yield key, value.strip()
