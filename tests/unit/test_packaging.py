"""What is installed is all of it, under one name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import distribution, entry_points
from importlib.resources import files
from pathlib import Path

import pytest
import tare_bench
from tare_bench import registry

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_folder_with_python_files_is_listed() -> None:
    there = {
        path.parent.relative_to(ROOT)
        for name in ("bench", "drivers", "reports")
        for path in (ROOT / name).rglob("*.py")
    }
    assert {Path(folder) for folder in SETUPTOOLS["package-dir"].values()} == there
    assert set(SETUPTOOLS["packages"]) == set(SETUPTOOLS["package-dir"])


def test_every_other_file_is_package_data() -> None:
    data = SETUPTOOLS["package-data"]
    folders = {ROOT / folder: name for name, folder in SETUPTOOLS["package-dir"].items()}
    for folder, name in folders.items():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc") and _nearest(path, folders) == folder:
                inside = path.relative_to(folder)
                assert any(inside.match(pattern) for pattern in data.get(name, [])), f"{inside} of {name} is not listed"


def _nearest(path: Path, folders: dict[Path, str]) -> Path:
    return next(each for each in path.parents if each in folders)


def test_the_package_under_test_is_the_installed_one() -> None:
    assert tare_bench.__file__ is not None
    folder = Path(tare_bench.__file__).parent
    assert folder.parent.name == "site-packages"
    assert not folder.samefile(ROOT / "bench")


def test_only_one_name_is_put_into_site_packages() -> None:
    tops = {path.parts[0] for path in distribution("tare-bench").files or [] if not path.parts[0].startswith("..")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tare_bench"}


def test_what_is_in_the_guest_is_installed() -> None:
    for name in ("agent.sh", "init.sh", "native.sh"):
        assert files("tare_bench.guest").joinpath(name).is_file()


@pytest.mark.parametrize("group", [registry.DRIVERS, registry.WORKLOADS])
def test_entry_points_load_what_they_name(group: str) -> None:
    points = entry_points(group=group)
    assert points
    for point in points:
        assert point.load().name == point.name


def test_plug_ins_import_the_port_and_nothing_heavy() -> None:
    code = "import sys, tare_bench; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pandas", "numpy", "scipy", "docker", "libvirt", "matplotlib", "rich", "click"} & set(
        done.stdout.split()
    ) == set()
    assert all(hasattr(tare_bench, name) for name in tare_bench.__all__)


def test_the_lock_pins_every_dependency() -> None:
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    for wanted in (*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)):
        assert wanted.partition(">=")[0].lower() in pinned
