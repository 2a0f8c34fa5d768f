"""Whose CPU time is an engine's: by who listens, and never by a program's name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench.drivers import docker_daemons
from tare_bench.drivers.docker_daemons import Daemons

LISTEN = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
sys.stdin.read()
"""


class Listener:
    """A process that listens at that socket."""

    def __init__(self, path: Path, *words: str) -> None:
        command = [sys.executable, "-c", LISTEN, str(path), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.url, self.pid = f"unix://{path}", self.process.pid

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "docker.sock")
    yield listener
    listener.end()


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "containerd.sock")
    yield listener
    listener.end()


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Listener]:
    """What a shim's arguments look like."""
    listener = Listener(tmp_path / "shim.sock", "-id", "x", "-address", str(tmp_path / "containerd.sock"))
    yield listener
    listener.end()


def test_the_engine_listens_at_its_socket(dockerd: Listener) -> None:
    assert docker_daemons.listeners(dockerd.url) == [dockerd.pid]
    assert docker_daemons.listeners("tcp://127.0.0.1:1") == []
    assert docker_daemons.listeners(f"{dockerd.url}.none") == []


def test_a_socket_that_was_handed_on_is_its_holders(dockerd: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd has made it, the kernel names PID 1 as the one who listens."""
    monkeypatch.setattr(docker_daemons, "_peer", lambda address: 1)
    assert docker_daemons.listeners(dockerd.url) == [dockerd.pid]


def test_the_shims_address_leads_to_containerd(dockerd: Listener, containerd: Listener, shim: Listener) -> None:
    daemons = Daemons(dockerd.url)
    assert daemons.serving(shim.pid) == (dockerd.pid, containerd.pid)
    assert daemons.serving(shim.pid) == (dockerd.pid, containerd.pid)


def test_all_or_none(dockerd: Listener, containerd: Listener, shim: Listener, tmp_path: Path) -> None:
    assert Daemons(f"unix://{tmp_path}/none.sock").serving(shim.pid) == ()
    daemons = Daemons(dockerd.url)
    assert daemons.serving(os.getpid()) == ()  # no shim: it names no containerd
    assert daemons.serving(shim.pid)
    containerd.end()
    assert daemons.serving(shim.pid) == ()


def test_a_private_engine_is_itself_and_what_it_started() -> None:
    started = "import subprocess, sys; c = subprocess.Popen(['cat']); print(c.pid, flush=True); c.wait()"
    with subprocess.Popen(
        [sys.executable, "-c", started], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        child = int(engine.stdout.readline())
        daemons = Daemons("unix:///none", engine.pid)
        assert daemons.serving(os.getpid()) == (engine.pid, child)
        engine.communicate()
        assert daemons.serving(os.getpid()) == ()
