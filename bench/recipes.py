"""How a rootfs is made: from the distribution's packages, a folder, a tar file, or an image of a container engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import apt, footprint, system, tarball, tool
from .errors import ImageError, UsageError

WORKLOAD_PACKAGES = ("fio", "redis-server", "redis-tools", "sysbench")
"""What the built-in workloads run; a workload whose program is missing is a skipped cell with that reason."""

IMAGE = "docker:"
"""Before the name of an engine's image."""
OF_ENGINE = "the rootfs is an image of the engine"
"""Why such a one takes an engine."""

DEFAULT_BYTES = 700 << 20
"""What building the default rootfs takes on the disk at most: measured, with some room. Kept is a little less."""
DEFAULT_SIZE = 300 << 20
"""Bytes of its files, about."""

_SCHEMA = 1
"""Part of every recipe: another number makes what older versions built be built again."""

_KNOWN = {"debian": "debian:{}-slim", "ubuntu": "ubuntu:{}"}
"""Distributions that the default is made of, with their base images."""
_ANY_HOST = "debian:stable-slim"

_INSTALL = """\
set -e
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get --quiet update
apt-get --quiet --yes --no-install-recommends install {packages}
rm /usr/sbin/policy-rc.d
"""


@dataclass(frozen=True, slots=True)
class Held:
    """An image that an engine has."""

    id: str
    """`sha256:<hex>`: another one when its tag has moved."""
    size: int
    """Bytes of its files, about."""


class Engine(Protocol):
    """What a rootfs needs of a container engine."""

    def find(self, reference: str) -> Held:
        """The image of that name, pulled only where the engine has none. Raises ImageError."""

    def flatten(self, image: str, target: Path, *, script: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Write an image's root filesystem to the tar file `target`.

        A `script` is run by its shell as root before that, with these files (by path) in place and with the engine's
        default network. Raises ImageError with the engine's, or the script's, own words.
        """


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made, in full (its digest is the key of the cache) and in one line."""

    line: str
    text: str
    collect: Callable[[Path, Path], None]
    """Writes a raw tar file; the other path is a folder for what that takes."""
    needed: int
    """Bytes on the disk that making it takes at most, about."""
    changeable: bool = False
    """A folder may have changed without a trace: then only its content's digest says what it is."""
    why_engine: str = ""
    """Why it takes a container engine to make it; empty where it takes none."""

    @property
    def digest(self) -> str:
        """The key of the cache."""
        return hashlib.sha256(f"{_SCHEMA}\n{self.text}".encode()).hexdigest()


def of(reference: str, engine: Engine | None = None, packages: Collection[str] = ()) -> Recipe:
    """The recipe that `reference` names. An engine's image is known only to the engine; `packages` are the default's.

    Raises UsageError where it names none, ImageError where that cannot be made here.
    """
    if reference == "default":
        return _default(engine, _with(packages))
    if reference.startswith(IMAGE):
        return _from_image(reference.removeprefix(IMAGE), engine)
    path = Path(reference).expanduser()
    if path.is_dir():
        return _from_folder(path.resolve())
    if path.is_file():
        return _from_tar(path.resolve())
    raise UsageError(
        f"no such rootfs: {reference}",
        details="possible are `default` (the host's own distribution), a folder with a root filesystem, a tar file, "
        "and `docker:IMAGE`",
        hint="for example: --rootfs default",
    )


def usual(packages: Collection[str] = ()) -> Recipe | None:
    """The default as mmdebstrap builds it, whether or not it can do so now; None where it is no Debian's."""
    host = system.distribution()
    if host.id not in _KNOWN or not host.codename:
        return None
    try:
        return _by_mmdebstrap(host, _with(packages))
    except ImageError:  # no sources to build it from
        return None


def _with(packages: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({*WORKLOAD_PACKAGES, *packages}))


def _default(engine: Engine | None, packages: tuple[str, ...]) -> Recipe:
    host = system.distribution()
    known = host.id in _KNOWN and bool(host.codename)
    why = _no_mmdebstrap() if known else f"its recipe is for Debian and Ubuntu, and this is {host.name}"
    if not why:
        return _by_mmdebstrap(host, packages)
    return _by_engine(_KNOWN[host.id].format(host.codename) if known else _ANY_HOST, host, why, engine, packages)


def _no_mmdebstrap() -> str:
    """Why the host's own mmdebstrap builds nothing here; empty where it does."""
    if tool.find("mmdebstrap") is None:
        return "mmdebstrap is not installed"
    try:
        system.root_within()
    except ImageError as error:
        return f"mmdebstrap cannot work here: {error.brief} ({error.hint})"
    return ""


def _by_mmdebstrap(host: system.Distribution, packages: tuple[str, ...]) -> Recipe:
    sources = apt.sources(host.codename)
    mode = "root" if system.is_root() else "unshare"
    argv = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}"]
    line = f"{' '.join(argv)} {host.codename} ({host.id}, {system.architecture()})"

    def collect(target: Path, scratch: Path) -> None:
        (scratch / "tare.sources").write_text(sources)
        options = [f"--mode={mode}", "--format=tar"]
        if proxies := apt.proxies():  # in a file, since a proxy's address may hold a password
            (scratch / "proxies").write_text(proxies)
            options.append(f"--aptopt={scratch / 'proxies'}")
        environment = {"SOURCE_DATE_EPOCH": str(tarball.EPOCH)}
        if system.is_root():
            environment["TMPDIR"] = str(scratch)  # so that what an ended build leaves is found and removed
        where = [host.codename, str(target), str(scratch / "tare.sources")]
        tool.run([*argv, *options, *where], env=environment, seconds=tool.LARGE)

    return Recipe(line, f"{line}\n{sources}", collect, DEFAULT_BYTES)


def _by_engine(
    base: str, host: system.Distribution, why: str, engine: Engine | None, packages: tuple[str, ...]
) -> Recipe:
    """The same packages in a container of the distribution's base image: with the host's sources where it has apt."""
    own = host.id in _KNOWN and tool.find("apt-config") is not None
    sources = apt.sources(host.codename) if own else ""
    whose = "the host's" if own else "the image's"
    install = f"apt-get install --no-install-recommends {' '.join(packages)}"
    line = f"{install}, from {whose} sources, in a container of {base} ({system.architecture()})"

    def collect(target: Path, scratch: Path) -> None:
        if engine is None:
            raise ImageError(f"no container engine to build the rootfs with: {why}", hint=_WITHOUT_ENGINE)
        image = engine.find(base)
        script = _INSTALL.format(packages=" ".join(packages))
        engine.flatten(image.id, target, script=script, files=apt.portable(sources) if own else {})

    return Recipe(line, f"{line}\n{sources}", collect, DEFAULT_BYTES, why_engine=why)


_WITHOUT_ENGINE = "tare setup; or start an engine; or name a rootfs: --rootfs FOLDER or --rootfs FILE.tar"


def _from_image(name: str, engine: Engine | None) -> Recipe:
    if engine is None:
        raise ImageError(f"no container engine holds the image {name}", hint=_WITHOUT_ENGINE)
    image = engine.find(name)

    def collect(target: Path, scratch: Path) -> None:
        engine.flatten(image.id, target)

    line, needed = f"{IMAGE}{name} ({image.id})", _kept_twice(image.size)
    return Recipe(line, f"image {image.id}", collect, needed, why_engine=OF_ENGINE)


def _from_folder(folder: Path) -> Recipe:
    if not any(folder.iterdir()):
        raise UsageError(f"{folder} is empty", details="A rootfs is a folder with a whole root filesystem in it.")

    def collect(target: Path, scratch: Path) -> None:
        what = ["--one-file-system", "--xattrs", "--numeric-owner", "--warning=no-file-ignored"]
        tool.run(["tar", "--create", "--file", target, *what, "--directory", folder, "."], seconds=tool.LARGE)

    size = footprint.allocated([folder])
    return Recipe(f"the folder {folder}", f"folder {folder}", collect, _kept_twice(size), changeable=True)


def _from_tar(file: Path) -> Recipe:
    seen = file.stat()

    def collect(target: Path, scratch: Path) -> None:
        tarball.unpacked(file, target)

    text = f"file {file} {seen.st_size} {seen.st_mtime_ns} {seen.st_ino}"
    return Recipe(f"the file {file}", text, collect, _kept_twice(seen.st_size))


def _kept_twice(size: int) -> int:
    """As it comes and as it is kept, or as a tar file and as a folder."""
    return 2 * size
