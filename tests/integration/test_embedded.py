"""libvirt's embedded driver: one root a run, unprivileged, reaped by us, and nothing of the user's changed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hosts import Host, Hosts
from tare_bench import leases, lifecycle, processes, sweep
from tare_bench.clock import MonotonicClock
from tare_bench.driver import Instance
from tare_bench.drivers import libvirt_embed
from tare_bench.drivers.fake import FakeDriver
from tare_bench.errors import InstanceError
from tare_bench.model import Spec

if TYPE_CHECKING:
    from hosts import Hosts

pytestmark = pytest.mark.needs("kvm")

SPEC = Spec(vcpus=1, memory=256 << 20)
PR_GET_CHILD_SUBREAPER = 37


@pytest.fixture
def kvm(hosts: Hosts) -> Host:
    """The one that the contract uses too: libvirt's embedded driver opens one root in a process."""
    return hosts["kvm"]


def test_orphans_are_handed_to_us(kvm: Host) -> None:
    flag = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    assert flag.value == 1


def test_a_run_has_a_root_of_its_own_below_a_lock_that_it_holds(kvm: Host) -> None:
    context = kvm.context
    assert (context.folder / "libvirt/etc/qemu.conf").is_file()
    with (context.folder / "lock").open("r+") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert context.run in leases.live_runs()


def test_sockets_have_room_in_their_path(kvm: Host) -> None:
    context = kvm.context
    monitor = context.folder / "libvirt/lib/qemu" / f"domain-1000-tare-{context.run[:8]}" / "monitor.sock"
    assert len(str(monitor)) < 108


def test_a_new_root_knows_qemu_from_the_last_one(kvm: Host) -> None:
    context = kvm.context
    with kvm.created():
        pass
    libvirt_embed.keep_capabilities(context.folder / "libvirt")
    fresh = context.folder / "fresh"
    libvirt_embed.make_root(fresh, libvirt_embed.qemu_owner())
    assert list((fresh / "cache/qemu/capabilities").glob("*.xml"))


ASKED = """
import sys
from tare_bench import leases
from tare_bench.driver import RunContext
from tare_bench.drivers.libvirt_kvm import KvmDriver

driver, lease = KvmDriver(), leases.take(sys.argv[1])
context = RunContext(sys.argv[1], lease.folder, lease, (0,))
driver.open(context)
other = KvmDriver()
other.open(context)
assert other.home is driver.home
other.close()
other.close()
assert driver.home.connection.isAlive()
driver.close()
driver.close()
print((lease.folder / "libvirt").exists())
lease.release()
"""
ZOMBIE_SECONDS = 40.0
"""How long libvirt waits for one."""


def test_a_new_root_learns_qemu_without_waiting_for_zombies_and_serves_all_drivers_of_a_run(tmp_path: Path) -> None:
    environment = {**os.environ, "TARE_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", ASKED, f"asked-{os.getpid()}"]
    asked = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=ZOMBIE_SECONDS)
    assert (asked.returncode, asked.stdout) == (0, "False\n"), asked.stderr
    assert list(tmp_path.glob("libvirt/capabilities-*/*.xml"))


def test_qemu_is_unprivileged_sandboxed_and_reaped_by_us(kvm: Host) -> None:
    with kvm.created() as live:
        assert live.instance is not None
        pid = live.instance.accounts().pids[0]
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert processes.parent(pid) == os.getpid()
        lifecycle.destroy(live)
        assert not Path(f"/proc/{pid}").exists()
    assert status["Seccomp"].strip() == "2"
    if os.geteuid() == 0:
        assert "0" not in status["Uid"].split()


@pytest.mark.parametrize(("cache", "direct"), [("auto", False), ("writeback", False), ("none", True)])
def test_a_disk_is_opened_as_its_cache_mode_says(
    kvm: Host, cache: Literal["auto", "writeback", "none"], direct: bool
) -> None:
    spec = msgspec.structs.replace(kvm.spec, cache=cache)
    with lifecycle.created(kvm.driver, spec, name=f"c-{cache}", clock=kvm.driver.clock, seconds=180) as live:
        assert live.instance is not None
        where = live.instance.accounts()
        assert _opened_direct(where.pids[0], where.files[0]) is direct
        lifecycle.boot(live)


def _opened_direct(pid: int, file: Path) -> bool:
    [number] = [each.name for each in Path(f"/proc/{pid}/fd").iterdir() if each.readlink() == file]
    line = next(text for text in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines() if "flags" in text)
    return bool(int(line.split()[1], 8) & os.O_DIRECT)


def test_where_there_is_no_direct_io_a_disk_without_a_cache_is_refused(
    kvm: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *rest, **more)

    opened = os.open
    monkeypatch.setattr(os, "open", refuses)
    spec = msgspec.structs.replace(kvm.spec, cache="none")
    with pytest.raises(InstanceError, match="no direct I/O") as caught:
        kvm.driver.create(spec, name="direct")
    assert "tmpfs" in caught.value.hint
    assert kvm.traces("direct") == []


def test_images_stay_ours(kvm: Host) -> None:
    image = kvm.driver.image
    assert image is not None
    paths = (image.kernel, image.initrd, image.disk)
    before = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths]
    with kvm.created():
        during = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths]
    after = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths]
    assert before == during == after


class SlowDriver(FakeDriver):
    """One whose create blocks, as an SDK's does, until it is let go."""

    clock = MonotonicClock()

    def __init__(self) -> None:
        super().__init__()
        self.clock = MonotonicClock()
        self.began, self.go = threading.Event(), threading.Event()
        self.created_in: int | None = None
        self.destroyed = False

    def create(self, spec: Spec, *, name: str) -> Instance:
        self.created_in = threading.get_ident()
        self.began.set()
        self.go.wait(30)
        instance = super().create(spec, name=name)
        destroy = instance.destroy

        def destroyed() -> None:
            self.destroyed = True
            destroy()

        instance.destroy = destroyed  # type: ignore[method-assign]
        return instance


def test_an_interrupt_is_seen_while_an_sdk_call_blocks_and_what_it_made_is_destroyed() -> None:
    driver = SlowDriver()
    seen: list[bool] = []

    def interrupt() -> None:
        driver.began.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    def handler(signum: int, frame: object) -> None:
        seen.append(not driver.go.is_set())
        driver.go.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            lifecycle.created(driver, SPEC, name="slow", clock=driver.clock, seconds=60),
        ):
            raise AssertionError("the instance was handed out although we were interrupted")
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    assert driver.created_in != threading.get_ident(), "the call was made in the main thread"
    assert seen == [True], "the signal was seen only after the call had returned"
    assert driver.destroyed


KILLED = """
import sys
from tare_bench import leases, rootfs
from tare_bench.driver import RunContext
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.model import Spec

driver, lease = KvmDriver(), leases.take(sys.argv[1])
driver.open(RunContext(sys.argv[1], lease.folder, lease, (0,)))
driver.prepare(rootfs.build())
driver.resolve("tcg")
instance = driver.create(Spec(vcpus=1, memory=256 << 20), name="left")
print(*instance.accounts().pids, flush=True)
sys.stdin.read()
"""


def test_a_root_whose_lock_is_free_is_a_dead_runs_and_is_swept() -> None:
    run = f"dead-{os.getpid()}"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        pid = int(child.stdout.readline().split()[0])
        started = processes.start_time(pid)
        assert started is not None
        assert run in leases.live_runs()
        child.kill()
    dead = [each for each in leases.dead_runs() if each.run == run]
    try:
        assert len(dead) == 1
        things = list(sweep.of_run(dead[0]))
        assert {"process", "file", "libvirt-root", "folder"} <= {thing.kind for thing in things}
        assert not leases.remove_all([(thing.name, thing.remove) for thing in things])
    finally:
        for each in dead:
            each.close()
    assert processes.start_time(pid) != started
    assert not dead[0].folder.exists()
    assert not sweep.guest_cgroups(run)


def test_what_we_start_inherits_no_log_of_a_run(kvm: Host) -> None:
    assert "LIBVIRT_LOG_OUTPUTS" not in os.environ
