"""Whole hosts that lack something: what can be done is done, and the rest is named with what to do about it.

Each is made in a mount namespace (or a network namespace, or as an ordinary user): nothing of the real host changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import leftovers
import pytest
from hosts import built
from needs import TARE, lacking
from tare_bench import cgroups, leases, paths, processes, store
from tare_bench.driver import RunContext
from tare_bench.drivers.private_engine import PrivateEngine
from tare_bench.model import Run

pytestmark = pytest.mark.needs("root")

RUN = ("run", "--rounds", "1", "-w", "boot,memory")
UID = 64997
GID = 64998
"""Of nobody on any host, so that whatever runs as them is a test's. No account is made."""

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Host:
    """A host as a command sees it: lines of shell that make it, namespaces, environment, user."""

    work: Path
    lines: Sequence[str] = ()
    namespaces: Sequence[str] = ("--mount",)
    environment: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    """Variables that are not set."""
    user: Sequence[str] = ()
    """The words that become the user."""

    def tare(self, *words: str | Path, seconds: float = 300) -> Done:
        """What `tare` says there; never a traceback, and one error at most."""
        script = "\n".join((*self.lines, 'exec "$@"'))
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **self.environment}
        for name in ("LIBVIRT_LOG_OUTPUTS", *self.without):
            environment.pop(name, None)
        done = subprocess.run(
            ["unshare", *self.namespaces, "--propagation", "private", "sh", "-euc", script, "sh",
             *self.user, TARE, *words],
            capture_output=True, text=True, check=False, cwd=self.work, env=environment,
            stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert "This is a bug" not in said, said
        assert said.count("\nerror: ") + said.startswith("error: ") <= 1, said
        return done

    def measured(self) -> Run:
        return store.load(store.find("latest", self.work / "results"))


def statuses(run: Run) -> dict[str, set[str]]:
    """By arm; a twin's trials are its arm's."""
    found: dict[str, set[str]] = {}
    for trial in run.trials:
        arm = run.manifest.plan.twins.get(trial.cell.arm, trial.cell.arm)
        found.setdefault(arm, set()).add(trial.status)
    return found


def left_out(run: Run) -> dict[str, str]:
    """The drivers that were left out, each with what to do about it."""
    return {notice.subject: notice.hint for notice in run.notices if notice.code == "left-out"}


def able() -> set[str]:
    return {name for name in ("native", "docker", "kvm") if lacking(name) is None}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = leftovers.found()
    yield
    assert [each for each in leftovers.found() if each not in before] == []


@pytest.fixture(scope="session")
def filled() -> None:
    """The cache holds all that a run takes from it."""
    built()
    with tempfile.TemporaryDirectory() as folder:
        done = Host(Path(folder)).tare("run", "--rounds", "1", "-w", "boot", seconds=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A private engine's data that no other test has open."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        monkeypatch.setenv("TARE_STATE", folder)
        yield


# --- without /dev/kvm


def own_dev(folder: Path) -> list[str]:
    """A /dev of the namespace's own, on a tmpfs, with what programs need and nothing more."""
    folder.mkdir()
    new = shlex.quote(str(folder))
    nodes = {"null": "1 3", "zero": "1 5", "full": "1 7", "random": "1 8", "urandom": "1 9", "tty": "5 0"}
    links = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
    return [
        f"mount -t tmpfs -o mode=0755 tmpfs {new}",
        *(f"mknod -m 0666 {new}/{name} c {number}" for name, number in nodes.items()),
        *(f"ln -s /proc/self/fd{target} {new}/{name}" for name, target in links.items()),
        f"mkdir {new}/pts {new}/shm",
        f"mount --bind /dev/pts {new}/pts",
        f"mount -t tmpfs tmpfs {new}/shm",
        f"ln -s pts/ptmx {new}/ptmx",
        f"mount --move {new} /dev",
        "test ! -e /dev/kvm",
    ]


@pytest.mark.needs("kvm")
@pytest.mark.usefixtures("filled", "state")
def test_without_the_device_guests_are_emulated_and_it_says_why(tmp_path: Path) -> None:
    known = paths.cache_dir() / "libvirt"  # of a QEMU that has the device: libvirt would take 40 s to doubt that
    host = Host(tmp_path, [*own_dev(tmp_path / "dev"), f"mount -t tmpfs tmpfs {shlex.quote(str(known))}"])
    done = host.tare(*RUN)
    assert done.returncode == 0, done.stderr
    assert "Guests are EMULATED (TCG), not accelerated by KVM: there is no /dev/kvm" in done.stderr
    run = host.measured()
    assert statuses(run) == {name: {"ok"} for name in able()}
    assert run.manifest.accelerators["kvm"] == "tcg"
    refused = host.tare(*RUN, "-d", "kvm", "--accelerator", "kvm")
    assert refused.returncode == 3
    assert "there is no /dev/kvm" in refused.stderr


# --- without a network


@pytest.mark.usefixtures("filled", "state")
@pytest.mark.parametrize("lo", ["down", "up"])
def test_with_images_built_no_network_is_needed(tmp_path: Path, lo: str) -> None:
    """In an empty network namespace there is nobody to talk to but by a socket in the file system."""
    host = Host(tmp_path, ["ip link set lo up"] if lo == "up" else [], ("--mount", "--net"))
    done = host.tare(*RUN)
    assert done.returncode == 0, done.stderr
    run = host.measured()
    assert statuses(run) == {name: {"ok"} for name in able()}
    assert left_out(run).keys() == {"native", "docker", "kvm"} - able()
    assert (store.find("latest", tmp_path / "results") / "report.html").is_file()
    assert host.tare("demo").returncode == 0


# --- without space


@pytest.mark.needs("native")
def test_too_little_space_is_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    kept = tmp_path / "kept"
    tmpfs = f"mount -t tmpfs -o size=300m tmpfs {shlex.quote(str(cache))}"
    # what is left in it is looked for before the file system is gone
    look = f'"$@" && status=0 || status=$?; find {shlex.quote(str(cache))} -type f ! -name .lock >{kept}; exit $status'
    host = Host(tmp_path, [tmpfs, look], environment={"TARE_CACHE": str(cache)})
    asked = json.loads(host.tare("check", "native", "--json").stdout)["space"]
    assert asked["needed_bytes"] > asked["free_bytes"]
    assert 0 < asked["free_bytes"] <= 300 << 20
    done = host.tare("run", "-d", "native", "--rounds", "1", "-w", "boot")
    assert done.returncode == 1, done.stderr
    error = done.stderr.partition("error: ")[2]
    found = re.search(r"(\d+) MiB are needed, (\d+) MiB are free", error)
    assert found is not None, error
    needed, free = found.groups()
    assert int(needed) > int(free) <= 300
    assert "TARE_CACHE" in error.partition("what to do: ")[2]
    assert kept.read_text() == ""
    assert not (tmp_path / "results").exists()


# --- without apt-get and mmdebstrap


def hidden(folder: Path, *prefixes: str) -> list[str]:
    """Programs of those names are none any more: an empty file lies over each."""
    empty = folder / "empty"
    empty.touch(mode=0o644)
    places = (*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/sbin", "/sbin")
    there = {each.resolve() for place in places for prefix in prefixes for each in Path(place).glob(f"{prefix}*")}
    return [f"mount --bind {shlex.quote(str(empty))} {shlex.quote(str(each))}" for each in sorted(there)]


@pytest.mark.usefixtures("filled", "state")
def test_with_images_built_no_package_manager_is_needed(tmp_path: Path) -> None:
    host = Host(tmp_path, hidden(tmp_path, "apt-", "dpkg", "mmdebstrap"))
    done = host.tare(*RUN)
    assert done.returncode == 0, done.stderr
    assert statuses(host.measured()) == {name: {"ok"} for name in able()}


@pytest.mark.needs("native")
@pytest.mark.usefixtures("state")
def test_without_images_it_names_what_builds_them(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    lines = hidden(tmp_path, "apt-", "mmdebstrap", "dockerd")
    host = Host(tmp_path, lines, environment={"TARE_CACHE": str(cache)}, without=("DOCKER_HOST",))
    done = host.tare("run", "-d", "native", "--rounds", "1", "-w", "boot")
    assert done.returncode == 1, done.stderr
    error, _, command = done.stderr.partition("error: ")[2].partition("what to do: ")
    assert "mmdebstrap" in error or "apt-" in error
    assert "tare setup" in command
    assert [each for each in cache.rglob("*") if each.is_file() and each.name != ".lock"] == []
    assert not (tmp_path / "results").exists()


# --- with read-only control groups

READ_ONLY = (
    "for mount in $(awk '$2 ~ \"^/sys/fs/cgroup\" { print $2 }' /proc/self/mounts | sort -r); do",
    '    mount -o remount,bind,ro "$mount"',
    "done",
)


@pytest.mark.needs("native")
@pytest.mark.usefixtures("filled", "state")
def test_read_only_control_groups_cost_what_needs_them(tmp_path: Path) -> None:
    host = Host(tmp_path, READ_ONLY)
    said = host.tare("check", "native", "--json")
    notices = json.loads(said.stdout)["drivers"]["native"]["notices"]
    assert [notice["code"] for notice in notices] == ["native-unlimited"]
    assert "/sys/fs/cgroup" in notices[0]["hint"]

    done = host.tare(*RUN)
    run = host.measured()
    seen = statuses(run)
    assert seen["native"] == {"ok"}
    assert "Native instances run without limits" in done.stderr
    assert done.returncode == 0, done.stderr
    # a guest runs without a control group of its own; a private engine would start no container
    for name in able() - {"native"}:
        if name in seen:
            assert seen[name] == {"ok"}
        else:
            assert name == "docker"
            assert "/sys/fs/cgroup is writable" in left_out(run)[name]
    assert "/sys/fs/cgroup" in done.stderr


# --- without root


def ways(*folders: str) -> list[str]:
    """Lets every user reach folders below one that is root's alone, such as root's home: in this namespace only."""
    hidden = {folder: closed for folder in folders if (closed := _closed(Path(folder))) is not None}
    if not hidden:
        return []
    lines = ["mount -t tmpfs tmpfs /mnt"]
    for number, folder in enumerate(hidden):
        lines += [f"mkdir /mnt/{number}", f"mount --rbind {shlex.quote(folder)} /mnt/{number}"]
    lines += [
        f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(closed))}" for closed in dict.fromkeys(hidden.values())
    ]
    for number, folder in enumerate(hidden):
        lines += [f"mkdir -p {shlex.quote(folder)}", f"mount --rbind /mnt/{number} {shlex.quote(folder)}"]
    return [*lines, "umount --lazy /mnt"]


def _closed(folder: Path) -> Path | None:
    above = [*reversed(folder.resolve().parents), folder.resolve()]
    return next((each for each in above if not each.stat().st_mode & 0o001), None)


@dataclass(frozen=True, slots=True)
class Somebody:
    """An ordinary user with a home of their own; the cache in it is filled on demand."""

    home: Path
    work: Path
    host: Host

    def fill(self, *kinds: str) -> None:
        """Give them what root has built, but for what only root may have: the unpacked rootfs."""
        cache = paths.cache_dir()
        named = [*(cache / "rootfs/recipes").glob("*.json"), *built().folder.glob("rootfs.*")]
        for kind in kinds:
            named += [path for path in (cache / kind).rglob("*") if path.is_file() and not path.name.startswith(".")]
        for path in named:
            target = self.home / ".cache/tare" / path.relative_to(cache)
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--sparse=always", path, target], check=True)
        subprocess.run(["chown", "-R", f"{UID}:{GID}", self.home], check=True)


def somebody(folder: Path, *groups: int, **environment: str) -> Somebody:
    for name in ("home", "run", "work"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, UID, GID)
    folder.chmod(0o711)
    # libvirt looks its user and group up: in this namespace they have a name, and on the host no account is made
    for name, entry in (("passwd", f"tare:x:{UID}:{GID}::{folder}/home:/bin/sh"), ("group", f"tare:x:{GID}:")):
        (folder / name).write_text(f"{Path('/etc', name).read_text()}{entry}\n")
    those = ",".join(map(str, groups))
    return Somebody(
        folder / "home",
        folder / "work",
        Host(
            folder / "work",
            [
                *ways(sys.prefix, sys.base_prefix, *(each for each in sys.path if Path(each).is_dir())),
                *(f"mount --bind {folder}/{name} /etc/{name}" for name in ("passwd", "group")),
                f"mount --bind {folder}/run /mnt",  # as short as /run/user/1000: a socket's path has 108 bytes
            ],
            environment={"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": "/mnt", **environment},
            without=("TARE_RUN", "TARE_STATE", "TARE_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
            user=(
                *("setpriv", "--reuid", str(UID), "--regid", str(GID)),
                *(("--groups", those) if groups else ("--clear-groups",)),
                *("env", "--"),
            ),
        ),
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """Not below pytest's own, which is root's alone. Afterwards nothing that was that user's runs or listens."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="tare-") as folder:
        yield Path(folder)
        alive = [pid for pid in processes.all_pids() if _owner(pid) == UID]
        commands = [leftovers.command_of(pid) for pid in alive]
        for pid in alive:
            processes.kill(pid)
        assert commands == []


def _owner(pid: int) -> int:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return -1


@pytest.mark.usefixtures("filled")
def test_an_ordinary_user_is_told_what_each_driver_takes(place: Path) -> None:
    user = somebody(place, DOCKER_HOST="unix:///nonexistent/docker.sock")
    document = json.loads(user.host.tare("check", "--json").stdout)
    failed = {name: [rung for rung in each["rungs"] if not rung["ok"]] for name, each in document["drivers"].items()}
    assert [rung["name"] for rung in failed["native"]] == ["root"]
    assert failed["docker"]
    assert all(rung["fix"] for rungs in failed.values() for rung in rungs)
    refused = user.host.tare("run", "-d", "native", "-w", "boot")
    assert refused.returncode == 3
    assert "as root" in refused.stderr
    assert list(user.work.iterdir()) == []
    # nothing that they can run: each is named, with what to do about it
    host = replace(user.host, lines=[*user.host.lines, *hidden(place, "qemu-system-")])
    checked = json.loads(host.tare("check", "--json").stdout)["drivers"]
    none = host.tare("run", "--rounds", "1", "-w", "boot")
    assert none.returncode == 1
    for name in ("native", "docker", "kvm"):
        fix = next(rung["fix"] for rung in checked[name]["rungs"] if not rung["ok"])
        assert f"{name} is left out: " in none.stderr
        assert fix.partition("\n")[0] in none.stderr


@pytest.mark.needs("kvm")
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("member", [True, False])
def test_a_user_measures_guests_and_is_told_where_the_device_is_not_theirs(place: Path, member: bool) -> None:
    device = Path("/dev/kvm")
    groups = [device.stat().st_gid] if device.exists() and member else []
    user = somebody(place, *groups, DOCKER_HOST="unix:///nonexistent/docker.sock")
    user.fill("guest", "kernel", "libvirt")
    done = user.host.tare(*RUN)
    assert done.returncode == 0, done.stderr
    run = user.host.measured()
    assert statuses(run) == {"kvm": {"ok"}}
    assert left_out(run).keys() == {"native", "docker"}
    assert all(left_out(run).values())
    if device.exists() and not member:
        assert "usermod -aG kvm" in user.host.tare("check", "kvm").stdout
        assert "/dev/kvm does not open" in done.stderr
    assert list((place / "run/tare").glob("[!.]*")) == []
    assert list((user.home / ".cache/tare/overlays").glob("*")) == []
    assert user.host.tare("sweep").stdout == "nothing is left behind\n"


@pytest.fixture
def engine(state: None) -> Iterator[PrivateEngine]:
    """A Docker engine of somebody else's, whose socket a group may open."""
    lease = leases.take(f"engine-{os.getpid()}")
    context = RunContext(lease.folder.name, lease.folder, lease, (0,))
    try:
        started = PrivateEngine(context)
        try:
            listens = Path(started.url.removeprefix("unix://"))
            for folder in (listens.parent, lease.folder):
                folder.chmod(0o711)
            os.chown(listens, 0, GID)
            listens.chmod(0o660)
            yield started
        finally:
            started.close()
    finally:
        lease.release()


@pytest.mark.needs("docker")
@pytest.mark.usefixtures("filled")
def test_a_user_who_may_open_the_engines_socket_measures_containers(place: Path, engine: PrivateEngine) -> None:
    user = somebody(place, GID, DOCKER_HOST=engine.url)
    user.fill()
    done = user.host.tare(*RUN, "-d", "docker")
    assert done.returncode == 0, done.stderr
    assert statuses(user.host.measured()) == {"docker": {"ok"}}
    assert list((place / "run/tare").glob("[!.]*")) == []
    assert [each for root in cgroups.roots(engine.cgroup) for each in root.glob("*/")] == []
