"""What a dead run left is found by its lease and its folder, and nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import leases, processes, sweep


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("TARE_RUN", str(folder))
    return folder


@pytest.fixture
def strangers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended with the test, whatever happens."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def sleeper(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", "read -r line", "x", *words], stdin=subprocess.PIPE)


def dead(runs: Path, *owned: dict[str, object]) -> Path:
    folder = runs / "dead"
    folder.mkdir()
    (folder / "lease.jsonl").write_text("".join(json.dumps({"started": 0} | each) + "\n" for each in owned))
    return folder


def swept() -> list[tuple[str, str]]:
    found, things = sweep.find()
    named = [(thing.kind, thing.name) for thing in things]
    try:
        assert leases.remove_all([(thing.name, thing.remove) for thing in things]) == []
    finally:
        for run in found:
            run.close()
    return named


def test_what_a_lease_names_goes_and_the_folder_last(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "overlay").write_text("x")
    (tmp_path / "work/below").mkdir(parents=True)
    (tmp_path / "mine").write_text("x")
    folder = dead(
        runs,
        {"kind": "file", "name": str(tmp_path / "overlay")},
        {"kind": "folder", "name": str(tmp_path / "work")},
        {"kind": "file", "name": str(tmp_path / "never made")},
    )
    named = swept()
    assert {kind for kind, _ in named} == {"file", "folder"}
    assert named[-1] == ("folder", str(folder))
    assert not any(path.exists() for path in (tmp_path / "overlay", tmp_path / "work", folder))
    assert (tmp_path / "mine").exists()
    assert swept() == []


def test_processes_of_its_folder_end_and_others_do_not(runs: Path, strangers: list[subprocess.Popen[bytes]]) -> None:
    folder = dead(runs)
    ours, longer, other = (sleeper(word) for word in (f"--socket={folder}/x", f"{folder}er/x", "/elsewhere"))
    strangers += [ours, longer, other]
    assert ("process", str(ours.pid)) in swept()
    assert processes.start_time(ours.pid) is None
    assert longer.poll() is None
    assert other.poll() is None


def test_a_pid_that_came_again_is_not_taken_for_the_one_that_was(
    runs: Path, strangers: list[subprocess.Popen[bytes]]
) -> None:
    process, other = sleeper(), sleeper()
    strangers += [process, other]
    born = processes.start_time(process.pid)
    assert born is not None
    dead(
        runs,
        {"kind": "process", "name": str(process.pid), "started": born},
        {"kind": "process", "name": str(other.pid), "started": 1},
    )
    assert [name for kind, name in swept() if kind == "process"] == [str(process.pid)]
    assert processes.start_time(process.pid) is None
    assert other.poll() is None


def test_runs_that_live_are_not_touched(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "overlay").write_text("x")
    lease = leases.take("alive")
    lease.own("file", tmp_path / "overlay")
    assert swept() == []
    assert (tmp_path / "overlay").exists()
    lease.release()


def test_we_are_not_swept_ourselves(runs: Path) -> None:
    folder = dead(runs)
    assert os.getpid() not in sweep.mentioning(folder)


def test_an_empty_cgroups_parent_goes_only_while_it_is_empty(runs: Path, tmp_path: Path) -> None:
    for name in ("empty", "used"):
        (tmp_path / name).mkdir()
    (tmp_path / "used/other").mkdir()
    dead(runs, *({"kind": "empty-cgroup", "name": str(tmp_path / name)} for name in ("empty", "used")))
    swept()
    assert not (tmp_path / "empty").exists()
    assert (tmp_path / "used/other").exists()


def test_a_dead_run_that_is_being_swept_is_not_taken_for_a_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from tare_bench.cli import sweep as command

    asked: list[list[str]] = []

    class Driver:
        def leftovers(self, live_runs: list[str]) -> list[object]:
            asked.append(live_runs)
            return []

    monkeypatch.setattr(command.registry, "names", lambda group: ["one"])
    monkeypatch.setattr(command.registry, "driver", lambda name: Driver())
    monkeypatch.setattr(command.leases, "live_runs", lambda: ["alive", "dead"])
    command._labelled({"dead"})
    assert asked == [["alive"]]


def test_an_engines_image_in_a_lease_is_no_path(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tare").mkdir()
    (tmp_path / "tare/commit:x").mkdir()
    monkeypatch.chdir(tmp_path)
    dead(runs, {"kind": "image", "name": "tare/commit:x"})
    assert ("image", "tare/commit:x") not in swept()
    assert (tmp_path / "tare/commit:x").is_dir()
