"""Control groups of either version, in folders made for the test, and on this host where one can be made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tare_bench import cgroups, processes, sweep
from tare_bench.cgroups import Hierarchies
from tare_bench.model import UNLIMITED

V2_STAT = "anon 1000\nfile 2000\nshmem 150\nkernel 300\nkernel_stack 16\nslab 20\n"
V2_FILES = (
    *("cgroup.controllers", "cgroup.subtree_control", "cgroup.procs"),
    *("cpuset.cpus", "cpuset.mems", "memory.max", "memory.swap.max"),
)
V1_STAT = (
    "cache 5000\nrss 4000\nshmem 90\nmapped_file 7\n"
    "total_cache 5500\ntotal_rss 4400\ntotal_shmem 99\ntotal_mapped_file 7\n"
)


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A v2 hierarchy, as a kernel would show it."""
    monkeypatch.setattr(
        cgroups, "hierarchies", lambda: Hierarchies({}, tmp_path, frozenset({"cpuset", "memory", "pids"}))
    )
    monkeypatch.setattr(Path, "mkdir", _making(*V2_FILES))
    for name, text in (("cgroup.controllers", "cpuset cpu memory pids"), ("cgroup.subtree_control", "")):
        (tmp_path / name).write_text(text)
    return tmp_path


def _making(*names: str):  # type: ignore[no-untyped-def] # a mkdir that fills folders as the kernel does
    mkdir = Path.mkdir

    def make(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        there = self.is_dir()
        mkdir(self, mode, parents, exist_ok)
        for name in names if not there else ():
            (self / name).write_text("cpuset memory pids" if name == "cgroup.controllers" else "")

    return make


def test_v2_gets_the_limits_of_the_spec(v2: Path) -> None:
    [folder] = cgroups.make("run-i", (1, 3), 512 << 20)
    assert folder == v2 / "tare/run-i"
    assert (folder / "cpuset.cpus").read_text() == "1,3"
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    for above in (v2, v2 / "tare"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpuset +memory +pids"


def test_v1_gets_them_in_each_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {name: tmp_path / name for name in ("cpuset", "memory", "cpuacct", "pids")}
    files = {
        "cpuset": ("cpuset.cpus", "cpuset.mems"),
        "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    }
    for name, mount in mounts.items():
        mount.mkdir()
        for file in files.get(name, ()):
            (mount / file).write_text("0\n")
    mkdir = Path.mkdir

    def make(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(self, mode, parents, exist_ok)
        for file in files.get(self.relative_to(tmp_path).parts[0], ()):
            (self / file).touch()

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: Hierarchies(mounts, None, frozenset()))
    made = cgroups.make("run-i", (1,), 1 << 29)
    assert made == tuple(mount / "tare/run-i" for mount in mounts.values())
    assert (mounts["cpuset"] / "tare/run-i/cpuset.cpus").read_text() == "1"
    assert (mounts["cpuset"] / "tare/cpuset.mems").read_text().strip() == "0"
    assert (mounts["cpuset"] / "tare/run-i/cpuset.mems").read_text().strip() == "0"
    for file in files["memory"]:
        assert (mounts["memory"] / "tare/run-i" / file).read_text() == str(1 << 29)


@pytest.mark.parametrize(
    ("v1", "v2", "version"),
    [
        ((), False, "none"),
        (("memory",), False, "v1"),
        (("memory",), True, "hybrid"),
        ((), True, "v2"),
        (("misc",), True, "v2"),
    ],
)
def test_the_version_is_what_limits_memory(tmp_path: Path, v1: tuple[str, ...], v2: bool, version: str) -> None:
    found = Hierarchies(dict.fromkeys(v1, tmp_path), tmp_path if v2 else None, frozenset())
    assert found.version == version


def test_memory_is_split_the_same_in_both_versions(tmp_path: Path) -> None:
    second, first = tmp_path / "v2", tmp_path / "v1"
    for folder, text in ((second, V2_STAT), (first, V1_STAT)):
        folder.mkdir()
        (folder / "memory.stat").write_text(text)
    assert cgroups.memory_split([second]) == {"anon": 1000, "file": 2000, "shmem": 150, "kernel": 300}
    assert cgroups.memory_split([first]) == {"anon": 4400, "file": 5500, "shmem": 99}
    (first / "memory.kmem.usage_in_bytes").write_text("77\n")
    (first / "memory.max_usage_in_bytes").write_text("9999\n")
    (second / "memory.peak").write_text("8888\n")
    found = cgroups.memory_split([tmp_path / "none", first])
    assert found == {"anon": 4400, "file": 5500, "shmem": 99, "kernel": 77, "peak": 9999}
    assert cgroups.memory_split([second])["peak"] == 8888
    assert cgroups.memory_split([tmp_path / "none"]) == {}


def test_a_peak_is_counted_anew_where_the_kernel_can(tmp_path: Path) -> None:
    peak = tmp_path / "memory.max_usage_in_bytes"
    assert not cgroups.reset_peak([tmp_path])
    assert not peak.exists()
    peak.write_text("9999\n")
    assert cgroups.reset_peak([tmp_path / "none", tmp_path])
    assert peak.read_text() == "0"


def test_cpu_time_is_seconds_in_both_versions(tmp_path: Path) -> None:
    second, first = tmp_path / "v2", tmp_path / "v1"
    second.mkdir()
    first.mkdir()
    (second / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (first / "cpuacct.usage").write_text("1500000000\n")
    assert cgroups.cpu_seconds([second]) == 2.5
    assert cgroups.cpu_seconds([first]) == 1.5
    assert cgroups.cpu_seconds([tmp_path]) is None


def test_processes_of_those_below_count_too(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("3\n0\n")
    (tmp_path / "a/cgroup.procs").write_text("2\n")
    (tmp_path / "a/b/cgroup.procs").write_text("2\n1\n")
    assert cgroups.pids([tmp_path, tmp_path / "none"]) == [1, 2, 3]


@pytest.mark.needs("root", "cgroups")
def test_one_is_made_holds_a_process_and_goes_with_it() -> None:
    name = f"t{os.getpid()}-unit"
    cpu = min(os.sched_getaffinity(0))
    made = cgroups.make(name, (cpu,), 256 << 20)
    try:
        assert made == cgroups.planned(name)
        inside = [f"echo 0 >{folder}/cgroup.procs" for folder in made]
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{' && '.join(inside)} && echo in; sleep 7659; :"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        assert process.pid in cgroups.pids(made)
        assert set(made) <= set(cgroups.of_process(process.pid))
        assert os.sched_getaffinity(process.pid) == {cpu}
        there = cgroups.pids(made)
    finally:
        cgroups.remove(made)
    assert not any(folder.exists() for folder in made)
    assert all(processes.start_time(pid) is None for pid in there)
    process.stdout.close()
    process.wait()


def test_one_that_stays_keeps_no_other_from_going(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "stays", "two")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        cgroups.remove(folders)
    assert [folder.exists() for folder in folders] == [False, True, False]


@pytest.mark.needs("root", "cgroups")
def test_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"t{os.getpid()}-half"
    with pytest.raises(OSError, match=r"."):
        cgroups.make(name, (4000,), 256 << 20)
    assert not any(folder.exists() for folder in cgroups.planned(name))


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.mark.needs("root", "cgroups")
def test_what_was_left_by_a_try_that_was_killed_goes_with_the_next_and_a_living_ones_does_not() -> None:
    killed, alive = (cgroups.make(f"check-{pid}", sorted(os.sched_getaffinity(0)), 64 << 20) for pid in (gone(), 1))
    try:
        assert set(cgroups.left_tries()) == set(killed)
        assert cgroups.writable()
        assert not any(folder.exists() for folder in killed)
        assert all(folder.exists() for folder in alive)
    finally:
        cgroups.remove([*killed, *alive])


@pytest.mark.needs("root", "cgroups")
def test_a_sweep_finds_it_too() -> None:
    left = cgroups.make(f"check-{gone()}", sorted(os.sched_getaffinity(0)), 64 << 20)
    try:
        dead, things = sweep.find()
        for run in dead:
            run.close()
        mine = [thing for thing in things if Path(thing.name) in left]
        assert {(thing.run, thing.kind) for thing in mine} == {("none", "cgroup")}
        for thing in mine:
            thing.remove()
        assert not any(folder.exists() for folder in left)
    finally:
        cgroups.remove(left)


def test_a_mount_that_refuses_a_cgroup_is_not_called_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> tuple[Path, ...]:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(cgroups, "make", refused)
    assert not cgroups.writable()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_smallest_limit_on_the_way_up_is_the_one_that_holds(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = frozenset({"memory", "cpu", "pids"})
    found = (
        Hierarchies({}, tmp_path, known)
        if version == "v2"
        else Hierarchies(dict.fromkeys(known, tmp_path), None, frozenset())
    )
    monkeypatch.setattr(cgroups, "hierarchies", lambda: found)
    monkeypatch.setattr(cgroups, "of_process", lambda pid: (tmp_path / "above" / "mine",))
    monkeypatch.setattr(cgroups, "_host_swap", lambda: 1 << 30)
    assert cgroups.limits(1) == {"quota": UNLIMITED, "memory": UNLIMITED, "swap": str(1 << 30), "processes": UNLIMITED}
    names = {
        "v1": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", str(1 << 63)),
        "v2": ("memory.max", "memory.swap.max", "max"),
    }
    memory, swap, none = names[version]
    files = {
        "above/mine": {memory: none, "pids.max": "max", "cpu.max": "max 100000", "cpu.cfs_quota_us": "-1"},
        "above": {memory: str(512 << 20), swap: str(512 << 20) if version == "v1" else "0", "pids.max": "100"},
    }
    files["above"] |= {"cpu.max": "150000 100000"} if version == "v2" else {"cpu.cfs_quota_us": "150000"}
    for folder, contents in files.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in (contents | {"cpu.cfs_period_us": "100000"}).items():
            (tmp_path / folder / name).write_text(f"{text}\n")
    assert cgroups.limits(1) == {"quota": "1.5", "memory": str(512 << 20), "swap": "0", "processes": "100"}


def test_a_host_without_a_controller_states_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: Hierarchies({}, None, frozenset()))
    assert cgroups.limits(os.getpid()) == {}
