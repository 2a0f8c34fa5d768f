"""What an instance holds of the host, from the kernel's own words."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tare_bench import footprint
from tare_bench.clock import NS, MonotonicClock
from tare_bench.driver import Accounts, RunContext, Told
from tare_bench.drivers.fake import FakeInstance
from tare_bench.errors import InstanceError
from tare_bench.lifecycle import Live
from tare_bench.model import Spec
from tare_bench.wire import Answer
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.disk import Disk
from tare_bench.workloads.memory import IDLE_SECONDS, Memory, MemoryLoad

ROLLUP = """\
55d0c8a00000-7ffd5c3f9000 ---p 00000000 00:00 0                          [rollup]
Rss:                4096 kB
Pss:                1234 kB
Pss_Dirty:           400 kB
Pss_Anon:            300 kB
Shared_Clean:       2000 kB
Private_Clean:       100 kB
Private_Dirty:       300 kB
AnonHugePages:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    2048 kB
Swap:                  0 kB
"""


def test_a_rollup_is_pss_and_private_pages() -> None:
    kib = {"pss": 1234, "uss": 100 + 300 + 2048, "anon": 300, "huge": 0}
    assert footprint.rollup(ROLLUP) == {name: value * 1024 for name, value in kib.items()}


def test_a_process_without_memory_has_none() -> None:
    assert footprint.rollup("") == {"pss": 0, "uss": 0}


SMAPS = """\
7f0000000000-7f0020000000 rw-p 00000000 00:00 0
Size:             524288 kB
KernelPageSize:        4 kB
Pss:              126000 kB
Pss_Dirty:        126000 kB
7f0030000000-7f0032000000 rwxp 00000000 00:00 0
Size:              32768 kB
Pss:               20000 kB
7f0040000000-7f0040100000 r-xp 00000000 08:01 77                         /usr/bin/vmm
Size:               1024 kB
Pss:                 500 kB
7f0050000000-7f0050100000 rw-p 00000000 08:01 77                         [heap]
Size:               1024 kB
Pss:                 800 kB
"""


def test_a_vmm_is_its_guest_its_translated_code_and_itself() -> None:
    found = footprint.mapped(SMAPS, 512 << 20)
    assert found == {"guest": 126000 * 1024, "translated": 20000 * 1024}
    assert footprint.mapped(SMAPS, 256 << 20) == {"guest": 0, "translated": 20000 * 1024}


def test_each_process_is_a_part_of_its_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is named is what it is said to be; the others are what runs inside."""
    with subprocess.Popen(["sleep", "7654"]) as child:
        try:
            where = Accounts(pids=(os.getpid(), child.pid), parts={os.getpid(): "vmm"}, guest_memory=512 << 20)
            monkeypatch.setattr(footprint, "mapped", lambda text, size: {"guest": size, "translated": 7})
            parts = footprint.memory(where).parts()
        finally:
            child.kill()
    assert set(parts) == {"vmm", "payload"}
    assert parts["vmm"]["guest"] == 512 << 20
    assert parts["vmm"]["translated"] == 7
    assert parts["vmm"]["number"] == parts["payload"]["number"] == 1
    assert parts["vmm"]["pss"] > parts["payload"]["pss"] > 0
    assert "guest" not in parts["payload"]


def test_parts_of_what_cannot_all_be_read_are_none() -> None:
    reading = footprint.MemoryReading(processes=[footprint.Process("shim", "x", {"pss": 1, "uss": 1})], unreadable=1)
    assert reading.parts() == {}


def test_the_pss_of_daemons_is_of_all_of_them_or_none() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert footprint.pss([]) is None
    assert footprint.pss([os.getpid(), process.pid]) is None
    assert (footprint.pss([os.getpid()]) or 0) > 1 << 20


def test_our_own_memory_is_read() -> None:
    reading = footprint.memory(Accounts(pids=(os.getpid(),)))
    assert reading.rows["pss"] >= reading.rows["uss"] > 1 << 20
    assert len(reading.processes) == 1
    assert reading.unreadable == 0


def test_who_has_gone_meanwhile_is_not_there() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    reading = footprint.memory(Accounts(pids=(process.pid,)))
    assert reading.processes == []
    assert "pss" not in reading.rows


def test_files_count_once_as_they_are_allocated(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_bytes(b"x" * 100_000)
    alone = footprint.allocated([one])
    assert alone >= 100_000
    (tmp_path / "two").hardlink_to(one)
    assert footprint.allocated([one, tmp_path / "two", one]) == alone
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 30)
    assert footprint.allocated([sparse]) < 1 << 20
    assert footprint.allocated([tmp_path / "none"]) == 0
    (tmp_path / "away").symlink_to("/usr")
    assert footprint.allocated([tmp_path]) < alone + (1 << 20)


def test_an_arm_has_as_many_cpus_as_it_has_vcpus(tmp_path: Path) -> None:
    context = RunContext("run", tmp_path, None, (1, 2, 3))  # type: ignore[arg-type]
    assert context.cpus_of(Spec(vcpus=1, memory=1)) == (3,)
    assert context.cpus_of(Spec(vcpus=3, memory=1)) == (1, 2, 3)


class Held(FakeInstance):
    """An instance whose accounts are known, and what its engine says."""

    def __init__(self, where: Accounts, told: Told | None = None) -> None:
        self._where = where
        self._told = told or Told()

    def told(self) -> Told:
        return self._told

    def accounts(self) -> Accounts:
        return self._where


def ready(where: Accounts, told: Told | None = None) -> Live:
    """One that has been idle for long enough."""
    clock = MonotonicClock()
    now = clock.now()
    return Live("x", clock, now, now, instance=Held(where, told), milestones={"ready": now - 10 * NS})


class Shell:
    """The wire of an instance whose commands are answered at once."""

    def __init__(self, clock: MonotonicClock, stdout: bytes = b"", status: int = 0) -> None:
        self.clock, self.stdout, self.status = clock, stdout, status
        self.commands: list[str] = []

    def run(self, command: str, *, seconds: float) -> Answer:
        self.commands.append(command)
        now = self.clock.now()
        return Answer(command=command, status=self.status, asked_at=now, done_at=now, uptime=1.0, cpu=0.0,
                      stdout=self.stdout, stderr=b"")  # fmt: skip


def values(measured: Measured) -> dict[str, float]:
    return {each.metric.removeprefix("memory."): each.value for each in measured.samples}


def test_idle_memory_says_its_parts_its_age_and_what_the_engine_says() -> None:
    told = Told({"docker stats": 5}, {"balloon": "none"})
    measured = Memory().measure(ready(Accounts(pids=(os.getpid(),), parts={os.getpid(): "shim"}), told), {})
    parts = json.loads(measured.facts["parts"])
    assert parts["shim"]["pss"] == values(measured)["pss"] > 0
    assert float(measured.facts["age"].removesuffix(" s")) >= 10
    assert json.loads(measured.facts["engine says"]) == {"docker stats": 5}
    settings = json.loads(measured.facts["memory settings"])
    assert settings["balloon"] == "none"
    assert {"KSM", "THP", "swap"} <= settings.keys() or not Path("/sys/kernel/mm/ksm/run").exists()
    assert measured.facts["peak"].startswith("not there")
    assert "peak" not in values(measured)
    assert "guest_total" not in values(measured)


def test_a_guest_tells_its_own_view_and_its_size() -> None:
    live = ready(Accounts(pids=(os.getpid(),), others="vmm", guest_memory=512 << 20))
    live.wire = Shell(live.clock, b"MemTotal: 480 kB\nMemAvailable: 400 kB\n")  # type: ignore[arg-type]
    measured = Memory().measure(live, {})
    assert values(measured)["guest_total"] == 480 * 1024
    assert values(measured)["guest_available"] == 400 * 1024
    assert measured.facts["guest memory"] == str(512 << 20)


@pytest.mark.parametrize("version", ["v1", "v2", ""])
def test_memory_after_a_load_is_read_when_it_is_idle_again(tmp_path: Path, version: str) -> None:
    files = {"v1": "memory.max_usage_in_bytes", "v2": "memory.peak"}
    (tmp_path / "memory.stat").write_text(
        "anon 1\nfile 2\nshmem 1\nkernel 3\n" if version == "v2" else "rss 1\ncache 2\n"
    )
    if version:
        (tmp_path / files[version]).write_text("77\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    live = ready(Accounts(cgroups=(tmp_path,)))
    live.wire = shell = Shell(live.clock)  # type: ignore[assignment]
    began = live.clock.now()
    measured = MemoryLoad().measure(live, {})
    assert len(shell.commands) == 1  # type: ignore[attr-defined]
    assert (live.clock.now() - began) / NS >= IDLE_SECONDS
    assert values(measured)["load.pss"] > values(measured)["load.uss"] > 0
    since = {"v1": "since the load's beginning", "v2": "since the instance's start"}
    assert measured.facts["peak"] == since.get(version, "not there: this kernel keeps none of a control group")
    assert values(measured).get("load.peak") == {"v1": 0.0, "v2": 77.0}.get(version)


def test_a_load_that_fails_yields_nothing() -> None:
    live = ready(Accounts(pids=(os.getpid(),)))
    live.wire = Shell(live.clock, status=1)  # type: ignore[assignment]
    with pytest.raises(InstanceError):
        MemoryLoad().measure(live, {})


def test_what_only_root_may_read_is_not_there_and_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat = tmp_path / "memory.stat"
    stat.write_text("anon 1\nfile 2\nkernel 3\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    refuse(monkeypatch, "smaps_rollup")
    measured = Memory().measure(ready(Accounts(cgroups=(tmp_path,))), {})
    assert {each.metric: each.value for each in measured.samples} == {
        "memory.anon": 1, "memory.file": 2, "memory.kernel": 3,
    }  # fmt: skip
    assert measured.facts["unreadable"] == "1 processes: needs root"
    stat.unlink()
    with pytest.raises(Skipped, match="needs root"):
        Memory().measure(ready(Accounts(cgroups=(tmp_path,))), {})


def refuse(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    read = Path.read_text

    def refused(path: Path, *words: Any, **more: Any) -> str:
        if word in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *words, **more)

    monkeypatch.setattr(Path, "read_text", refused)


def test_a_folder_that_cannot_be_read_is_no_part_of_a_sum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_bytes(b"x" * 100_000)
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    measured = Disk().measure(ready(Accounts(files=(tmp_path,), image_bytes=7)), {})
    assert [each.metric for each in measured.samples] == ["disk.image"]
    assert measured.facts["instance"] == f"{tmp_path}/inside needs root"
    with pytest.raises(Skipped, match="needs root"):
        Disk().measure(ready(Accounts(files=(tmp_path,))), {})


@pytest.mark.parametrize(("user", "words"), [(0, ""), (1000, ", or need root")])
def test_files_that_are_not_known_are_said_so(monkeypatch: pytest.MonkeyPatch, user: int, words: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    measured = Disk().measure(ready(Accounts(image_bytes=7)), {})
    assert measured.facts["instance"] == f"its files are not known{words}"


def test_ten_instances_share_one_image(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    own = footprint.allocated([tmp_path])
    measured = Disk().measure(ready(Accounts(files=(tmp_path,), image_bytes=7_000_000)), {})
    found = {sample.metric: sample.value for sample in measured.samples}
    assert found == {"disk.image": 7_000_000, "disk.instance": own, "disk.ten": 7_000_000 + 10 * own}
