"""What every VM driver boots: a kernel, an initramfs and a disk, made from the one rootfs without root's loop devices.

The disk is a raw ext4 image that nothing writes to: each instance has a qcow2 overlay of its own on top. The
initramfs holds a static busybox, the few modules that the kernel needs to reach disk and wire, and the agent.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tare_bench import apt, cache, rootfs, system, tarball, tool
from tare_bench.errors import ImageError
from tare_bench.paths import cache_dir

from . import guest_kernel

Say = Callable[[str], None]

# `earlyprintk` (and `earlycon`) stands before `quiet`, so that the kernel's first line, "Linux version ...", is on the
# console as early as can be and the rest is not: a serial port costs an emulated guest time for each byte.
# `panic=-1` ends a guest that died at once, with QEMU's -no-reboot: its trial fails then and not at its deadline.
_CONSOLE = {
    "x86_64": "console=ttyS0 earlyprintk=ttyS0,115200",
    "aarch64": "console=ttyAMA0 earlycon",
}


def cmdline(machine: str) -> str:
    """The command line of a guest's kernel on that machine (as `uname -m` names it)."""
    return f"{_CONSOLE.get(machine, '')} quiet panic=-1".strip()


CMDLINE = cmdline(platform.machine())
"""The kernel's command line in every guest."""

_UUID = "7a7e0000-0000-4000-8000-000000000001"
_MIB = 1 << 20
_JOURNAL = 32 * _MIB
_INODE = 256
_RESERVED = 24 * _MIB
"""The file system's own: 4096 clusters that ext4 keeps back when it is mounted, bitmaps, descriptors."""
_SCHEMA = 1

BUSYBOX_BYTES = 4 * _MIB
"""What downloading and unpacking the static busybox takes on the disk."""

_FSTAB = """\
proc /newroot/proc proc nosuid,nodev,noexec 0 0
sys /newroot/sys sysfs nosuid,nodev,noexec 0 0
dev /newroot/dev devtmpfs nosuid 0 0
devpts /newroot/dev/pts devpts nosuid,noexec,mode=620,ptmxmode=666 0 0
shm /newroot/dev/shm tmpfs nosuid,nodev,mode=1777 0 0
tmp /newroot/tmp tmpfs nosuid,nodev,mode=1777 0 0
tare /newroot/run/tare tmpfs nosuid,nodev,mode=0700 0 0
"""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """What a guest is booted from."""

    kernel: Path
    initrd: Path
    disk: Path
    """Raw ext4, read-only: the base of qcow2 overlays."""
    kernel_version: str
    """As `uname -r` says it in the guest."""
    kernel_digest: str
    how: str
    """Where the kernel came from and how the disk was made, in one line."""
    allocated: int
    """Bytes on disk of all three."""
    network: Path = Path()
    """The initramfs of a guest that has a network card, with the modules for it."""
    own_kernel: bool = False
    """Whether the kernel is the host's own."""
    instead: str = ""
    """Why it is another one; empty where it isn't."""


def build(source: rootfs.Rootfs, *, room: int, say: Say = rootfs.silent, instead: str = "") -> GuestImage:
    """The image for this rootfs with `room` bytes free on its disk, from the cache where it is there, held there.

    With the host's own kernel where that can be had, unless `instead` says why it is not to be tried. Raises
    ImageError where the kernel, the initramfs or the disk cannot be made.
    """
    kernel = guest_kernel.build(say=say, instead=instead)
    scripts = _scripts()
    busybox = _static_busybox(say)
    key = _key_of(source.digest, kernel, busybox, room)
    with cache.area(cache_dir() / "guest", say=say) as area:
        folder = area / key
        if not (folder / "image.json").is_file():
            cache.require_room(area, _disk_bytes(source.size), "the guest's disk")
            say("building the guest's disk and initramfs")
            _make(area, folder, source, kernel, scripts, busybox, room)
        cache.hold(folder)
        return replace(_load(folder), own_kernel=kernel.own, instead=kernel.instead)


def needed(digest: str, size: int, *, room: int) -> int:
    """Bytes on the disk that building the image of a rootfs takes at most, about; 0 where it is in the cache."""
    kernel, busybox = guest_kernel.cached(), _kept_busybox()
    if kernel and busybox and (cache_dir() / "guest" / _key_of(digest, kernel, busybox, room) / "image.json").is_file():
        return 0
    packages = (0 if kernel else guest_kernel.BYTES) + (0 if busybox else BUSYBOX_BYTES)
    return packages + _disk_bytes(size)


def _disk_bytes(size: int) -> int:
    """The disk as mke2fs writes it and as it is kept (with the rootfs unpacked beside it, without root), the kernel."""
    return (2 if system.is_root() else 3) * size + 2 * (_JOURNAL + _RESERVED) + 64 * _MIB


def _scripts() -> dict[str, str]:
    return {name: guest_file(name) for name in ("init.sh", "agent.sh")}


def _key_of(digest: str, kernel: guest_kernel.Kernel, busybox: Path, room: int) -> str:
    return _key(digest, kernel.digest, *_scripts().values(), _FSTAB, str(room), str(busybox.stat().st_size))


def guest_file(name: str) -> str:
    """The text of one of the programs that run in the guest."""
    return resources.files("tare_bench.guest").joinpath(name).read_text()


def _static_busybox(say: Say) -> Path:
    """The busybox that runs alone in an initramfs: one without a dynamic loader.

    Where the host has another one, which the static one's package would replace, it is only downloaded.
    """
    if (own := _own_busybox()) is not None:
        return own
    with cache.area(cache_dir() / "busybox", say=say) as area:
        kept = area / "static"
        if not kept.is_dir():
            cache.require_room(area, BUSYBOX_BYTES, "busybox-static")
            say("downloading busybox-static")
            with cache.staged(area) as temporary:
                cache.publish(apt.fetch([("busybox-static", "")], temporary), kept)
        cache.hold(kept)
    found = _kept_busybox()
    if found is None:
        raise ImageError("the package busybox-static holds no static busybox")
    return found


def _own_busybox() -> Path | None:
    """The host's, where it is a static one."""
    paths = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
    return next((path for path in paths if path.is_file() and is_static(path.read_bytes())), None)


def _kept_busybox() -> Path | None:
    """What needs no download: the host's, or the one in the cache."""
    kept = sorted((cache_dir() / "busybox/static").rglob("bin/busybox"))
    return _own_busybox() or next((path for path in kept if path.is_file() and is_static(path.read_bytes())), None)


def is_static(program: bytes) -> bool:
    """Whether an ELF program asks for no interpreter (it has no PT_INTERP header)."""
    if program[:5] != b"\x7fELF\x02":
        return False
    table = int.from_bytes(program[0x20:0x28], "little")
    size, count = (int.from_bytes(program[at : at + 2], "little") for at in (0x36, 0x38))
    kinds = (program[table + number * size : table + number * size + 4] for number in range(count))
    return b"\x03\0\0\0" not in kinds


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join((str(_SCHEMA), *parts)).encode()).hexdigest()[:16]


def _make(
    area: Path,
    folder: Path,
    source: rootfs.Rootfs,
    kernel: guest_kernel.Kernel,
    scripts: dict[str, str],
    busybox: Path,
    room: int,
) -> None:
    with cache.staged(area) as temporary:
        shutil.copyfile(kernel.image, temporary / "kernel")
        _initramfs(temporary / "initrd", kernel.modules, scripts, busybox)
        _initramfs(temporary / "initrd.network", (*kernel.modules, *kernel.network), scripts, busybox)
        how = _disk(temporary, source, room)
        for name in ("kernel", "initrd", "initrd.network", "disk.raw"):
            (temporary / name).chmod(0o644)
        facts = {"version": kernel.version, "digest": kernel.digest, "how": f"kernel: {kernel.how}; disk: {how}"}
        facts["rootfs"] = source.digest
        (temporary / "image.json").write_text(json.dumps(facts, indent=1))
        cache.publish(temporary, folder, mode=0o755)


def _initramfs(target: Path, modules: tuple[Path, ...], scripts: dict[str, str], busybox: Path) -> None:
    """A cpio archive, uncompressed: unpacking is a copy then, and an emulated guest copies faster than it inflates."""
    tree = target.with_name("initramfs")
    for name in ("bin", "dev", "etc", "modules", "newroot", "proc", "sys"):
        (tree / name).mkdir(parents=True)
    shutil.copyfile(busybox, tree / "bin/busybox")
    (tree / "init").write_text(scripts["init.sh"])
    (tree / "agent").write_text(scripts["agent.sh"])
    (tree / "etc/fstab").write_text(_FSTAB)
    for module in modules:
        shutil.copyfile(module, tree / "modules" / module.name)
    paths = sorted(tree.rglob("*"))
    for path in paths:
        path.chmod(0o755 if path.is_dir() or path.name in ("init", "busybox") else 0o644)
        os.utime(path, (tarball.EPOCH, tarball.EPOCH))
    names = "".join(f"{path.relative_to(tree)}\0" for path in paths)
    what = ["--create", "--null", "--format=newc", "--reproducible", "--owner=+0:+0", "--quiet"]
    archive = tool.run(["cpio", *what, f"--directory={tree}"], stdin=names.encode())
    target.write_bytes(archive)
    shutil.rmtree(tree)


def _disk(temporary: Path, source: rootfs.Rootfs, room: int) -> str:
    """An ext4 file system with the rootfs in it, sparse. Returns how it was made, in one line."""
    within = system.root_within()
    tree = source.tree
    if not tree.is_dir():
        tree = temporary / "tree"
        rootfs.unpack(source.tar, tree, within=within)
    size, inodes = disk_size(*tarball.extent(source.tar), room)
    # no reserved blocks: what is free is free for the instance's root and for everyone; its tables are written now,
    # or the guest's kernel would do it while something is being measured
    options = ["-t", "ext4", "-F", "-q", "-m", "0", "-U", _UUID, "-N", str(inodes), "-J", f"size={_JOURNAL // _MIB}"]
    options += ["-E", f"hash_seed={_UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"]
    fixed = {"SOURCE_DATE_EPOCH": str(tarball.EPOCH), "E2FSPROGS_FAKE_TIME": str(tarball.EPOCH)}
    raw = temporary / "disk.new"
    tool.require("mke2fs")
    mke2fs = tool.find("mke2fs") or "mke2fs"  # not on an ordinary user's PATH, which is what `unshare` looks in
    tool.run([*within, mke2fs, *options, "-d", tree, raw, f"{size // _MIB}M"], env=fixed, seconds=tool.LARGE)
    # mke2fs reserves its journal and tables as zeros on the host's disk; a copy with holes holds only what is there
    tool.run([*within, "cp", "--sparse=always", raw, temporary / "disk.raw"], seconds=tool.LARGE)
    raw.unlink()
    if tree != source.tree:
        tool.run([*within, "rm", "-r", tree], seconds=tool.LARGE)
    return f"mke2fs -t ext4 -m 0, {size // _MIB} MiB"


def disk_size(files: int, entries: int, room: int) -> tuple[int, int]:
    """Bytes and inodes of a file system with `room` free beside these files, in whole MiB.

    An inode for every 16 KiB of room, as mke2fs has it; the rest is for its tables, bitmaps and journal.
    """
    inodes = entries + room // 16384
    size = (files + room + inodes * _INODE) * 1.005 + _JOURNAL + _RESERVED
    return round(size / _MIB + 0.5) * _MIB, inodes


def _load(folder: Path) -> GuestImage:
    kept = json.loads((folder / "image.json").read_text())
    kernel, initrd, network, disk = (folder / name for name in ("kernel", "initrd", "initrd.network", "disk.raw"))
    allocated = sum(path.stat().st_blocks * 512 for path in (kernel, initrd, disk))
    return GuestImage(kernel, initrd, disk, kept["version"], kept["digest"], kept["how"], allocated, network)
