"""The one root filesystem that every driver runs: its digest, and where it is kept.

It is made once, by a recipe, then cleaned of what is one machine's own; the digest is over what is left: path, type,
mode, owner and content.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import cache, recipes, system, tarball, tool
from .errors import ImageError
from .model import RootfsFacts
from .paths import cache_dir
from .recipes import Engine, Recipe

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


def build(
    reference: str = "default",
    *,
    packages: Collection[str] = (),
    engine: Engine | None = None,
    say: Say = silent,
) -> Rootfs:
    """The rootfs that `reference` names, from the cache where it is there, and held there from now on.

    `default` (with these packages beside the usual ones), a folder, a tar file, or `docker:IMAGE`. Raises UsageError
    where the reference is none of them, ImageError where the rootfs cannot be made.
    """
    recipe = _recipe(reference, packages, engine)
    with cache.area(_area(), say=say) as area:
        found = _cached(area, recipe)
        if found is None:
            cache.require_room(area, recipe.needed, "the rootfs")
            say(f"building the rootfs: {recipe.line}")
            found = _make(area, recipe)
        cache.hold(found.folder)
        return found


def _recipe(reference: str, packages: Collection[str] = (), engine: Engine | None = None) -> Recipe:
    """What is to be made; where mmdebstrap has gone since it built the default, that is still the default."""
    built = recipes.usual(packages) if reference == "default" else None
    if built is not None and _cached(_area(), built) is not None:
        return built
    return recipes.of(reference, engine, packages)


def why_engine(reference: str, packages: Collection[str] = ()) -> str:
    """Why a container engine is needed for this rootfs; empty where none is, or it is in the cache already."""
    if reference.startswith(recipes.IMAGE):
        return recipes.OF_ENGINE
    recipe = _recipe(reference, packages)
    return recipe.why_engine if _cached(_area(), recipe) is None else ""


def needed(reference: str = "default") -> int:
    """Bytes on the disk that building it takes at most, about; 0 where it is in the cache."""
    recipe = _recipe(reference)
    return 0 if _cached(_area(), recipe) is not None else recipe.needed


def current() -> Rootfs | None:
    """The default rootfs, where the cache holds it; None also where none can be made here."""
    try:
        return _cached(_area(), _recipe("default"))
    except ImageError:
        return None


def _area() -> Path:
    return cache_dir() / "rootfs"


def cached() -> list[Rootfs]:
    """Every rootfs that the cache holds, sorted by digest."""
    found = sorted(_area().glob("*/rootfs.json"))
    return [_load(path.parent) for path in found if not path.parent.name.startswith(".")]


def _cached(area: Path, recipe: Recipe) -> Rootfs | None:
    index = area / "recipes" / f"{recipe.digest}.json"
    if recipe.changeable or not index.is_file():
        return None
    folder = area / json.loads(index.read_text())["folder"]
    return _load(folder, recipe.line) if (folder / "rootfs.json").is_file() else None


def _make(area: Path, recipe: Recipe) -> Rootfs:
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
    tool.run([*within, "tar", "--extract", "--file", tar, *what, "--directory", target], seconds=tool.LARGE)
    # the tar file names no root folder of its own
    target.chmod(0o755)


def _load(folder: Path, recipe: str = "") -> Rootfs:
    kept = json.loads((folder / "rootfs.json").read_text())
    return Rootfs(kept["digest"], folder, kept["size"], recipe or kept["recipe"], kept["packages"])
