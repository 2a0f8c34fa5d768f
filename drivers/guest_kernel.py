"""The kernel that guests boot, and the modules that its initramfs needs: the host's own, or the distribution's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tare_bench import apt, cache, system, tool
from tare_bench.errors import ImageError
from tare_bench.paths import cache_dir

from . import kernel_file

MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")
"""What a guest needs to reach its disk and its wire; what a kernel has built in is not loaded."""

NETWORK = ("virtio_net",)
"""And to have a network: loaded only where it has one."""
_LAYOUT = 2
"""Part of a kernel's place in the cache: another number has it unpacked again."""

_META_PACKAGES = {
    "debian": "linux-image-cloud-{architecture}",
    "ubuntu": "linux-image-virtual",
}
HOSTS_OWN = "the host's own"
BYTES = 256 << 20
"""What downloading, unpacking and keeping a kernel's packages takes on the disk at most, about."""

_APT_LISTS = Path("/var/lib/apt/lists")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache, ready to be booted by QEMU."""

    version: str
    """As `uname -r` says it."""
    image: Path
    """An ELF vmlinux with a PVH entry where one could be had, else the kernel as it was shipped."""
    modules: tuple[Path, ...]
    """Uncompressed, in the order in which they are loaded."""
    network: tuple[Path, ...]
    """Those that a network card takes beside them."""
    digest: str
    """`sha256:<hex>` of `image`."""
    how: str
    """Where it came from and in what form it is, in one line."""
    instead: str = ""
    """Why it is not the host's own; empty where it is."""

    @property
    def own(self) -> bool:
        """Whether it is the host's own."""
        return self.how.startswith(HOSTS_OWN)


@dataclass(frozen=True, slots=True)
class _Origin:
    """A kernel as it is shipped: its file, and the root below which its lib/modules is."""

    version: str
    vmlinuz: Path
    root: Path
    how: str


def build(*, say: Say, instead: str = "") -> Kernel:
    """The guest's kernel, from the cache where it is there.

    The host's own where it is readable and has all that a guest needs, else the distribution's package for virtual
    machines. `instead` says why the host's own is not even to be tried. Raises ImageError where none can be had.
    """
    with cache.area(_area(), say=say) as area:
        found = instead or _host_kernel(area)
        kernel = found if isinstance(found, Kernel) else replace(_packaged_kernel(area, say), instead=found)
        cache.hold(kernel.image.parent)
        return kernel


def cached() -> Kernel | None:
    """The guest's kernel, where it is in the cache; nothing is asked of apt."""
    origin = _hosts_own()
    note = _area() / "packages.json"
    folders = [_folder(_area(), origin)] if origin is not None else []
    if note.is_file():
        folders.append(_place(_area(), json.loads(note.read_text())["packages"]))
    return next((_load(folder) for folder in folders if (folder / "kernel.json").is_file()), None)


def _area() -> Path:
    return cache_dir() / "kernel"


def _hosts_own() -> _Origin | None:
    version = os.uname().release
    origin = _Origin(version, Path(f"/boot/vmlinuz-{version}"), Path("/"), HOSTS_OWN)
    readable = os.access(origin.vmlinuz, os.R_OK) and Path(f"/lib/modules/{version}/modules.dep.bin").is_file()
    return origin if readable else None


def _folder(area: Path, origin: _Origin) -> Path:
    seen = origin.vmlinuz.stat()
    return area / f"{origin.version}-{seen.st_size:x}-{int(seen.st_mtime):x}-{_LAYOUT}"


def _place(area: Path, packages: Sequence[Sequence[str]]) -> Path:
    """Where the kernel of a package is kept."""
    return area / f"{'_'.join(packages[0])}_{_LAYOUT}"


def _host_kernel(area: Path) -> Kernel | str:
    """The host's own, or why it cannot be taken."""
    origin = _hosts_own()
    if origin is None:
        version = os.uname().release
        return f"/boot/vmlinuz-{version} or its modules are not there, or not readable"
    folder = _folder(area, origin)
    if not (folder / "kernel.json").is_file():
        try:
            _make(area, folder, origin)
        except ImageError as error:  # one without virtio: the distribution's own has it
            return f"it lacks what a guest needs: {error}".splitlines()[0]
    return _load(folder)


def _packaged_kernel(area: Path, say: Say) -> Kernel:
    try:
        packages = _resolved(area)
    except ImageError:
        if (kept := cached()) is None:
            raise
        return kept  # apt's lists may have been removed since
    folder = _place(area, packages)
    if (folder / "kernel.json").is_file():
        return _load(folder)
    cache.require_room(area, BYTES, "the guest's kernel")
    say(f"downloading the guest's kernel: {', '.join(name for name, _ in packages)}")
    with cache.staged(area) as scratch:
        root = apt.fetch(packages, scratch)
        vmlinuz = next(iter(sorted((root / "boot").glob("vmlinuz-*"))), None)
        if vmlinuz is None:
            raise ImageError(f"the package {packages[0][0]} holds no kernel")
        version = vmlinuz.name.removeprefix("vmlinuz-")
        _link_modules(root)
        tool.run(["depmod", "-b", root, version])
        how = "package " + ", ".join(f"{name} {number}" for name, number in packages)
        _make(area, folder, _Origin(version, vmlinuz, root, how))
    return _load(folder)


def _resolved(area: Path) -> list[tuple[str, str]]:
    """The packages, asked of apt anew only when its lists have changed: that takes seconds, and each run asks."""
    lists = _APT_LISTS.stat().st_mtime_ns if _APT_LISTS.is_dir() else 0
    note = area / "packages.json"
    if note.is_file() and (kept := json.loads(note.read_text()))["lists"] == lists:
        return [(name, version) for name, version in kept["packages"]]
    packages = _packages()
    cache.write(note, json.dumps({"lists": lists, "packages": packages}).encode())
    return packages


def _packages() -> list[tuple[str, str]]:
    """Name and version of the packages that hold the kernel and its modules, as the distribution has them today."""
    host = system.distribution()
    if host.id not in _META_PACKAGES:
        raise ImageError(
            f"no kernel for guests on {host.name}",
            details=f"/boot/vmlinuz-{os.uname().release} is not readable, and only Debian's and Ubuntu's are known.",
        )
    meta = _META_PACKAGES[host.id].format(architecture=system.architecture())
    image = _dependencies(meta, "linux-image-")
    modules = _dependencies(image[0], "linux-modules-")
    return [(name, _field(name, "Version")) for name in (*image[:1], *modules)]


def _dependencies(package: str, prefix: str) -> list[str]:
    names = re.findall(rf"\b{prefix}\d[^ ,|]*", _field(package, "Depends"))
    if not names and prefix == "linux-image-":
        raise ImageError(f"the package {package} names no kernel")
    return names


def _field(package: str, field: str) -> str:
    try:
        shown = tool.run(["apt-cache", "show", "--no-all-versions", package]).decode()
    except ImageError as error:
        raise ImageError(
            f"the package {package}, which has the guest's kernel, is not known to apt",
            details=error.details,
            hint="apt-get update, or: tare setup",
        ) from error
    found = re.search(rf"^{field}: (.*)$", shown, re.MULTILINE)
    return found[1] if found else ""


def _link_modules(root: Path) -> None:
    """Let lib/modules and usr/lib/modules be the same: a package has the one, and kmod may look for the other."""
    old, new = root / "lib/modules", root / "usr/lib/modules"
    for there, missing in ((new, old), (old, new)):
        if there.is_dir() and not missing.exists():
            missing.parent.mkdir(parents=True, exist_ok=True)
            missing.symlink_to(there)


def _make(area: Path, folder: Path, origin: _Origin) -> None:
    with cache.staged(area) as temporary:
        image, form = kernel_file.bootable(origin.vmlinuz.read_bytes())
        (temporary / "kernel").write_bytes(image)
        (temporary / "kernel").chmod(0o644)
        needed = _module_files(origin, MODULES)
        files, names = [*needed, *_beside(origin, needed)], []
        for number, module in enumerate(files):
            names.append(f"{number:02}-{module.name.partition('.ko')[0]}.ko")
            (temporary / names[-1]).write_bytes(kernel_file.decompressed(module))
        facts = {
            "version": origin.version,
            "modules": names[: len(needed)],
            "network": names[len(needed) :],
            "digest": f"sha256:{hashlib.sha256(image).hexdigest()}",
            "how": f"{origin.how}; {form}",
        }
        (temporary / "kernel.json").write_text(json.dumps(facts, indent=1))
        if folder.exists():  # without its facts: not one of ours
            shutil.rmtree(folder)
        cache.publish(temporary, folder)


def _beside(origin: _Origin, needed: Sequence[Path]) -> list[Path]:
    """What a network card takes beside that; nothing where the kernel has none, and its guests then none either."""
    with contextlib.suppress(ImageError):
        return [module for module in _module_files(origin, NETWORK) if module not in needed]
    return []


def _module_files(origin: _Origin, modules: Sequence[str]) -> list[Path]:
    """What has to be loaded, dependencies first; without what the kernel has built in."""
    found: list[Path] = []
    for module in modules:
        where = ["-d", str(origin.root), "-S", origin.version]
        shown = tool.run(["modprobe", *where, "--show-depends", "--ignore-install", module]).decode()
        for line in shown.splitlines():
            verb, _, rest = line.strip().partition(" ")
            if verb == "insmod" and (path := Path(rest.split()[0])) not in found:
                found.append(path)
    return found


def _load(folder: Path) -> Kernel:
    kept = json.loads((folder / "kernel.json").read_text())
    modules, network = (tuple(folder / name for name in kept[key]) for key in ("modules", "network"))
    return Kernel(kept["version"], folder / "kernel", modules, network, kept["digest"], kept["how"])
