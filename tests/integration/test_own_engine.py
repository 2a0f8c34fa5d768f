"""The user's own engine: found as the docker command finds it, and everything in it left as it was."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engines
import msgspec
import pytest
from engines import Foreign
from hosts import built
from program import Tare
from tare_bench import cgroups, footprint, leases, lifecycle, paths, processes, registry, store, system
from tare_bench.driver import RunContext
from tare_bench.drivers.docker_container import DockerInstance
from tare_bench.errors import DriverUnavailable, TareError
from tare_bench.model import NetworkPath, Spec
from tare_bench.network import Outside
from tare_bench.workloads.network import NetRequest

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("root")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Foreign]:
    """An engine of another owner, which has a container, an image and a bridge."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, engines.foreign(Path(name)) as found:
        Path(name).chmod(0o711)
        engines.furnish(found.client)
        yield found


@pytest.fixture
def context() -> Iterator[RunContext]:
    lease = leases.take(f"own-{os.getpid()}")
    try:
        yield RunContext(lease.folder.name, lease.folder, lease, (0,))
    finally:
        lease.release()


def of_ours(engine: Foreign) -> list[str]:
    return [each["Names"][0] for each in engine.client.containers(all=True, filters={"label": "tare.run"})]


def test_a_run_and_a_sweep_leave_everything_of_others(
    tare: Tare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Foreign
) -> None:
    before = engine.belongings()
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    done = tare("run", "-d", "docker", "--rounds", "1", "-w", "boot", "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    run = store.load(store.find("latest", tmp_path / "results"))
    assert run.manifest.drivers["docker"]["private"] == "no"
    assert engine.url in run.manifest.drivers["docker"]["address"]
    assert [trial for trial in run.trials if trial.status != "ok"] == []

    def labelled(name: str, folder: Path) -> None:
        labels = {"tare.run": "dead", "tare.instance": name, "tare.runs": str(folder)}
        engine.client.create_container("theirs:1", ["/bin/busybox"], name=name, labels=labels)

    labelled("ours-of-a-dead-run", paths.runtime_dir())
    labelled("of-another-users-run", tmp_path)
    swept = tare("sweep")
    assert swept.returncode == 0, swept.stderr
    assert "ours-of-a-dead-run" in swept.stdout
    assert of_ours(engine) == ["/of-another-users-run"]
    engine.client.remove_container("of-another-users-run")

    assert engine.belongings() == before
    assert len(before["containers"]) == 1
    [image] = engine.our_images()
    digest = run.manifest.rootfs.digest
    assert image["RepoTags"] == [f"tare/rootfs:{digest.removeprefix('sha256:')[:16]}"]
    assert image["Labels"] == {"tare.rootfs": digest}


def test_the_engine_of_a_context_is_taken(engine: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    engines.write_context(tmp_path, "theirs", engine.url)
    by_option = registry.driver("docker", {"context": "theirs"}).check()
    monkeypatch.setenv("DOCKER_CONTEXT", "theirs")
    by_environment = registry.driver("docker").check()
    monkeypatch.delenv("DOCKER_CONTEXT")
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "theirs"}))
    by_settings = registry.driver("docker").check()
    for support, why in (
        (by_option, "the option context"),
        (by_environment, "DOCKER_CONTEXT"),
        (by_settings, "config.json"),
    ):
        assert support.ok, support.failed
        assert f"at {engine.url} (the context theirs, by " in support.rungs[0].seen
        assert why in support.rungs[0].seen


def test_a_rootless_engines_socket_is_found(engine: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "docker.sock").symlink_to(engine.url.removeprefix("unix://"))
    monkeypatch.setattr(system, "engine_sockets", lambda: [tmp_path / "none.sock", tmp_path / "docker.sock"])
    support = registry.driver("docker").check()
    assert support.ok
    assert f"{tmp_path}/docker.sock (it listens there" in support.rungs[0].seen
    assert system.engine_there()


def test_a_named_engine_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: RunContext) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    driver = registry.driver("docker")
    with pytest.raises(DriverUnavailable, match=r"none\.sock does not answer"):
        driver.open(context)
    driver.close()


def test_what_the_engine_has_not_is_refused(engine: Foreign, context: RunContext) -> None:
    driver = registry.driver("docker", {"host": engine.url, "runtime": "no-such-runtime"})
    failed = driver.check().failed
    assert failed is not None
    assert failed.name == "runtime"
    assert "runc" in failed.seen
    with pytest.raises(DriverUnavailable, match="lacks a runtime"):
        driver.open(context)
    driver.close()


@pytest.mark.parametrize("runtime", ["runc", "io.containerd.runc.v2"])
def test_a_runtime_is_what_containers_are_started_with(engine: Foreign, context: RunContext, runtime: str) -> None:
    driver = registry.driver("docker", {"host": engine.url, "runtime": runtime})
    try:
        driver.open(context)
        driver.prepare(built())
        assert driver.describe()["runtime"] == runtime
        with lifecycle.created(driver, spec(), name="r", clock=driver.clock, seconds=60) as live:
            lifecycle.boot(live)
            made = engine.client.inspect_container(f"tare-{context.run}-r")
            assert made["HostConfig"]["Runtime"] == runtime
    finally:
        driver.close()


def spec() -> Spec:
    return Spec(vcpus=1, memory=256 << 20, rootfs=built().digest)


def test_the_daemons_are_named_and_nobody_else(engine: Foreign, context: RunContext) -> None:
    driver = registry.driver("docker", {"host": engine.url})
    try:
        driver.open(context)
        driver.prepare(built())
        with lifecycle.created(driver, spec(), name="a", clock=driver.clock, seconds=60) as live:
            lifecycle.boot(live)
            assert live.instance is not None
            where = live.instance.accounts()
            assert live.instance.accounts() == where
            assert footprint.cpu_seconds(where)
    finally:
        driver.close()
    dockerd, containerd = where.engine
    assert dockerd == engine.pid
    assert processes.parent(containerd) == dockerd
    assert not {dockerd, containerd} & set(where.pids)


def test_a_container_is_told_from_others_by_its_id(
    engine: Foreign, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = registry.driver("docker", {"host": engine.url})
    try:
        driver.open(context)
        driver.prepare(built())
        with lifecycle.created(driver, spec(), name="i", clock=driver.clock, seconds=60) as live:
            lifecycle.boot(live)
            assert isinstance(live.instance, DockerInstance)
            first = live.instance.accounts()
            with monkeypatch.context() as rootless:
                # an engine without cgroups leaves the container in a cgroup that holds everything else too
                rootless.setattr(cgroups, "of_process", lambda pid: (Path("/sys/fs/cgroup/user.slice"),))
                where = live.instance.accounts()
            assert not where.unavailable
            assert where.cgroups == ()
            assert where.scattered
            assert {*first.pids, *cgroups.pids(first.cgroups)} == set(where.pids)
            # a pid of another host is some other process of this one
            elsewhere = {"State": {"Pid": os.getpid()}}
            monkeypatch.setattr(driver.client, "inspect_container", lambda container: elsewhere)  # type: ignore[attr-defined]
            where = live.instance.accounts()
            assert "another" in where.unavailable
            assert (where.pids, where.cgroups, where.files) == ((), (), ())
            assert where.image_bytes == first.image_bytes
    finally:
        driver.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_dies_is_an_error_of_ours(context: RunContext) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        driver = registry.driver("docker", {"host": f"unix://{name}/docker.sock"})
        with engines.foreign(Path(name)):
            driver.open(context)
            driver.prepare(built())
            instance = driver.create(spec(), name="orphan")
            instance.attach()
        for ask in (
            driver.describe,
            lambda: driver.prepare(built()),
            lambda: driver.create(spec(), name="b"),
            instance.start,
            instance.accounts,
            instance.stop,
            instance.destroy,
        ):
            with pytest.raises(TareError) as caught:
                ask()
            assert caught.value.details
        assert driver.leftovers([]) == []
        assert driver.check().failed is not None
        driver.close()
    del caught, ask
    gc.collect()  # now, and not in another test: no call that finds nobody may leave a socket open


@pytest.mark.needs("netns")
@pytest.mark.parametrize("path", ["bridge", "host", "nat"])
def test_a_container_has_the_network_that_was_asked_for(
    engine: Foreign, context: RunContext, path: NetworkPath
) -> None:
    """Its own bridge, and what users have by default: reached from where that engine's users would reach it."""
    outside = Outside(context.folder, built().tree)
    driver, before = registry.driver("docker", {"host": engine.url}), engine.belongings()
    try:
        outside.open()
        driver.open(dataclasses.replace(context, outside=outside))
        driver.prepare(built())
        assert driver.refuses(path) == ""
        wanted = msgspec.structs.replace(spec(), network=path)
        with lifecycle.created(driver, wanted, name="n", clock=driver.clock, seconds=60) as live:
            lifecycle.boot(live)
            assert live.instance is not None
            if path != "host":  # this engine is boxed in: its host's network is not ours
                assert live.instance.granted()["network"] == path
            assert bool(live.instance.address) == ("network" in live.milestones) == (path != "host")
            measured = NetRequest().measure_work(live, {"connections": 1}, 100)
            assert "net-request.rate" in {each.metric for each in measured.samples}
    finally:
        driver.close()
        outside.close()
    assert engine.belongings()["bridges"] == before["bridges"]


AS_A_MEMBER = """
import json, os, sys
from pathlib import Path
from tare_bench import footprint, leases, lifecycle, registry
from tare_bench.driver import RunContext
from tare_bench.model import Spec
from tare_bench.rootfs import Rootfs
from tare_bench.workloads.disk import Disk
from tare_bench.workloads.memory import Memory

url, digest = sys.argv[1:]
lease = leases.take("member")
driver = registry.driver("docker", {"host": url})
assert driver.check().ok
driver.open(RunContext("member", lease.folder, lease, (0,)))
driver.prepare(Rootfs(digest, Path("/nonexistent"), 0, "", {}))
with lifecycle.created(driver, Spec(vcpus=1, memory=256 << 20), name="m", clock=driver.clock, seconds=60) as live:
    lifecycle.boot(live)
    found = {each.name: each.measure(live, {}) for each in (Memory(), Disk())}
    where = live.instance.accounts()
    # who serves containerd's socket is root's to know: no engine then, rather than a half of it
    assert where.cgroups and not where.engine and footprint.cpu_seconds(where) is None
driver.close()
lease.release()
print(json.dumps({name: [{s.metric: s.value for s in m.samples}, m.facts] for name, m in found.items()}))
"""


def test_a_member_of_the_group_measures_without_root(
    engine: Foreign, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        os.chown(home, 65534, engines.GROUP)
        driver = registry.driver("docker", {"host": engine.url})
        driver.open(context)
        driver.prepare(built())
        driver.close()
        monkeypatch.setenv("TARE_RUN", f"{home}/run")
        monkeypatch.setenv("HOME", home)
        member = ["setpriv", "--reuid=65534", f"--regid={engines.GROUP}", "--clear-groups"]
        done = subprocess.run(
            [*member, sys.executable, "-c", AS_A_MEMBER, engine.url, built().digest],
            capture_output=True, text=True, check=False, cwd=home, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (memory, memory_facts), (disk, disk_facts) = json.loads(done.stdout).values()
    assert "memory.pss" not in memory  # not there, and never a zero
    assert "needs root" in memory_facts["unreadable"]
    assert memory.get("memory.anon", 1) > 0
    assert disk["disk.image"] > 50 << 20
    assert "disk.instance" not in disk
    assert "need root" in disk_facts["instance"]


BOOT_ONE = """
import sys
from pathlib import Path
from tare_bench import leases, lifecycle, registry
from tare_bench.driver import RunContext
from tare_bench.model import Spec
from tare_bench.rootfs import Rootfs

lease = leases.take("tls")
driver = registry.driver("docker", {"context": "tls"})
support = driver.check()
assert support.ok, support.failed
print(support.rungs[0].seen)
driver.open(RunContext("tls", lease.folder, lease, (0,)))
driver.prepare(Rootfs(sys.argv[1], Path("/nonexistent"), 0, "", {}))
with lifecycle.created(driver, Spec(vcpus=1, memory=256 << 20), name="t", clock=driver.clock, seconds=60) as live:
    lifecycle.boot(live)
    print(len(live.run("head -c 4000000 /dev/zero", seconds=60).checked().stdout))
driver.close()
lease.release()
assert not registry.driver("docker", {"host": "tcp://127.0.0.1:2376"}).check().ok
"""


def test_the_tls_material_of_a_context_is_used(
    tmp_path: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, cert, key = _certificates(tmp_path)
    engines.write_context(tmp_path, "tls", "tcp://127.0.0.1:2376", ca, cert, key)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(key))  # which requests would otherwise prefer
    listens = ["--host=tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={ca}", f"--tlscert={cert}"]
    listens.append(f"--tlskey={key}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, engines.foreign(Path(name), *listens) as engine:
        driver = registry.driver("docker", {"host": engine.url})
        driver.open(context)
        driver.prepare(built())
        driver.close()
        inside = ["nsenter", "-t", str(engine.pid), "-n", sys.executable, "-c", BOOT_ONE, built().digest]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "tcp://127.0.0.1:2376 (the context tls, by the option context)" in done.stdout
    assert done.stdout.split()[-1] == "4000000"


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """One certificate that is its own authority, for both ends."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *names], check=True, capture_output=True)
    ca = folder / "ca.pem"
    ca.write_bytes(cert.read_bytes())
    return ca, cert, key
