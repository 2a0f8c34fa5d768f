"""What the cache holds, each thing with its id, its size and how it was made; and how it is removed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import cache, footprint, paths, registry, rootfs
from .errors import TareError, UsageError

KINDS = {"rootfs": "rootfs", "guest": "guest disk", "kernel": "kernel", "busybox": "busybox"}
"""Folders of the cache, and what is in them."""

_UNTOLD = {KINDS["busybox"]: "package busybox-static"}

ENGINE = "private-engine"
"""The id of what the private engines keep between runs: there is one of it."""


@dataclass(frozen=True, slots=True)
class Image:
    """One thing that was built, and can be built again."""

    id: str
    """Its name in the cache: short, and another one where its content is another one."""
    kind: str
    digest: str
    """`sha256:<hex>` of a rootfs's content, or of a kernel; empty for the rest."""
    how: str
    """How it was made, in one line."""
    made_at: str
    """UTC, to the second."""
    allocated: int
    """Bytes on disk."""
    folder: Path
    source: str = ""
    """For a guest disk: the digest of its rootfs."""
    kernel: str = ""
    """For a guest disk: the digest of its kernel."""


def found() -> list[Image]:
    """All that is there: rootfs, guest disks, kernels, busybox, the private engine's data.

    Raises TareError where the cache is not ours to read.
    """
    made = [_read(folder, kind) for area, kind in KINDS.items() for folder in _things(paths.cache_dir() / area)]
    data = _engine_data()
    return [*made, *([_engine(data)] if data.is_dir() else [])]


def chosen(words: Sequence[str], images: Sequence[Image]) -> list[Image]:
    """Those of the images that the words name, by id or by a beginning that no other id has.

    Raises UsageError for a word that names none, or several.
    """
    return list({image.folder: image for word in words for image in [_named(word, images)]}.values())


def unused(images: Sequence[Image]) -> list[Image]:
    """What a run of the default rootfs would not take up: older rootfs, and what was made from them.

    The private engine's data are not among them: what is in them only an engine knows.
    """
    current = rootfs.current()
    digest = current.digest if current is not None else ""
    disk = _newest(image for image in images if image.kind == KINDS["guest"] and image.source == digest)
    kernel = _newest(
        image for image in images if image.kind == KINDS["kernel"] and disk and image.digest == disk.kernel
    ) or _newest(image for image in images if image.kind == KINDS["kernel"])
    used = {image.folder for image in (disk, kernel) if image is not None}
    used |= {current.folder} if current is not None else set()
    removable = (KINDS["rootfs"], KINDS["guest"], KINDS["kernel"])
    return [image for image in images if image.kind in removable and image.folder not in used]


def _newest(images: Iterable[Image]) -> Image | None:
    return max(images, key=lambda image: image.made_at, default=None)


def remove(images: Iterable[Image]) -> int:
    """Remove them and return how many bytes that freed. Goes on past what a run holds, or cannot be removed.

    Raises TareError that names each of those, after the rest has been removed.
    """
    freed, stays = 0, list[str]()
    for image in images:
        try:
            gone = _drop_engine(image) if image.id == ENGINE else _drop(image)
        except (TareError, OSError) as error:
            stays.append(f"{image.kind} {image.id}: {error}")
            continue
        if gone:
            freed += image.allocated
        else:
            stays.append(f"{image.kind} {image.id}: a run, or a build, is using it")
    if stays:
        brief = f"Not everything could be removed; {freed} bytes were freed."
        hint = "Wait until the runs have ended, and remove the rest then."
        raise TareError(brief, details="\n".join(stays), hint=hint)
    return freed


def _things(area: Path) -> list[Path]:
    """What is whole in one folder of the cache: not the index, not what is being built, nothing linked to."""
    if not area.is_dir():
        return []
    try:
        there = [each for each in area.iterdir() if each.is_dir() and not each.is_symlink()]
    except PermissionError as error:
        hint = "Name your own: TARE_CACHE."
        raise TareError("The cache is not yours to read.", details=str(error), hint=hint) from error
    return sorted(each for each in there if not each.name.startswith((".", "recipes")))


def _read(folder: Path, kind: str) -> Image:
    facts: dict[str, str] = {}
    made = folder.stat().st_mtime
    for note in folder.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):  # it may be removed just now
            facts, made = json.loads(note.read_text()), note.stat().st_mtime
    digest = facts.get("digest", "")
    is_disk = kind == KINDS["guest"]
    return Image(
        id="busybox" if kind == KINDS["busybox"] else folder.name,
        kind=kind,
        digest="" if is_disk else digest,
        how=facts.get("recipe") or facts.get("how") or _UNTOLD.get(kind, "unknown"),
        made_at=_utc(made),
        allocated=footprint.allocated([folder]),
        folder=folder,
        source=facts.get("rootfs", ""),
        kernel=digest if is_disk else "",
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _engine_data() -> Path:
    return paths.state_dir() / "docker"


def _engine(folder: Path) -> Image:
    how = "the rootfs as an image of the private Docker engine"
    made = _utc(folder.stat().st_mtime)
    return Image(ENGINE, "private engine's data", "", how, made, footprint.allocated([folder]), folder)


def _named(word: str, images: Sequence[Image]) -> Image:
    exact = [image for image in images if word == image.id]
    alike = exact or [image for image in images if word and image.id.startswith(word)]
    if len(alike) == 1:
        return alike[0]
    hint = registry.nearest(word, [image.id for image in images])
    if alike:
        raise UsageError(f"`{word}` begins several ids.", details=", ".join(image.id for image in alike))
    raise UsageError(f"There is no image `{word}`.", details="`tare images list` names all of them.", hint=hint)


def _drop(image: Image) -> bool:
    """Remove a thing of the cache; False where a process holds it, or builds beside it."""
    area = image.folder.parent
    with contextlib.suppress(BlockingIOError), cache.area(area, say=rootfs.silent, wait=False):
        gone = cache.discard(image.folder)
        for index in (area / "recipes").glob("*.json") if gone else ():
            if json.loads(index.read_text()).get("folder") == image.folder.name:
                index.unlink()
        return gone
    return False


def _drop_engine(image: Image) -> bool:
    """Remove the private engines' data: whatever of an engine lives holds the lock on them."""
    lock = os.open(image.folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cache.discard(image.folder)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
