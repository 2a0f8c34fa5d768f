"""The wrapper: what it does on a machine with only a python3, tried with stand-ins for the programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "cat", "grep", "rm", "mkdir", "mktemp", "tail", "chmod", "cp")

PYTHON = """\
case $* in
*version_info*) exit {too_old} ;;
--version) echo Python 3.x ;;
*ensurepip*) [ -e "$STATE/venv" ] ;;
*sys.executable*) echo python 3.x ;;
"-m venv "*)
    echo "venv $3" >>"$STATE/log"
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    chmod +x "$3/bin/python"
    ;;
"-m pip "*)
    echo pip >>"$STATE/log"
    [ ! -e "$STATE/offline" ]
    ;;
"-m nox "*) echo "nox $*" ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""

APT = """\
echo "apt-get $*" >>"$STATE/log"
case $* in
*install*)
    [ ! -e "$STATE/offline" ] || { echo E: no mirror; exit 100; }
    : >"$STATE/venv"
    ;;
esac
"""


class Machine:
    """A folder with the wrapper and a PATH with only what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin, self.state, self.project = folder / "bin", folder / "state", folder / "project"
        for path in (self.bin, self.state, self.project):
            path.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name in ("noxw", "requirements.lock", "noxfile.py"):
            shutil.copy(ROOT / name, self.project / name)
        self.program("python3", PYTHON.format(too_old=0))
        self.user(1000)

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"echo {number}\n")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        names = {"PATH": str(self.bin), "STATE": str(self.state), "TMPDIR": str(self.folder), **environment}
        return subprocess.run(
            [str(self.project / "noxw"), *arguments], env=names, cwd="/", capture_output=True, text=True, check=False
        )

    def log(self) -> list[str]:
        path = self.state / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_environment_is_made_once(machine: Machine) -> None:
    (machine.state / "venv").touch()
    first = machine.run("-s", "bench", "--", "--suite", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"nox -m nox --noxfile {machine.project}/noxfile.py -s bench -- --suite two words\n"
    assert machine.run("-l").returncode == 0
    assert machine.log() == [f"venv {machine.project}/.noxw", "pip"]


def test_another_version_of_nox_makes_it_again(machine: Machine) -> None:
    (machine.state / "venv").touch()
    machine.run("-l")
    (machine.project / "requirements.lock").write_text("nox==1.0\n")
    machine.run("-l")
    assert machine.log().count("pip") == 2


def test_an_environment_that_is_not_whole_is_made_again(machine: Machine) -> None:
    (machine.state / "venv").touch()
    (machine.state / "offline").touch()
    assert machine.run("-l").returncode != 0
    (machine.state / "offline").unlink()
    assert machine.run("-l").returncode == 0
    assert machine.log().count("pip") == 2


def test_root_gets_the_missing_package(machine: Machine) -> None:
    machine.user(0)
    machine.program("apt-get", APT)
    result = machine.run("-l")
    assert result.returncode == 0, result.stderr
    assert [line.split()[-1] for line in machine.log()[:2]] == ["update", "python3-venv"]


def test_a_failing_apt_is_quoted(machine: Machine) -> None:
    machine.user(0)
    machine.program("apt-get", APT)
    (machine.state / "offline").touch()
    result = machine.run("-l")
    assert result.returncode == 1
    assert "E: no mirror" in result.stderr


def test_no_is_an_answer(machine: Machine) -> None:
    machine.user(0)
    machine.program("apt-get", APT)
    assert machine.run("-l", TARE_YES="0").returncode == 1
    assert machine.log() == []


def test_without_root_both_ways_out_are_named(machine: Machine) -> None:
    result = machine.run("-l")
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert "uv or pipx" in result.stderr


@pytest.mark.parametrize("name", ["nox", "uv", "pipx"])
def test_what_is_on_the_path_is_used(machine: Machine, name: str) -> None:
    machine.program(name, f'echo {name} "$@"\n')
    result = machine.run("-s", "lint")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(name)
    assert result.stdout.endswith(f"--noxfile {machine.project}/noxfile.py -s lint\n")


def test_an_old_python_is_refused(machine: Machine) -> None:
    machine.program("python3", PYTHON.format(too_old=1))
    result = machine.run("-l")
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr


def test_without_python_the_package_is_named(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    result = machine.run("-l")
    assert result.returncode == 1
    assert "python3-venv" in result.stderr


def test_the_lock_pins_and_names_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(name and version and " " not in line for line in lines for name, _, version in [line.partition("==")])
    assert "://" not in "".join(lines)
    assert {"nox", "setuptools", "libvirt-python"} <= {line.partition("==")[0] for line in lines}


def test_both_scripts_can_be_run() -> None:
    assert os.access(ROOT / "noxw", os.X_OK)
    assert os.access(ROOT / ".ci/run", os.X_OK)
