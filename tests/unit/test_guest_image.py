"""The guest's kernel, initramfs and disk: what can be said of them without building one."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tare_bench import cache
from tare_bench.drivers import guest_image, guest_kernel, kernel_file
from tare_bench.errors import ImageError

PVH = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x1000000)


def elf(note: bytes = PVH, kind: int = 4) -> bytes:
    """An ELF file with one program header, which holds `note`."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x20, 64)
    struct.pack_into("<HH", header, 0x36, 56, 1)
    return bytes(header) + struct.pack("<IIQQQQQQ", kind, 0, 120, 0, 0, len(note), len(note), 4) + note


def bzimage(payload: bytes) -> bytes:
    image = bytearray(1024 + 16)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + payload + b"what follows"


def test_a_pvh_entry_is_found() -> None:
    other = struct.pack("<III4s4s", 4, 4, 6, b"Xen\0", b"2.6\0")
    assert kernel_file.has_pvh_entry(elf(other + PVH))
    assert not kernel_file.has_pvh_entry(elf(other))
    assert not kernel_file.has_pvh_entry(elf(kind=1))
    assert not kernel_file.has_pvh_entry(b"MZ")


@pytest.mark.parametrize(
    "compressed",
    [
        gzip.compress(elf()),
        lzma.compress(elf()) + b"size",
        lzma.compress(elf(), format=lzma.FORMAT_ALONE) + b"size",
    ],
    ids=["gzip", "xz", "lzma"],
)
def test_a_bzimage_is_unpacked(compressed: bytes) -> None:
    assert kernel_file.bootable(bzimage(compressed)) == (elf(), "uncompressed, entered by PVH")


@pytest.mark.parametrize("program", [["lz4", "-l", "-z", "-c", "-"], ["zstd", "-c"]], ids=["lz4", "zstd"])
def test_a_bzimage_is_unpacked_by_the_systems_programs(program: list[str]) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    packed = subprocess.run(program, input=elf(), capture_output=True, check=True).stdout
    assert kernel_file.bootable(bzimage(packed + b"size")) == (elf(), "uncompressed, entered by PVH")


@pytest.mark.parametrize(
    "shipped",
    [b"", b"MZ an arm64 Image", bzimage(b"unknown compression"), bzimage(gzip.compress(elf(b"")))],
)
def test_what_cannot_be_entered_directly_is_booted_as_shipped(shipped: bytes) -> None:
    image, form = kernel_file.bootable(shipped)
    assert image == shipped
    assert form.startswith("compressed, as shipped")


@pytest.mark.parametrize(("suffix", "pack"), [(".ko", bytes), (".ko.gz", gzip.compress), (".ko.xz", lzma.compress)])
def test_modules_are_uncompressed(tmp_path: Path, suffix: str, pack: type[bytes]) -> None:
    module = tmp_path / f"virtio{suffix}"
    module.write_bytes(pack(b"module"))
    assert kernel_file.decompressed(module) == b"module"


def test_static_and_dynamic_programs_are_told_apart() -> None:
    assert guest_image.is_static(elf(kind=1))
    assert not guest_image.is_static(elf(kind=3))
    assert not guest_image.is_static(b"#!/bin/sh\n")


def test_the_disk_has_the_room_that_was_asked_for() -> None:
    files, room = 170 << 20, 1 << 30
    size, inodes = guest_image.disk_size(files, 6000, room)
    assert size % (1 << 20) == 0
    assert inodes > 6000
    assert size - files - room > inodes * 256 + (32 << 20)


def test_the_kernels_first_line_is_on_the_console() -> None:
    words = guest_image.CMDLINE.split()
    early = next(word for word in words if word.startswith("early"))
    assert words.index(early) < words.index("quiet")


def test_the_guests_programs_are_valid_shell() -> None:
    for name in ("init.sh", "agent.sh"):
        checked = subprocess.run(["sh", "-n"], input=guest_image.guest_file(name).encode(), capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_init_says_its_marker_first_and_never_sleeps() -> None:
    lines = [line.strip() for line in guest_image.guest_file("init.sh").splitlines()]
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "echo 'tare: init'"
    assert not any("sleep" in command for command in commands)


def test_the_packages_are_asked_for_anew_only_when_the_lists_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    monkeypatch.setattr(guest_kernel, "_APT_LISTS", tmp_path / "lists")
    monkeypatch.setattr(guest_kernel, "_packages", lambda: [("linux-image-1-cloud-amd64", "1-1")])
    first = guest_kernel._resolved(tmp_path)
    monkeypatch.setattr(guest_kernel, "_packages", lambda: [("linux-image-2-cloud-amd64", "2-1")])
    assert guest_kernel._resolved(tmp_path) == first
    kept = json.loads((tmp_path / "packages.json").read_text())
    (tmp_path / "packages.json").write_text(json.dumps({**kept, "lists": 0}))
    assert guest_kernel._resolved(tmp_path) == [("linux-image-2-cloud-amd64", "2-1")]


def test_modules_are_found_in_either_place(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/modules/6.12").mkdir(parents=True)
    guest_kernel._link_modules(tmp_path)
    assert (tmp_path / "lib/modules/6.12").is_dir()


def kept_kernel(area: Path, name: str = "linux-image-1-cloud-amd64", version: str = "1-1") -> Path:
    folder = guest_kernel._place(area, [(name, version)])
    folder.mkdir(parents=True)
    facts = {"version": "1", "modules": [], "network": [], "digest": "sha256:k", "how": "package"}
    (folder / "kernel.json").write_text(json.dumps(facts))
    (area / "packages.json").write_text(json.dumps({"lists": 0, "packages": [[name, version]]}))
    return folder


def test_a_kernel_that_is_kept_takes_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> list[tuple[str, str]]:
        raise ImageError("not known to apt")

    monkeypatch.setenv("TARE_CACHE", str(tmp_path))
    monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: None)
    monkeypatch.setattr(guest_kernel, "_packages", unknown)
    assert guest_kernel.cached() is None
    with pytest.raises(ImageError):
        guest_kernel.build(say=print)
    folder = kept_kernel(tmp_path / "kernel")
    assert guest_kernel.build(say=print).image == folder / "kernel"
    assert not cache.discard(folder), "a run holds the kernel that it uses"
    cache.let_go()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's own kernel that has all built in that a guest needs: the root that holds it."""
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    kept_kernel(tmp_path / "cache/kernel")
    monkeypatch.setattr(guest_kernel, "_packages", lambda: [("linux-image-1-cloud-amd64", "1-1")])
    root = tmp_path / "host"
    modules = root / "lib/modules/7.0-own"
    modules.mkdir(parents=True)
    built_in = "".join(f"kernel/drivers/{name}.ko\n" for name in guest_kernel.MODULES)
    (modules / "modules.builtin").write_text(built_in)
    (modules / "modules.order").write_text("")
    subprocess.run(["depmod", "-b", root, "7.0-own"], check=True)
    (root / "vmlinuz").write_bytes(elf())
    origin = guest_kernel._Origin("7.0-own", root / "vmlinuz", root, guest_kernel.HOSTS_OWN)
    monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: origin)
    return root


@pytest.mark.usefixtures("own")
def test_the_hosts_own_kernel_is_taken_where_it_has_virtio() -> None:
    kernel = guest_kernel.build(say=print)
    assert (kernel.own, kernel.version, kernel.modules, kernel.instead) == (True, "7.0-own", (), "")
    assert guest_kernel.build(say=print) == kernel == guest_kernel.cached()
    cache.let_go()


@pytest.mark.usefixtures("own")
def test_one_that_does_not_boot_is_not_tried_again() -> None:
    kernel = guest_kernel.build(say=print, instead="it does not boot: Kernel panic")
    assert (kernel.own, kernel.version, kernel.instead) == (False, "1", "it does not boot: Kernel panic")
    cache.let_go()


def test_modules_of_a_network_card_are_apart_and_not_needed(own: Path) -> None:
    folder = own / "lib/modules/7.0-own"
    (folder / "kernel/net").mkdir(parents=True)
    (folder / "kernel/net/virtio_net.ko").write_bytes(elf())
    (folder / "modules.order").write_text("kernel/net/virtio_net.ko\n")
    subprocess.run(["depmod", "-b", own, "7.0-own"], check=True)
    kernel = guest_kernel.build(say=print)
    assert [each.name for each in kernel.network] == ["00-virtio_net.ko"]
    assert kernel.modules == ()
    cache.let_go()


def test_an_initramfs_has_what_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"busybox")
    (tmp_path / "00-virtio_net.ko").write_bytes(b"module")
    scripts = {"init.sh": "", "agent.sh": ""}
    guest_image._initramfs(tmp_path / "plain", (), scripts, tmp_path / "busybox")
    guest_image._initramfs(tmp_path / "net", (tmp_path / "00-virtio_net.ko",), scripts, tmp_path / "busybox")
    assert b"virtio_net" not in (tmp_path / "plain").read_bytes()
    assert b"modules/00-virtio_net.ko" in (tmp_path / "net").read_bytes()


def test_one_without_virtio_gives_way_and_says_why(own: Path) -> None:
    (own / "lib/modules/7.0-own/modules.builtin").write_text("")
    subprocess.run(["depmod", "-b", own, "7.0-own"], check=True)
    kernel = guest_kernel.build(say=print)
    assert not kernel.own
    assert "lacks what a guest needs" in kernel.instead
    assert "virtio_pci" in kernel.instead or "modprobe" in kernel.instead
    cache.let_go()


@pytest.mark.usefixtures("own")
def test_one_that_cannot_be_read_gives_way_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: None)
    assert "not readable" in guest_kernel.build(say=print).instead
    cache.let_go()


def test_what_is_built_needs_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path))
    monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: None)
    (tmp_path / "busybox").write_bytes(b"busybox")
    monkeypatch.setattr(guest_image, "_own_busybox", lambda: tmp_path / "busybox")
    size, room = 100 << 20, 1 << 30
    nothing = guest_image.needed("sha256:r", size, room=room)
    kept_kernel(tmp_path / "kernel")
    kernel = guest_kernel.cached()
    assert kernel is not None
    assert guest_image.needed("sha256:r", size, room=room) == nothing - guest_kernel.BYTES > 2 * size
    folder = tmp_path / "guest" / guest_image._key_of("sha256:r", kernel, tmp_path / "busybox", room)
    folder.mkdir(parents=True)
    (folder / "image.json").touch()
    assert guest_image.needed("sha256:r", size, room=room) == 0
    assert guest_image.needed("sha256:r", size, room=2 * room) > 0


def test_a_guest_that_does_not_fit_is_refused_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path))
    monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: None)
    monkeypatch.setattr(guest_kernel, "_packages", lambda: [("linux-image-1-cloud-amd64", "1-1")])
    monkeypatch.setattr(guest_kernel, "BYTES", 1 << 60)
    with pytest.raises(ImageError, match="not enough space for the guest's kernel"):
        guest_kernel.build(say=print)
