"""What an instance holds of the host, from the kernel's own words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tare_bench import footprint
from tare_bench.clock import NS, MonotonicClock
from tare_bench.driver import Accounts, RunContext
from tare_bench.drivers.fake import FakeInstance
from tare_bench.lifecycle import Live
from tare_bench.model import Spec
from tare_bench.workloads import Skipped
from tare_bench.workloads.disk import Disk
from tare_bench.workloads.memory import Memory

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
    assert footprint.rollup(ROLLUP) == {"pss": 1234 * 1024, "uss": (100 + 300 + 2048) * 1024}


def test_a_process_without_memory_has_none() -> None:
    assert footprint.rollup("") == {"pss": 0, "uss": 0}


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
    """An instance whose accounts are known."""

    def __init__(self, where: Accounts) -> None:
        self._where = where

    def accounts(self) -> Accounts:
        return self._where


def ready(where: Accounts) -> Live:
    """One that has been idle for long enough."""
    clock = MonotonicClock()
    now = clock.now()
    return Live("x", clock, now, now, instance=Held(where), milestones={"ready": now - 10 * NS})


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
