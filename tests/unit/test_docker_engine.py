"""What the Docker driver says before anything runs, and how its drivers share a private engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tare_bench import cgroups, registry, system
from tare_bench.driver import RunContext
from tare_bench.drivers import docker_commit, docker_engine, private_engine
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.errors import UsageError
from tare_bench.model import NetworkPath

HERE = {"KernelVersion": os.uname().release, "Name": os.uname().nodename}


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(system, "engine_sockets", lambda: [tmp_path / "none.sock"])


def codes(**info: Any) -> list[str]:
    return [each.code for each in docker_engine.notices({**HERE, **info})]


def test_another_hosts_engine_is_noticed() -> None:
    assert codes() == []
    assert codes(KernelVersion="6.10.14-linuxkit") == codes(Name="docker-desktop") == ["remote-engine"]
    [notice] = docker_engine.notices({**HERE, "Name": "docker-desktop"})
    assert "docker-desktop" in notice.message
    assert notice.hint


@pytest.mark.parametrize(("driver", "words"), [("none", "are void"), ("systemd", "may lack limits")])
def test_a_rootless_engines_limits_are_noticed(driver: str, words: str) -> None:
    info = {**HERE, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"], "CgroupDriver": driver}
    [notice] = docker_engine.notices(info)
    assert notice.code == "rootless-engine"
    assert words in notice.message


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("runtime", "ok"),
    [
        ("runc", True),
        ("io.containerd.runc.v2", True),
        ("io.containerd.kata.v2", True),
        ("crun", True),
        ("youki", False),
    ],
)
def test_a_private_engine_has_the_runtimes_that_are_installed(
    monkeypatch: pytest.MonkeyPatch, runtime: str, ok: bool
) -> None:
    monkeypatch.setattr(private_engine, "possible", lambda: True)
    monkeypatch.setattr(private_engine.shutil, "which", lambda name: "/usr/bin/crun" if name == "crun" else None)
    monkeypatch.setattr(cgroups, "writable", lambda: True)
    support = registry.driver("docker", {"runtime": runtime}).check()
    assert support.rungs[0].ok
    assert "none is named and none answers" in support.rungs[0].seen
    assert support.ok is ok
    assert ok or "it has runc, io.containerd.runc.v2, crun" in support.rungs[-1].seen


@pytest.mark.usefixtures("no_engine")
def test_a_private_engine_needs_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_engine, "possible", lambda: True)
    monkeypatch.setattr(cgroups, "writable", lambda: False)
    failed = registry.driver("docker").check().failed
    assert failed is not None
    assert failed.name == "control groups"
    assert "/sys/fs/cgroup" in failed.fix


@pytest.mark.usefixtures("no_engine")
def test_without_any_engine_the_first_rung_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private_engine, "possible", lambda: False)
    failed = registry.driver("docker").check().failed
    assert failed is not None
    assert str(tmp_path / "none.sock") in failed.seen
    assert "tare setup" in failed.fix


def test_a_named_engine_that_is_dead_fails_the_ladder_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_engine, "possible", lambda: True)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    failed = registry.driver("docker").check().failed
    assert failed is not None
    assert "unix:///nowhere/docker.sock" in failed.seen
    assert "DOCKER_HOST" in failed.seen
    assert registry.driver("docker").leftovers([]) == []


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        registry.driver("docker", {"runtme": "runc"})
    assert "runtime" in caught.value.hint


class Counted:
    """Stands in for a private engine."""

    def __init__(self, context: RunContext) -> None:
        self.run_folder, self.closed = context.folder, 0

    def close(self) -> None:
        self.closed += 1


def test_the_drivers_of_one_run_share_a_private_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private_engine, "PrivateEngine", Counted)
    one, other = (RunContext(name, tmp_path / name, None, (0,)) for name in ("one", "other"))  # type: ignore[arg-type]
    engine, first = private_engine.share(one)
    assert first
    assert private_engine.share(one) == (engine, False)
    apart, first = private_engine.share(other)
    assert apart is not engine
    assert first
    private_engine.release(engine)
    assert engine.closed == 0  # type: ignore[attr-defined]
    private_engine.release(engine)
    private_engine.release(apart)
    assert engine.closed == apart.closed == 1  # type: ignore[attr-defined]
    again, first = private_engine.share(one)
    assert again is not engine
    assert first
    private_engine.release(again)


@pytest.mark.parametrize(
    ("path", "private", "why"),
    [
        ("none", True, ""),
        ("user", False, "no VMM"),
        ("host", True, "engine of your own"),
        ("nat", True, "engine of your own"),
    ],
)
def test_what_network_an_engine_cannot_give_it_says(path: NetworkPath, private: bool, why: str) -> None:
    driver = DockerDriver()
    if private:
        driver._engine = Counted(RunContext("r", Path(), None, (0,)))  # type: ignore[assignment, arg-type]
    assert why in driver.refuses(path)
    assert bool(driver.refuses(path)) == bool(why)


def test_an_images_layers_are_the_folders_that_overlay2_names() -> None:
    layers = {"UpperDir": "/d/3/diff", "LowerDir": "/d/2/diff:/d/1/diff", "MergedDir": "/d/3/merged"}
    found = docker_commit.layer_files({"GraphDriver": {"Name": "overlay2", "Data": layers}})
    assert list(map(str, found)) == ["/d/3/diff", "/d/2/diff", "/d/1/diff"]
    assert docker_commit.layer_files({"GraphDriver": {"Name": "vfs", "Data": None}}) == []
    assert docker_commit.layer_files({}) == [], "as with containerd's store"
