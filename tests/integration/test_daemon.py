"""Guests in a system libvirtd: whose they are, what is left of them, and that nothing else there changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import SYSTEM, Host, Hosts
from tare_bench import cgroups, leases, processes, registry, sweep
from tare_bench.drivers import libvirt_daemon
from tare_bench.drivers.libvirt_kvm import KvmDriver

pytestmark = pytest.mark.needs(SYSTEM)


@pytest.fixture
def host(hosts: Hosts) -> Host:
    return hosts[SYSTEM]


@pytest.fixture
def driver(host: Host) -> KvmDriver:
    assert isinstance(host.driver, KvmDriver)
    return host.driver


def _domains(driver: KvmDriver) -> list[str]:
    return [domain.name() for domain in driver.home.connection.listAllDomains()]


def test_qemu_is_the_daemons_unprivileged_user_and_its_own_process(host: Host, driver: KvmDriver) -> None:
    with host.created() as live:
        assert live.instance is not None
        where = live.instance.accounts()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{where.pids[0]}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(driver.home.owner.uid)}
        assert driver.home.owner.uid != 0
        assert where.engine, "the daemon serves all guests"
        assert where.engine[0] not in where.pids
        assert all(cgroups.pids([folder]) for folder in where.cgroups)


def test_the_images_keep_their_owners_and_the_log_goes_with_the_guest(host: Host, driver: KvmDriver) -> None:
    assert driver.image is not None
    paths = (driver.image.kernel, driver.image.initrd, driver.image.disk)
    before = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths]
    with host.booted() as live:
        during = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths]
        log = driver.home.log_of(f"tare-{host.context.run}-{live.name}")
        assert log.is_file()
    assert [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in paths] == during == before
    assert not log.exists()


def test_its_pid_is_known_without_a_pid_file_too(
    host: Host, driver: KvmDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with host.created() as live:
        name = f"tare-{host.context.run}-{live.name}"
        known = driver.home.pid_of(name)
        assert known is not None
        monkeypatch.setattr(libvirt_daemon, "SYSTEM_STATE", tmp_path)
        assert driver.home.pid_of(name) == known
        assert driver.home.pid_of("tare-another") is None


def test_where_its_pid_cannot_be_known_no_memory_is_claimed(
    host: Host, driver: KvmDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(driver.home), "pid_of", lambda self, domain: None)
    with host.created() as live:
        assert live.instance is not None
        where = live.instance.accounts()
        assert (where.pids, where.cgroups) == ((), ())
        assert "does not say which process" in where.unavailable
    assert host.traces(live.name) == []


def test_guests_of_dead_runs_are_found_by_label(
    host: Host, driver: KvmDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweeper = registry.driver("kvm")
    with host.created() as live:
        name = f"tare-{host.context.run}-{live.name}"
        assert name not in [each.name for each in sweeper.leftovers([host.context.run])]
        [found] = [each for each in sweeper.leftovers(["another"]) if each.name == name]
        with monkeypatch.context() as elsewhere:
            # another user's runs, alive or dead, are that user's: we cannot tell which they are
            elsewhere.setenv("TARE_RUN", str(tmp_path))
            assert sweeper.leftovers([]) == []
        found.remove()
        found.remove()
        assert name not in _domains(driver)
    assert host.traces(live.name) == []


def test_a_guest_without_our_label_is_nobodys_to_remove(host: Host, driver: KvmDriver) -> None:
    definition = "<domain type='qemu'><name>a-users</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    domain = driver.home.connection.createXML(definition, 1)  # paused
    try:
        assert libvirt_daemon.labels_of(domain) == {}
        assert "a-users" not in [each.name for each in registry.driver("kvm").leftovers([])]
    finally:
        domain.destroy()


KILLED = """
import sys
from tare_bench import leases, rootfs
from tare_bench.driver import RunContext
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.model import Spec

driver, lease = KvmDriver(), leases.take(sys.argv[1])
driver.options = {"uri": sys.argv[2]}
driver.open(RunContext(sys.argv[1], lease.folder, lease, (0,)))
driver.prepare(rootfs.build())
driver.use("tcg")
instance = driver.create(Spec(vcpus=1, memory=256 << 20), name="left")
print(*instance.accounts().pids, flush=True)
sys.stdin.read()
"""


def test_the_daemon_ends_a_killed_runs_guest_and_a_sweep_removes_its_files(driver: KvmDriver) -> None:
    run = f"dead-{os.getpid()}"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, run, driver.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        pid = int(child.stdout.readline().split()[0])
        started = processes.start_time(pid)
        assert f"tare-{run}-left" in _domains(driver)
        child.kill()
    assert processes.wait_gone(pid, started, 60)
    dead = [each for each in leases.dead_runs() if each.run == run]
    try:
        things = list(sweep.of_run(dead[0]))
        assert {"file", "folder"} <= {thing.kind for thing in things}
        assert not leases.remove_all([(thing.name, thing.remove) for thing in things])
    finally:
        for each in dead:
            each.close()
    assert not [name for name in _domains(driver) if run in name]
    assert not dead[0].folder.exists()
