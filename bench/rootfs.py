"""The one root filesystem that every driver runs: its recipe, its digest, and where it is kept.

It is built once from the distribution's own packages, or taken from a folder or a tar file of the user's. Either way
it is cleaned of what is one machine's own, and the digest is over what is left: path, type, mode, owner and content.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import apt, cache, system, tarball, tool
from .errors import ImageError, UsageError
from .model import RootfsFacts
from .paths import cache_dir

WORKLOAD_PACKAGES = ("fio", "redis-server", "redis-tools", "sysbench")
"""What the built-in workloads run; a workload whose program is missing is a skipped cell with that reason."""

_SCHEMA = 1
"""Part of every recipe: another number makes what older versions built be built again."""

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A root filesystem in the cache."""

    digest: str
    """`sha256:<hex>` over its sorted content; a file's date is no part of it."""
    folder: Path
    size: int
    """Bytes of its files."""
    recipe: str
    """How it was made, in one line."""
    packages: Mapping[str, str]
    """Name to version, from its own dpkg database; empty where it has none."""

    @property
    def tar(self) -> Path:
        """All of it as an uncompressed tar file, which engines import."""
        return self.folder / "rootfs.tar"

    @property
    def tree(self) -> Path:
        """All of it unpacked with its owners: a folder for `native`. Only there when root built it."""
        return self.folder / "tree"

    def facts(self) -> RootfsFacts:
        """What is stored with a run."""
        return RootfsFacts(digest=self.digest, recipe=self.recipe, size=self.size, packages=dict(self.packages))


def build(reference: str = "default", *, say: Say = silent) -> Rootfs:
    """The rootfs that `reference` names, from the cache where it is there: `default`, a folder, or a tar file.

    Raises UsageError where the reference is none of them, ImageError where the rootfs cannot be made.
    """
    recipe = _recipe(reference)
    with cache.area(cache_dir() / "rootfs", say=say) as area:
        found = _cached(area, recipe)
        if found is None:
            say(f"building the rootfs: {recipe.line}")
            found = _make(area, recipe)
        return found


def cached() -> list[Rootfs]:
    """Every rootfs that the cache holds, sorted by digest."""
    found = sorted((cache_dir() / "rootfs").glob("*/rootfs.json"))
    return [_load(path.parent) for path in found if not path.parent.name.startswith(".")]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What is made, in full (its digest is the key of the cache) and in one line."""

    line: str
    text: str
    collect: Callable[[Path, Path], None]
    """Writes a raw tar file; the other path is a folder for what that takes."""
    changeable: bool = False
    """A folder may have changed without a trace: then only its content's digest says what it is."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{_SCHEMA}\n{self.text}".encode()).hexdigest()


def _recipe(reference: str) -> _Recipe:
    if reference == "default":
        return _default()
    path = Path(reference).expanduser()
    if path.is_dir():
        return _from_folder(path.resolve())
    if path.is_file():
        return _from_tar(path.resolve())
    raise UsageError(
        f"no such rootfs: {reference}",
        details="possible are `default` (the host's own distribution), a folder with a root filesystem, and a tar file",
        hint="for example: --rootfs default",
    )


def _default() -> _Recipe:
    host = system.distribution()
    if host.id not in ("debian", "ubuntu") or not host.codename:
        raise ImageError(
            f"no recipe for a rootfs of {host.name}",
            details="The default rootfs is made from the packages of Debian or Ubuntu.",
            hint="name one of your own: --rootfs FOLDER or --rootfs FILE.tar",
        )
    sources = apt.sources(host.codename)
    mode = "root" if system.is_root() else "unshare"
    argv = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(WORKLOAD_PACKAGES)}"]
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
        tool.run([*argv, *options, *where], env=environment)

    return _Recipe(line, f"{line}\n{sources}", collect)


def _from_folder(folder: Path) -> _Recipe:
    def collect(target: Path, scratch: Path) -> None:
        what = ["--one-file-system", "--xattrs", "--numeric-owner", "--warning=no-file-ignored"]
        tool.run(["tar", "--create", "--file", target, *what, "--directory", folder, "."])

    return _Recipe(f"the folder {folder}", f"folder {folder}", collect, changeable=True)


def _from_tar(file: Path) -> _Recipe:
    seen = file.stat()

    def collect(target: Path, scratch: Path) -> None:
        target.symlink_to(file)

    return _Recipe(f"the file {file}", f"file {file} {seen.st_size} {seen.st_mtime_ns} {seen.st_ino}", collect)


def _cached(area: Path, recipe: _Recipe) -> Rootfs | None:
    index = area / "recipes" / f"{recipe.digest}.json"
    if recipe.changeable or not index.is_file():
        return None
    folder = area / json.loads(index.read_text())["folder"]
    return _load(folder, recipe.line) if (folder / "rootfs.json").is_file() else None


def _make(area: Path, recipe: _Recipe) -> Rootfs:
    """Build in a temporary folder, rename that to the digest, and only then write the recipe into the index."""
    with cache.staged(area) as temporary:
        scratch = temporary / "scratch"
        scratch.mkdir()
        recipe.collect(scratch / "raw.tar", scratch)
        content = tarball.normalise(scratch / "raw.tar", temporary / "rootfs.tar")
        shutil.rmtree(scratch)
        folder = area / content.digest.removeprefix("sha256:")[:16]
        if system.is_root():
            unpack(temporary / "rootfs.tar", temporary / "tree")
        facts = {"digest": content.digest, "size": content.size, "recipe": recipe.line}
        (temporary / "rootfs.json").write_text(json.dumps({**facts, "packages": dict(content.packages)}, indent=1))
        # 0700 where there is a tree: its setuid programs are nobody else's business
        cache.publish(temporary, folder, mode=0o700)
    cache.make_folder(area / "recipes")
    entry = {"folder": folder.name, "digest": content.digest, "recipe": recipe.line}
    cache.write(area / "recipes" / f"{recipe.digest}.json", json.dumps(entry, indent=1).encode())
    return _load(folder, recipe.line)


def unpack(tar: Path, target: Path, *, within: tuple[str, ...] = ()) -> None:
    """Unpack a rootfs with its owners and attributes into a new folder. `within` goes before the command."""
    target.mkdir()
    what = ["--preserve-permissions", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*"]
    tool.run([*within, "tar", "--extract", "--file", tar, *what, "--directory", target])
    # the tar file names no root folder of its own
    target.chmod(0o755)


def _load(folder: Path, recipe: str = "") -> Rootfs:
    kept = json.loads((folder / "rootfs.json").read_text())
    return Rootfs(kept["digest"], folder, kept["size"], recipe or kept["recipe"], kept["packages"])
