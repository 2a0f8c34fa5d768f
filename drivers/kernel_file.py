"""A kernel's file: what a bzImage holds, and whether it can be entered directly.

A compressed kernel spends its first moments decompressing itself, which an emulated guest does slowly: a PVH entry
skips that, so the time to boot is the time that the kernel takes. See Linux's Documentation/arch/x86/boot.rst and the
PVH entry note in include/xen/interface/elfnote.h.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from pathlib import Path

from tare_bench import tool
from tare_bench.errors import ImageError

_LEGACY_LZ4 = b"\x02\x21\x4c\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
_LZMA = b"\x5d\x00\x00"
_PT_NOTE = 4
_XEN_ELFNOTE_PHYS32_ENTRY = 18


def bootable(shipped: bytes) -> tuple[bytes, str]:
    """The kernel to boot, and what it is in words: an ELF vmlinux with a PVH entry, or the file as it was shipped."""
    if has_pvh_entry(shipped):
        return shipped, "vmlinux"
    try:
        vmlinux = _unpacked(_payload(shipped))
    except (ImageError, OSError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError) as error:
        return shipped, f"compressed, as shipped ({str(error).splitlines()[0]})"
    if not has_pvh_entry(vmlinux):
        return shipped, "compressed, as shipped (it has no PVH entry)"
    return vmlinux, "uncompressed, entered by PVH"


def decompressed(module: Path) -> bytes:
    """A module's content, from .ko, .ko.xz, .ko.gz or .ko.zst."""
    content = module.read_bytes()
    match module.suffix:
        case ".xz":
            return lzma.decompress(content)
        case ".gz":
            return gzip.decompress(content)
        case ".zst":
            return tool.run(["zstd", "--decompress", "--stdout", "--quiet"], stdin=content)
    return content


def has_pvh_entry(kernel: bytes) -> bool:
    """Whether this is a 64-bit little-endian ELF file with the note that tells a loader its PVH entry."""
    if kernel[:6] != b"\x7fELF\x02\x01":
        return False
    table, size, count = struct.unpack_from("<Q", kernel, 0x20)[0], *struct.unpack_from("<HH", kernel, 0x36)
    for number in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", kernel, table + number * size)
        if kind == _PT_NOTE and _holds_pvh_note(kernel[offset : offset + length]):
            return True
    return False


def _holds_pvh_note(notes: bytes) -> bool:
    position = 0
    while position + 12 <= len(notes):
        name_size, content_size, kind = struct.unpack_from("<III", notes, position)
        name = notes[position + 12 : position + 12 + name_size]
        if kind == _XEN_ELFNOTE_PHYS32_ENTRY and name.rstrip(b"\0") == b"Xen":
            return True
        position += 12 + _aligned(name_size) + _aligned(content_size)
    return False


def _aligned(size: int) -> int:
    return (size + 3) // 4 * 4


def _payload(image: bytes) -> bytes:
    """The compressed kernel in an x86 bzImage, by the offsets in its setup header."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("not an x86 bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return image[start : start + length]


def _unpacked(payload: bytes) -> bytes:
    # all but gzip are followed by the size in four bytes, which is no part of the stream
    stream = payload[:-4]
    if payload.startswith(_GZIP):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(_XZ):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    if payload.startswith(_LZMA):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(stream)
    if payload.startswith(_LEGACY_LZ4):
        return tool.run(["lz4", "-d", "-c", "-"], stdin=stream)
    if payload.startswith(_ZSTD):
        return tool.run(["zstd", "--decompress", "--stdout", "--quiet"], stdin=stream)
    raise ValueError("compressed in a way that is not known here")
