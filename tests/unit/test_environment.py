"""The environment that Tare is in, and how one adds to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tare_bench import environment, system
from tare_bench.cli.check import _show
from tare_bench.cli.setup import setup
from tare_bench.driver import Support
from tare_bench.drivers import kvm_check

PYTHON = sys.executable


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment by the name of tare-bench."""
    folder = tmp_path / "venvs" / "tare-bench"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(folder))
    return folder


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Debian without a compiler, for root."""
    lacking = [system.Package(name, "for a reason", lambda: False) for name in ("docker.io", "libvirt-dev", "gcc")]
    monkeypatch.setattr(system, "missing", lambda *, tests=False: lacking)
    monkeypatch.setattr(system, "is_root", lambda: True)
    monkeypatch.setattr(system, "steps", list)
    monkeypatch.setattr(system, "distribution", lambda: system.Distribution("debian", "bookworm", "12", "Debian"))
    monkeypatch.setattr(environment, "binding_there", lambda: False)
    return monkeypatch


@pytest.mark.usefixtures("prefix")
def test_in_an_environment_of_ones_own_it_is_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_has_pip", lambda: True)
    assert environment.add("libvirt-python", extra="kvm") == f"{PYTHON} -m pip install 'tare-bench[kvm]'"
    assert environment.add("tare-other") == f"{PYTHON} -m pip install tare-other"


def test_without_pip_it_is_what_made_the_environment(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> None:
    monkeypatch.setattr(environment, "_has_pip", lambda: False)
    assert environment.add("tare-other") == f"pip --python {PYTHON} install tare-other"
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.5\n")
    assert environment.add("tare-other") == f"uv pip install --python {PYTHON} tare-other"


def test_pipx_injects(prefix: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    assert environment.add("libvirt-python", extra="kvm") == "pipx inject tare-bench libvirt-python"
    passing = tmp_path / "cache" / "0123456789abcde"
    passing.mkdir(parents=True)
    (passing / "pipx_metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(passing))
    assert environment.add("libvirt-python", extra="kvm") == "pipx run --spec 'tare-bench[kvm]' tare"


def test_a_tool_of_uv_is_installed_with_it(prefix: Path) -> None:
    (prefix / "uv-receipt.toml").write_text("")
    assert environment.add("libvirt-python", extra="kvm") == "uv tool install --with libvirt-python tare-bench"


def test_a_distributions_python_is_overruled_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_has_pip", lambda: True)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda name: str(tmp_path))
    assert environment.add("x") == f"{PYTHON} -m pip install x"
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert environment.add("x") == f"{PYTHON} -m pip install --break-system-packages x"


def test_the_two_lines_that_add_libvirt(host: pytest.MonkeyPatch, prefix: Path) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    second = "pipx inject tare-bench libvirt-python"
    assert environment.binding_commands() == ["apt-get install --no-install-recommends libvirt-dev gcc", second]
    host.setattr(system, "is_root", lambda: False)
    assert environment.binding_commands()[0] == "sudo apt-get install --no-install-recommends libvirt-dev gcc"
    host.setattr(system, "distribution", lambda: system.Distribution("fedora", "", "41", "Fedora"))
    assert environment.binding_commands()[0].endswith("what Debian calls libvirt-dev, gcc, then:")
    host.setattr(system, "missing", lambda *, tests=False: [])
    assert environment.binding_commands() == [second]


def test_a_clones_wrapper_does_both(host: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("noxw", "noxfile.py"):
        (tmp_path / name).touch()
    host.setattr(sys, "prefix", str(tmp_path / ".nox" / "tare"))
    assert environment.binding_commands() == [f"{tmp_path}/noxw -s bench"]
    assert "libvirt-python" not in CliRunner().invoke(setup, ["--dry-run"]).output


@pytest.mark.usefixtures("host")
def test_the_rung_names_both_lines(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    _show("kvm", Support((kvm_check._binding(),)), None)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  NO  libvirt-python: not installed",
        "      fix: apt-get install --no-install-recommends libvirt-dev gcc",
        "           pipx inject tare-bench libvirt-python",
    ]


@pytest.mark.needs("kvm")
def test_a_binding_that_does_not_load_is_a_rung(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('libvirt.so.0: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    failed = kvm_check._binding()
    assert not failed.ok
    assert failed.seen == "installed, and does not load: ImportError: libvirt.so.0: cannot open shared object file"


def test_setup_names_what_python_lacks(host: pytest.MonkeyPatch, prefix: Path) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    words = "then added by:\n\npipx inject tare-bench libvirt-python\n"
    assert CliRunner().invoke(setup, ["--dry-run"]).output.endswith(words)
    host.setattr(system, "missing", lambda *, tests=False: [])
    said = CliRunner().invoke(setup, []).output
    assert said.startswith("no system package is missing\n")
    assert said.endswith(words)
    host.setattr(environment, "binding_there", lambda: True)
    assert CliRunner().invoke(setup, []).output == "nothing is missing\n"
