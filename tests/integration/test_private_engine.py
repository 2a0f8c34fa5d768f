"""The private Docker engine: it disturbs nothing that is there, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import built
from tare_bench import cgroups, leases, lifecycle, processes, system
from tare_bench.driver import RunContext
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.drivers.private_engine import PrivateEngine
from tare_bench.errors import DriverUnavailable
from tare_bench.lifecycle import Live
from tare_bench.model import Spec

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("root")]

# A second dockerd with --bridge=none deletes a bridge named docker0 that it finds. The test makes one in a network
# namespace of its own and starts the engine from there: what the host has is not touched either way.
BESIDE_A_BRIDGE = """
import subprocess, sys
from tare_bench import leases
from tare_bench.driver import RunContext
from tare_bench.drivers.private_engine import PrivateEngine

subprocess.run(["ip", "link", "add", "docker0", "type", "bridge"], check=True)
lease = leases.take(sys.argv[1])
engine = PrivateEngine(RunContext(sys.argv[1], lease.folder, lease, (0,)))
engine.close()
lease.release()
subprocess.run(["ip", "link", "show", "docker0"], check=True)
"""


def test_another_engines_bridge_survives() -> None:
    command = ["unshare", "-n", sys.executable, "-c", BESIDE_A_BRIDGE, f"bridge-{os.getpid()}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "docker0" in ended.stdout


def test_it_has_its_own_namespaces_and_leaves_nothing(tmp_path: Path) -> None:
    run = f"engine-{os.getpid()}"
    lease = leases.take(run)
    engine = PrivateEngine(RunContext(run, lease.folder, lease, (0,)))
    try:
        pid = engine.pid
        assert pid is not None
        for kind in ("mnt", "net"):
            assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
        assert os.getsid(pid) != os.getsid(0), "Ctrl-C would reach it"
        below = processes.descendants(pid)
        with pytest.raises(DriverUnavailable, match="Another run's private Docker engine"):
            PrivateEngine(RunContext(run, tmp_path, lease, (0,)))
    finally:
        engine.close()
        engine.close()
        lease.release()
    assert all(processes.start_time(each) is None for each in (pid, *below))
    assert not [folder for folder in cgroups.roots(engine.cgroup) if folder.exists()]
    assert not lease.folder.exists()


def test_arms_with_different_runtimes_share_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(system, "engine_sockets", lambda: [tmp_path / "none.sock"])
    lease = leases.take(f"arms-{os.getpid()}")
    context = RunContext(lease.folder.name, lease.folder, lease, (0,))
    arms = [DockerDriver(), DockerDriver()]
    arms[0].options, arms[1].options = {"runtime": "runc"}, {"runtime": "io.containerd.runc.v2"}
    try:
        for arm in arms:
            arm.open(context)
            arm.prepare(built())
        assert arms[0]._engine is not None
        pid = arms[0]._engine.pid
        assert pid is not None
        assert arms[1]._engine is arms[0]._engine
        below = processes.descendants(pid)
        with booted(arms[0], "a") as one, booted(arms[1], "b") as other:
            for live in (one, other):
                assert live.instance is not None
                assert live.instance.accounts().engine == (pid, *below)
        for _ in range(2):
            arms[0].close()
        with booted(arms[1], "c") as live:
            assert live.run("true", seconds=60).status == 0
    finally:
        for arm in (*arms, *arms):
            arm.close()
        lease.release()
    assert all(processes.start_time(each) is None for each in (pid, *below))


@contextlib.contextmanager
def booted(driver: DockerDriver, name: str) -> Iterator[Live]:
    spec = Spec(vcpus=1, memory=256 << 20, rootfs=built().digest)
    with lifecycle.created(driver, spec, name=name, clock=driver.clock, seconds=60) as live:
        lifecycle.boot(live)
        yield live


ABANDONED = """
import os, signal, sys
from tare_bench import leases
from tare_bench.driver import RunContext
from tare_bench.drivers.private_engine import PrivateEngine

lease = leases.take(sys.argv[1])
engine = PrivateEngine(RunContext(sys.argv[1], lease.folder, lease, (0,)))
print(engine.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_when_its_run_is_killed() -> None:
    run = f"abandoned-{os.getpid()}"
    child = subprocess.Popen([sys.executable, "-c", ABANDONED, run], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        started = processes.start_time(pid)
    assert processes.wait_gone(pid, started, 60)
    dead = [each for each in leases.dead_runs() if each.run == run]
    assert len(dead) == 1
    owned = {thing.kind for thing in dead[0].owned()}
    assert {"process", "cgroup", "engine-data"} <= owned
    from tare_bench import sweep

    assert not leases.remove_all([(thing.name, thing.remove) for thing in sweep.of_run(dead[0])])
    dead[0].close()
    assert not dead[0].folder.exists()
