"""The wheel in a fresh environment without libvirt's binding or a compiler, used as after `pipx install`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tare_bench import store
from tare_bench.model import Run

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"bench": "tare_bench", "drivers": "tare_bench/drivers", "reports": "tare_bench/reports"}
BUILDS = ("gcc", "cc", "pkg-config")
BOOT = ("run", "-d", "docker", "--rounds", "1", "-w", "boot")

Done = subprocess.CompletedProcess[str]


def copied(folder: Path) -> Path:
    """A copy to build from: a build leaves files beside the sources, and takes those of the last one for its own."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def pip(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copied(folder / "sources"))
    [built] = folder.glob("*.whl")
    return built


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the wheel and what it depends on, once for the session: pip takes 15 s or more."""

    prefix: Path
    path: str
    """The PATH of a machine that can compile nothing."""
    state: Path

    def run(self, *words: str | Path, cwd: Path, python_path: str = "") -> Done:
        environment = {**os.environ, "PATH": self.path, "TARE_STATE": str(self.state), "NO_COLOR": "1"}
        environment.pop("LIBVIRT_LOG_OUTPUTS", None)
        environment["PYTHONPATH"] = python_path
        return subprocess.run(
            [self.prefix / "bin" / words[0], *words[1:]], capture_output=True, text=True, check=False, cwd=cwd,
            env=environment, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip

    def tare(self, *words: str | Path, cwd: Path, python_path: str = "") -> Done:
        """What `tare` says; never a traceback."""
        done = self.run("tare", *words, cwd=cwd, python_path=python_path)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    prefix = folder / "venvs" / "tare-bench"
    # without pip: what ensurepip needs is a package of its own on Debian
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (prefix / "pipx_metadata.json").write_text("{}")  # what pipx leaves in an environment that it makes
    lock = ROOT / "requirements.lock"
    pip("--python", prefix / "bin" / "python", "install", "--quiet", "--constraint", lock, wheel)
    without = without_programs(folder / "bin", BUILDS)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as state:
        yield Installed(prefix, str(without), Path(state))


def without_programs(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder that holds every program of the PATH but these."""
    folder.mkdir()
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for program in Path(place).glob("*"):
            if program.name not in names and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


@pytest.fixture(params=["empty", "taken"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder to work in: an empty one, and one with packages of the names that ours have in their clone."""
    if request.param == "taken":
        for name in (*PACKAGES, "tests", "tare_bench_plugin"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the user has a package {name}')\n")
    return tmp_path


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        f"{target}/{path.relative_to(ROOT / source)}"
        for source, target in PACKAGES.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == ours
    assert {"tare_bench/py.typed", "tare_bench/guest/agent.sh", "tare_bench/demo/manifest.json"} <= there
    assert "tare_bench/reports/templates/page.html" in there


def test_only_one_name_is_taken(installed: Installed, here: Path) -> None:
    code = (
        "import importlib.util as u; print(*(u.find_spec(name) for name in ('bench', 'drivers', 'reports', 'tests')))"
    )
    done = installed.run("python", "-P", "-c", code, cwd=here)
    assert done.stdout.split() == ["None"] * 4, done.stderr
    if (here / "bench").exists():
        # as a plain `python` has it, the user's own come first, and tare_bench beside them
        done = installed.run("python", "-c", "import tare_bench.cli, bench", cwd=here)
        assert done.stderr.endswith("RuntimeError: the user has a package bench\n")


def test_it_loads_nothing_from_where_it_is_called(installed: Installed, here: Path) -> None:
    """Not by the folder, and not by a PYTHONPATH that leads there."""
    for name in ("tare", "tare-bench"):
        for python_path in ("", str(here)):
            done = installed.run(name, "list", "drivers", cwd=here, python_path=python_path)
            assert done.returncode == 0, done.stderr
            assert [line.split()[0] for line in done.stdout.splitlines()] == ["docker", "fake", "kvm", "native"]


@pytest.mark.needs("root")
def test_check_names_the_two_lines_that_add_libvirt(installed: Installed, here: Path) -> None:
    done = installed.tare("check", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "docker: can run" in done.stdout
    lines = done.stdout.splitlines()
    rung = lines.index("  NO  libvirt-python: not installed")
    first, second = (line.strip() for line in lines[rung + 1 : rung + 3])
    assert first.startswith("fix: apt-get install --no-install-recommends ")
    assert {"pkg-config", "gcc"} <= set(first.split())
    assert second == "pipx inject tare-bench libvirt-python"
    asked = installed.tare("check", "kvm", cwd=here)
    assert asked.returncode == 3
    assert second in asked.stdout
    document = json.loads(installed.tare("check", "--json", cwd=here).stdout)
    assert document["drivers"]["kvm"]["rungs"][0]["fix"] == f"{first.removeprefix('fix: ')}\n{second}"


@pytest.mark.needs("root")
def test_setup_says_what_python_lacks(installed: Installed, here: Path) -> None:
    done = installed.tare("setup", "--dry-run", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "  gcc " in done.stdout
    assert done.stdout.endswith("\n\npipx inject tare-bench libvirt-python\n")


def test_a_guest_that_was_asked_for_is_refused(installed: Installed, here: Path) -> None:
    before = sorted(here.iterdir())
    done = installed.tare("run", "-d", "kvm", "-w", "boot", cwd=here)
    assert done.returncode == 3
    assert "pipx inject tare-bench libvirt-python" in done.stderr
    assert sorted(here.iterdir()) == before


def test_the_demo_is_shown(installed: Installed, here: Path) -> None:
    done = installed.tare("demo", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "<svg" in (here / "tare-demo.html").read_text(encoding="utf-8")


def outcomes(run: Run) -> set[tuple[str, str]]:
    """By arm; a twin's are its arm's."""
    return {(run.manifest.plan.twins.get(trial.cell.arm, trial.cell.arm), trial.status) for trial in run.trials}


@pytest.mark.needs("root", "docker")
def test_containers_are_measured(installed: Installed, here: Path) -> None:
    done = installed.tare(*BOOT, cwd=here)
    assert done.returncode == 0, done.stderr
    folder = store.find("latest", here / "results")
    run = store.load(folder)
    assert run.finished
    assert outcomes(run) == {("docker", "ok")}
    assert (folder / "report.html").is_file()
    listed = json.loads(installed.tare("list", "runs", "--json", cwd=here).stdout)
    assert [row["name"] for row in listed] == [folder.name]


@pytest.mark.needs("root", "native", "docker")
def test_the_usual_run_leaves_out_what_is_not_there(installed: Installed, tmp_path: Path) -> None:
    done = installed.tare("run", "--rounds", "1", "-w", "boot", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "notice: kvm is left out: libvirt-python: not installed\n        apt-get install " in done.stderr
    assert "\n        pipx inject tare-bench libvirt-python\n" in done.stderr
    run = store.load(store.find("latest", tmp_path / "results"))
    assert outcomes(run) == {("docker", "ok"), ("native", "ok")}
