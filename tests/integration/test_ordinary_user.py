"""Guests of an ordinary user: in the embedded driver, in a session daemon that libvirt starts for them, in root's."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hosts import SYSTEM, Host, Hosts
from tare_bench import processes
from tare_bench.driver import GRANTED
from tare_bench.drivers.libvirt_kvm import KvmDriver

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("kvm")]

SECONDS = 300

# Root imports, since the interpreter may be root's own to read; then it is root no more.
SCRIPT = """
import json, os, sys
from pathlib import Path
import libvirt, libvirt_qemu
from tare_bench import footprint, leases, lifecycle, processes
from tare_bench.driver import RunContext
from tare_bench.drivers import guest_image, libvirt_daemon, libvirt_stream
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.model import Spec

uri, image, uid, gid, kvm = json.loads(sys.argv[1])
os.setgroups([kvm]), os.setresgid(gid, gid, gid), os.setresuid(uid, uid, uid)

driver, lease = KvmDriver(), leases.take("ordinary")
driver.options = {"uri": uri}
context = RunContext("ordinary", lease.folder, lease, tuple(sorted(os.sched_getaffinity(0)))[-1:])
beside = KvmDriver()
if uri == "qemu:///session":
    libvirt_daemon.opened(uri).close()  # as `check` does: libvirt starts the daemon
    beside.open(context)  # which has libvirt find no daemon by itself any more
driver.open(context)
paths = {key: Path(image[key]) for key in ("kernel", "initrd", "network", "disk")}
driver.image = guest_image.GuestImage(**{**image, **paths})
driver.use("tcg")
spec = Spec(vcpus=1, memory=256 << 20)
with lifecycle.created(driver, spec, name="one", clock=driver.clock, seconds=180) as live:
    lifecycle.boot(live)
    assert lifecycle.read_back(live) == "tcg"
    output = live.run("id -u", seconds=60).checked().stdout.decode().strip()
    where = live.instance.accounts()
    pid = where.pids[0]
    seen = {
        "uid": Path(f"/proc/{pid}").stat().st_uid, "output": output, "rows": sorted(footprint.memory(where).rows),
        "cgroups": [str(each) for each in where.cgroups], "engine": list(where.engine), "pid": pid,
        "started": processes.start_time(pid), "disk": footprint.allocated(where.files),
        "granted": dict(live.instance.granted()), "cpus": list(context.cpus), "stopped": lifecycle.stop(live) > 0,
    }
driver.close()
beside.close()
lease.release()
seen["left"] = [str(each) for name in ("TARE_RUN", "TARE_CACHE") for each in Path(os.environ[name]).rglob("*ordinary*")]
seen["logs"] = [str(each) for each in Path(os.environ["XDG_CACHE_HOME"]).rglob("tare-*.log")]
print(json.dumps(seen))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Folders of an ordinary user's own, short enough for a socket."""
    owner = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="tare-", dir="/tmp") as name:
        for each in ("", "cache", "config", "state", "run", "tare"):
            folder = Path(name, each)
            folder.mkdir(exist_ok=True, mode=0o700)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield Path(name)
        _end_daemon(Path(name, "run/libvirt"))


def _end_daemon(runtime: Path) -> None:
    """libvirt's own would stay for two minutes."""
    for file in runtime.glob("*d.pid"):
        pid = int(file.read_text())
        processes.kill(pid, signum=15)
        assert processes.wait_gone(pid, None, 60)


DAEMON = pytest.mark.needs(SYSTEM)


@pytest.mark.parametrize(
    "flavour", ["embed", pytest.param("session", marks=DAEMON), pytest.param("system", marks=DAEMON)]
)
def test_a_guest_of_their_own(hosts: Hosts, home: Path, flavour: str) -> None:
    host: Host = hosts["kvm"]
    uri = f"qemu:///{flavour}"
    if flavour == "system":
        system = hosts[SYSTEM].driver
        assert isinstance(system, KvmDriver)
        uri = system.uri
    assert isinstance(host.driver, KvmDriver)
    assert host.driver.image is not None
    nobody, kvm = pwd.getpwnam("nobody"), grp.getgrnam("kvm").gr_gid
    image = asdict(host.driver.image)
    task = json.dumps([uri, image, nobody.pw_uid, nobody.pw_gid, kvm], default=str)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TARE_CACHE": str(home / "cache/tare"),
        "TARE_RUN": str(home / "tare"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, task], capture_output=True, text=True, env=environment, cwd=home,
        stdin=subprocess.DEVNULL, timeout=SECONDS, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert (seen["uid"], seen["output"], seen["stopped"]) == (nobody.pw_uid, "0", True)
    if flavour == "system":
        assert {"pss", "uss"} <= set(seen["rows"])
        assert seen["cgroups"]
    else:
        assert seen["rows"] == ["pss", "uss"], "QEMU has no cgroup of its own: nothing to split"
        assert seen["cgroups"] == []
    assert seen["disk"] > 0
    assert set(seen["granted"]) == set(GRANTED), "all of it can be read without root"
    assert seen["granted"]["cpus"] == ",".join(map(str, seen["cpus"]))
    assert seen["granted"]["memory"] == str(256 << 20)
    assert flavour != "session" or seen["engine"]
    assert processes.start_time(seen["pid"]) != seen["started"]
    assert seen["left"] == seen["logs"] == []
