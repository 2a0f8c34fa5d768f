"""The Python environment that Tare is installed in, and the commands that add to it what Tare doesn't bring.

Nothing here changes anything.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from . import apt, system

PACKAGE = "tare-bench"
BINDING = "libvirt-python"
"""It has no wheels: it is compiled, so it is an extra (`kvm`) and not a dependency."""


def binding_there() -> bool:
    """Whether libvirt's Python binding is installed here."""
    return importlib.util.find_spec("libvirt") is not None


def binding_commands() -> list[str]:
    """What to type, a line each, for guests: the system packages that are missing, then libvirt's Python binding."""
    if (root := clone()) is not None:
        return [f"{shlex.quote(str(root / 'noxw'))} -s bench"]  # which does both
    missing = [package.name for package in system.missing_for_guests()]
    if not missing:
        return [add(BINDING, extra="kvm")]
    if system.distribution().known:
        first = ("" if system.is_root() else "sudo ") + apt.install_command(missing)
    else:
        first = f"Install your distribution's packages of what Debian calls {', '.join(missing)}, then:"
    return [first, add(BINDING, extra="kvm")]


def add(package: str, *, extra: str = "") -> str:
    """The command that adds a package to this environment; `extra` is that of ours which brings it."""
    prefix = Path(sys.prefix)
    wanted = shlex.quote(f"{PACKAGE}[{extra}]" if extra else package)
    if (prefix / "pipx_metadata.json").is_file():
        return _by_pipx(prefix, package, wanted)
    if (prefix / "uv-receipt.toml").is_file():
        return f"uv tool install --with {package} {PACKAGE}"
    python = shlex.quote(sys.executable)
    if _has_pip():
        return f"{python} -m pip install {_flags()}{wanted}"
    if _made_by_uv(prefix):
        return f"uv pip install --python {python} {wanted}"
    return f"pip --python {python} install {wanted}"


def _by_pipx(prefix: Path, package: str, wanted: str) -> str:
    if prefix.parent.name != "venvs":  # `pipx run` made it, for a while
        return f"pipx run --spec {wanted} tare"
    everyones = "--global " if prefix.is_relative_to("/opt/pipx") else ""
    return f"pipx inject {everyones}{prefix.name} {package}"


def clone() -> Path | None:
    """The clone of Tare whose own environment this is (`.nox/tare`)."""
    prefix = Path(sys.prefix)
    root = prefix.parent.parent
    there = prefix.parent.name == ".nox" and (root / "noxw").is_file() and (root / "noxfile.py").is_file()
    return root if there else None


def _has_pip() -> bool:
    try:
        distribution("pip")
    except PackageNotFoundError:
        return False
    return True


def _flags() -> str:
    """Outside an environment of one's own a distribution may refuse; whoever put Tare there has overruled it before."""
    marked = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file()
    return "--break-system-packages " if marked and sys.prefix == sys.base_prefix else ""


def _made_by_uv(prefix: Path) -> bool:
    marks = prefix / "pyvenv.cfg"
    return marks.is_file() and any(line.startswith("uv ") for line in marks.read_text().splitlines())
