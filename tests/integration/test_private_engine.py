"""The private Docker engine: it disturbs nothing that is there, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tare_bench import cgroups, leases, processes
from tare_bench.driver import RunContext
from tare_bench.drivers.private_engine import PrivateEngine
from tare_bench.errors import DriverUnavailable

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
