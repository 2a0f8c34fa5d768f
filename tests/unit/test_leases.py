"""What a run owns: locks that say who lives, and a book that outlives a kill."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tare_bench import leases
from tare_bench.errors import TareError

TAKES = """
import os, sys
from tare_bench import leases
lease = leases.take(sys.argv[1])
lease.own("file", "/one")
lease.own("cgroup", "/two")
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TARE_RUN", str(tmp_path))
    return tmp_path


def killed(run: str) -> None:
    with subprocess.Popen([sys.executable, "-c", TAKES, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"taken\n"
        assert leases.live_runs() == [run]
        assert leases.dead_runs() == []
        child.kill()


def test_a_run_lives_as_long_as_its_lock_is_held(folder: Path) -> None:
    lease = leases.take("one")
    other = leases.take("two")
    assert sorted(leases.live_runs()) == ["one", "two"]
    assert leases.dead_runs() == []
    other.release()
    lease.release()
    assert leases.live_runs() == []
    assert not (folder / "one").exists()


def test_a_killed_run_is_dead_and_its_book_can_be_read(folder: Path) -> None:
    killed("gone")
    assert leases.live_runs() == []
    [dead] = leases.dead_runs()
    assert dead.run == "gone"
    assert [(each.kind, each.name) for each in dead.owned()] == [("cgroup", "/two"), ("file", "/one")]
    assert leases.dead_runs() == [], "two sweepers took the same dead run"
    dead.forget()
    dead.close()
    assert leases.dead_runs() == []


def test_a_torn_book_yields_what_is_whole(folder: Path) -> None:
    killed("gone")
    with (folder / "gone/lease.jsonl").open("ab") as book:
        book.write(b'{"kind": "fi')
    [dead] = leases.dead_runs()
    assert len(dead.owned()) == 2
    dead.close()


def test_a_folder_without_a_book_is_a_dead_run_that_owned_nothing(folder: Path) -> None:
    (folder / "early").mkdir()
    [dead] = leases.dead_runs()
    assert dead.owned() == []
    dead.close()


def test_a_name_is_taken_once(folder: Path) -> None:
    lease = leases.take("one")
    with pytest.raises(TareError, match="there already") as caught:
        leases.take("one")
    assert caught.value.hint == "tare sweep"
    lease.release()


def test_nobody_else_may_look_into_a_runs_folder(folder: Path) -> None:
    lease = leases.take("one")
    assert stat.S_IMODE(lease.folder.stat().st_mode) & 0o007 == 0
    lease.release()


def test_two_that_measure_wait_for_each_other(folder: Path) -> None:
    told: list[str] = []

    class RefusedError(Exception):
        pass

    def refuse(owner: str) -> None:
        told.append(owner)
        raise RefusedError

    with leases.measuring(refuse), pytest.raises(RefusedError), leases.measuring(refuse):
        raise AssertionError("two measure at once")
    assert told == [str(os.getpid())]
    with leases.measuring(refuse):
        pass
    assert len(told) == 1


def test_removing_goes_on_past_what_stays() -> None:
    gone: list[str] = []

    def fails() -> None:
        raise OSError("busy")

    assert leases.remove_all([("a", lambda: gone.append("a")), ("b", fails), ("c", lambda: gone.append("c"))]) == [
        "b: busy"
    ]
    assert gone == ["a", "c"]


def test_a_folder_of_runs_that_others_can_write_into_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    monkeypatch.setenv("TARE_RUN", str(planted))
    with pytest.raises(TareError, match="not yours alone"):
        leases.dead_runs()
