"""What an instance holds of the host, from the kernel's own words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tare_bench import footprint
from tare_bench.driver import Accounts, RunContext
from tare_bench.model import Spec

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
