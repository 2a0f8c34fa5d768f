"""What the host lacks, and how `tare setup` says and does it; nothing is installed here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tare_bench import apt, system, tool
from tare_bench.cli.setup import command, consent, setup
from tare_bench.errors import ImageError, TareError

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n'
UBUNTU = "NAME=Ubuntu\nID=ubuntu\nVERSION_CODENAME=noble\n"


def absent(name: str, why: str = "for a reason") -> system.Package:
    return system.Package(name, why, lambda: False)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Debian with root, on which two packages are missing and one step is to be taken."""
    monkeypatch.delenv("TARE_YES", raising=False)
    step = system.Step("do it", "since it must be", (("true",),))
    monkeypatch.setattr(system, "distribution", lambda: system.Distribution("debian", "trixie", "13", "Debian"))
    monkeypatch.setattr(system, "missing", lambda *, tests=False: [absent("cpio"), absent("docker.io")])
    monkeypatch.setattr(system, "steps", lambda: [step])
    monkeypatch.setattr(system, "is_root", lambda: True)
    return monkeypatch


@pytest.fixture
def installed(host: pytest.MonkeyPatch) -> list[str]:
    """What has been installed."""
    done: list[str] = []

    def install(names: Sequence[str], **_: Any) -> list[apt.Failure]:
        done.extend(names)
        return [apt.Failure(name, "no such package") for name in names if name == "none"]

    host.setattr(apt, "install", install)
    return done


def test_os_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text(DEBIAN)
    found = system.distribution(tmp_path / "os-release")
    assert (found.id, found.codename, found.version) == ("debian", "trixie", "13")
    assert found.known
    assert not system.distribution(tmp_path / "none").known


def test_each_package_is_named_once_and_has_a_reason() -> None:
    names = [package.name for package in system.packages(tests=True)]
    assert len(set(names)) == len(names)
    assert all(package.why for package in system.packages(tests=True))
    assert "libvirt-daemon-system" not in names


def test_ubuntus_chromium_is_not_a_package(tmp_path: Path) -> None:
    (tmp_path / "debian").write_text(DEBIAN)
    (tmp_path / "ubuntu").write_text(UBUNTU)
    for name, there in (("debian", True), ("ubuntu", False)):
        names = [package.name for package in system.packages(tests=True, os_release=tmp_path / name)]
        assert ("chromium" in names) is there


def test_only_what_nothing_serves_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "find", lambda name: None if name == "cpio" else f"/bin/{name}")
    names = [package.name for package in system.missing()]
    assert "cpio" in names
    assert "mmdebstrap" not in names
    assert "docker.io" not in names  # a dockerd is there, whoever packaged it


def test_a_named_engine_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "find", lambda name: None)
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.invalid:1")
    assert system.engine_there()


@pytest.mark.parametrize("names", ["environment", "settings"])
def test_a_context_names_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: str) -> None:
    monkeypatch.setattr(tool, "find", lambda name: None)
    monkeypatch.setattr(system, "engine_sockets", lambda: [tmp_path / "none.sock"])
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    assert not system.engine_there()
    if names == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    else:
        (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
    assert system.engine_there()


def test_the_users_own_socket_is_looked_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/mine")
    own = Path(f"/run/user/{os.getuid()}/docker.sock")
    assert system.engine_sockets() == [Path("/var/run/docker.sock"), Path("/run/mine/docker.sock"), own]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own.parent))
    assert system.engine_sockets() == [Path("/var/run/docker.sock"), own]


@pytest.mark.parametrize(("mode", "count"), [(0o600, 1), (0o660, 0)])
def test_the_device_is_opened_only_where_no_rule_has_been_at_work(tmp_path: Path, mode: int, count: int) -> None:
    device = tmp_path / "kvm"
    device.touch(mode=mode)
    device.chmod(mode)
    assert len(system._kvm_access(device)) == (count if os.geteuid() == 0 else 0)
    assert system._kvm_access(tmp_path / "none") == []


def test_accounts_are_made_only_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_group_there", lambda name: name == "kvm")
    monkeypatch.setattr(system, "_user_there", lambda name: False)
    (step,) = system._accounts()
    assert [words[0] for words in step.commands] == ["groupadd", "useradd"]
    monkeypatch.setattr(system, "_group_there", lambda name: True)
    monkeypatch.setattr(system, "_user_there", lambda name: True)
    assert system._accounts() == []


def test_setup_says_what_and_why_and_then_does_it(installed: list[str]) -> None:
    result = CliRunner().invoke(setup)
    assert result.exit_code == 0, result.output
    assert "for a reason" in result.output
    assert "since it must be" in result.output
    assert installed == ["cpio", "docker.io"]


def test_a_dry_run_does_nothing(installed: list[str]) -> None:
    result = CliRunner().invoke(setup, ["--dry-run"])
    assert result.exit_code == 0
    assert "cpio" in result.output
    assert installed == []


def test_without_root_the_one_command_is_printed(host: pytest.MonkeyPatch, installed: list[str]) -> None:
    host.setattr(system, "is_root", lambda: False)
    result = CliRunner().invoke(setup)
    assert result.exit_code == 0
    assert "sudo sh -c 'apt-get install --no-install-recommends cpio docker.io && true'" in result.output
    assert installed == []


def test_no_is_an_answer(host: pytest.MonkeyPatch, installed: list[str]) -> None:
    host.setenv("TARE_YES", "0")
    assert CliRunner().invoke(setup).exit_code == 0
    assert installed == []


def test_what_cannot_be_had_is_named(host: pytest.MonkeyPatch, installed: list[str]) -> None:
    host.setattr(system, "missing", lambda *, tests=False: [absent("none"), absent("cpio")])
    result = CliRunner().invoke(setup, ["--yes"])
    assert isinstance(result.exception, TareError)
    assert result.exception.brief == "not installed: none"
    assert installed == ["none", "cpio"]


def test_another_distribution_is_told_what_to_look_for(host: pytest.MonkeyPatch, installed: list[str]) -> None:
    host.setattr(system, "distribution", lambda: system.Distribution("fedora", "", "41", "Fedora"))
    result = CliRunner().invoke(setup)
    assert isinstance(result.exception, TareError)
    assert "tare check" in result.exception.hint
    assert installed == []


def test_nothing_missing(host: pytest.MonkeyPatch) -> None:
    host.setattr(system, "missing", lambda *, tests=False: [])
    host.setattr(system, "steps", list)
    assert CliRunner().invoke(setup).output == "nothing is missing\n"


def test_a_single_command_needs_no_shell() -> None:
    assert command([absent("cpio")], []) == "sudo apt-get install --no-install-recommends cpio"


@pytest.mark.parametrize(("answer", "expected"), [("1", True), ("0", False)])
def test_the_environment_answers_beforehand(monkeypatch: pytest.MonkeyPatch, answer: str, expected: bool) -> None:
    monkeypatch.setenv("TARE_YES", answer)
    assert consent("really?") is expected


class Apt:
    """Stands in for the programs: knows some packages, of which some only after an update."""

    def __init__(self, known: set[str], after_update: set[str]) -> None:
        self.known, self._after_update = known, after_update
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], *, env: Mapping[str, str], seconds: float) -> bytes:
        assert env["DEBIAN_FRONTEND"] == "noninteractive"
        self.ran.append(" ".join(word for word in argv[1:] if not word.startswith("--")))
        if argv[-1] == "update":
            self.known |= self._after_update
        elif unknown := [name for name in argv[argv.index("install") + 1 :] if name not in self.known]:
            raise ImageError("apt-get: exit status 100", details=f"E: Unable to locate package {unknown[0]}")
        return b""


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(apt, "_LISTS", tmp_path)
    (tmp_path / "mirror_Packages.lz4").touch()
    return tmp_path


def run_install(monkeypatch: pytest.MonkeyPatch, fake: Apt, *names: str) -> list[apt.Failure]:
    monkeypatch.setattr(tool, "run", fake.run)
    return apt.install(names, say=lambda text: None)


def test_known_packages_need_no_update(monkeypatch: pytest.MonkeyPatch, lists: Path) -> None:
    fake = Apt({"a", "b"}, set())
    assert run_install(monkeypatch, fake, "a", "b") == []
    assert fake.ran == ["install a b"]


def test_missing_lists_are_fetched_first(monkeypatch: pytest.MonkeyPatch, lists: Path) -> None:
    (lists / "mirror_Packages.lz4").unlink()
    fake = Apt(set(), {"a"})
    assert run_install(monkeypatch, fake, "a") == []
    assert fake.ran == ["update", "install a"]


def test_an_unknown_package_is_looked_for_in_new_lists(monkeypatch: pytest.MonkeyPatch, lists: Path) -> None:
    fake = Apt(set(), {"a"})
    assert run_install(monkeypatch, fake, "a") == []
    assert fake.ran == ["install a", "update", "install a"]


def test_the_rest_is_installed_where_one_cannot_be_had(monkeypatch: pytest.MonkeyPatch, lists: Path) -> None:
    fake = Apt({"a"}, set())
    assert run_install(monkeypatch, fake, "a", "b") == [apt.Failure("b", "E: Unable to locate package b")]
    assert fake.ran[-2:] == ["install a", "install b"]


def test_only_the_proxies_that_are_set_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = b'Acquire::http "";\nAcquire::http::Proxy "http://proxy.invalid:3142";\n'
    monkeypatch.setattr(tool, "run", lambda argv: dump)
    assert apt.proxies() == 'Acquire::http::Proxy "http://proxy.invalid:3142";\n'


def test_an_ordinary_user_without_namespaces_is_told_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_root", lambda: False)
    monkeypatch.setattr(tool, "AS_MAPPED_ROOT", ("sh", "-c", "echo denied >&2; exit 1"))
    for restricted, fix in ((True, f"sysctl -w {system.APPARMOR_SWITCH}=0"), (False, "/etc/subuid")):
        monkeypatch.setattr(system, "restricts_namespaces", lambda restricted=restricted: restricted)
        with pytest.raises(ImageError) as caught:
            system.root_within()
        assert caught.value.details == "denied"
        assert fix in caught.value.hint


def test_who_may_map_users_does_so_and_root_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "AS_MAPPED_ROOT", ("env",))
    monkeypatch.setattr(system, "is_root", lambda: False)
    assert system.root_within() == ("env",)
    monkeypatch.setattr(system, "is_root", lambda: True)
    assert system.root_within() == ()


@pytest.mark.parametrize(("written", "seen"), [("1\n", True), ("0\n", False), (None, False)])
def test_apparmors_switch_is_read(tmp_path: Path, written: str | None, seen: bool) -> None:
    switch = tmp_path / "kernel/apparmor_restrict_unprivileged_userns"
    switch.parent.mkdir()
    if written is not None:
        switch.write_text(written)
    assert system.restricts_namespaces(tmp_path) is seen
