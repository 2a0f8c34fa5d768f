"""The files of a run: whatever happens, every finished trial loads."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from runs import build
from tare_bench import store
from tare_bench.errors import StoreError, UsageError
from tare_bench.model import SCHEMA_VERSION, Notice, Run, Trial


@pytest.fixture
def run() -> Run:
    return build()


def written(folder: Path, run: Run, count: int = 5) -> tuple[Path, list[Trial]]:
    writer = store.Writer(folder, run.manifest)
    for trial in run.trials[:count]:
        writer.append(trial, {f"artifacts/{trial.trial}/log.txt": b"words"})
    writer.end(finished=True, notices=[Notice(code="x", subject="run", message="y")])
    writer.close()
    return writer.folder, run.trials[:count]


def test_what_was_written_is_read(tmp_path: Path, run: Run) -> None:
    folder, trials = written(tmp_path, run)
    read = store.load(folder)
    assert read.manifest == run.manifest
    assert read.trials == trials
    assert read.finished
    assert read.notices[-1].code == "x"
    for trial in trials:
        assert (folder / "artifacts" / trial.trial / "log.txt").read_bytes() == b"words"


def test_the_manifest_is_there_before_the_first_trial(tmp_path: Path, run: Run) -> None:
    writer = store.Writer(tmp_path, run.manifest)
    read = store.load(writer.folder)
    writer.close()
    assert read.trials == []
    assert not read.finished
    assert [notice.code for notice in read.notices][-1] == "unfinished"


def test_a_trial_is_one_write_and_is_synced(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = store.Writer(tmp_path, run.manifest)
    calls: list[tuple[str, bytes]] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: calls.append(("write", bytes(data))) or write(fd, data))
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(("fsync", b"")))
    writer.append(run.trials[0], {})
    monkeypatch.undo()
    writer.close()
    assert [name for name, _ in calls] == ["write", "fsync"]
    assert calls[0][1].endswith(b"}\n")
    assert calls[0][1].count(b"\n") == 1


@pytest.mark.parametrize("cut", [1, 2, 10, 100])
def test_a_torn_last_line_is_a_notice(tmp_path: Path, run: Run, cut: int) -> None:
    folder, trials = written(tmp_path, run)
    path = folder / store.TRIALS
    path.write_bytes(path.read_bytes()[:-cut])
    read = store.load(folder)
    assert read.trials == trials[:-1]
    assert "torn-line" in [notice.code for notice in read.notices]


def test_cut_anywhere_every_whole_line_loads(tmp_path: Path, run: Run) -> None:
    folder, trials = written(tmp_path, run, 3)
    path = folder / store.TRIALS
    data = path.read_bytes()
    for cut in range(0, len(data), 37):
        path.write_bytes(data[:cut])
        assert store.load(folder).trials == trials[: data[:cut].count(b"\n")]


def test_no_trials_at_all_is_a_run_without_them(tmp_path: Path, run: Run) -> None:
    folder, _ = written(tmp_path, run)
    (folder / store.TRIALS).unlink()
    assert store.load(folder).trials == []


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path, run: Run) -> None:
    folder, _ = written(tmp_path, run)
    path = folder / store.TRIALS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{broken\n", *lines[2:]]))
    with pytest.raises(StoreError, match=r"Line 2 of .*trials\.jsonl is not a trial"):
        store.load(folder)


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path, run: Run) -> None:
    folder, _ = written(tmp_path, run)
    path = folder / store.MANIFEST
    document = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(document | {"schema_version": SCHEMA_VERSION + 1, "news": True}))
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        store.load(folder)
    assert "newer" in caught.value.hint


def test_what_a_newer_tare_added_to_this_schema_is_read_past(tmp_path: Path, run: Run) -> None:
    folder, trials = written(tmp_path, run)
    path = folder / store.MANIFEST
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"news": True}))
    assert store.load(folder).trials == trials


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "\xff"])
def test_what_is_no_manifest_is_an_error_and_no_crash(tmp_path: Path, run: Run, text: str) -> None:
    folder, _ = written(tmp_path, run)
    (folder / store.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError):
        store.load(folder)


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_a_torn_end_is_an_unfinished_run(tmp_path: Path, run: Run, text: str) -> None:
    folder, trials = written(tmp_path, run)
    (folder / store.END).write_bytes(text.encode("latin-1"))
    read = store.load(folder)
    assert not read.finished
    assert read.trials == trials


def test_a_run_is_found_by_folder_id_and_latest(tmp_path: Path, run: Run) -> None:
    folder, _ = written(tmp_path, run)
    for name in (str(folder), folder.name, "latest"):
        assert store.find(name, tmp_path) == folder
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name in (str(tmp_path / "empty"), str(tmp_path / "file"), "nothing"):
        with pytest.raises(UsageError):
            store.find(name, tmp_path)
    with pytest.raises(UsageError, match="There is no run"):
        store.find("latest", tmp_path / "empty")


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        store.Writer(tmp_path / "file", run.manifest)
    assert "--results" in caught.value.hint


def test_ids_sort_by_time_and_are_short() -> None:
    ids = {store.new_id() for _ in range(50)}
    assert len(ids) > 40
    assert {len(each) for each in ids} == {20}


def test_failed_trials_have_no_row_in_the_table(run: Run) -> None:
    frame = run.frame()
    assert len(frame) == sum(len(trial.samples) for trial in run.trials)
    assert not frame["value"].isna().any()


def test_a_report_into_a_pipe_does_not_replace_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        store.write_report(pipe, "page")
        assert os.read(reading, 100) == b"page"
    finally:
        os.close(reading)
    assert pipe.is_fifo()


def test_what_the_host_was_like_at_the_end_is_kept(tmp_path: Path, run: Run) -> None:
    writer = store.Writer(tmp_path, run.manifest)
    writer.end(finished=True, notices=[], host={"governor": "powersave"})
    writer.close()
    assert store.load(writer.folder).host_after == {"governor": "powersave"}


def test_of_each_cell_the_first_measured_output_is_read_and_no_more_than_a_page_can_carry(tmp_path: Path) -> None:
    run = build()
    writer = store.Writer(tmp_path, run.manifest)
    for trial in run.trials:
        name = f"artifacts/{trial.trial}/tool.txt"
        words = b"\xff" + b"x" * 100_000 if trial.cell.arm == "kvm" else f"said in {trial.trial}".encode()
        writer.append(msgspec.structs.replace(trial, artifacts=[name]), {name: words})
    writer.close()
    printed = store.load(writer.folder).printed
    by_cell = {(trial.cell.arm, trial.cell.workload): trial for trial in run.trials if trial.trial in printed}
    assert len(by_cell) == len(printed) == len({(trial.cell.arm, trial.cell.workload) for trial in run.trials})
    assert all(trial.role == "measured" for trial in by_cell.values())
    assert printed[by_cell["docker", "boot"].trial] == f"said in {by_cell['docker', 'boot'].trial}"
    assert max(map(len, printed.values())) < store.MOST_PRINTED + 10


@pytest.mark.parametrize("name", ["artifacts/../../secret.txt", "/etc/hostname.txt", "artifacts/gone.txt"])
def test_an_output_that_is_elsewhere_or_gone_is_left_out(tmp_path: Path, name: str) -> None:
    run = build()
    (tmp_path / "secret.txt").write_text("secret")
    writer = store.Writer(tmp_path / "runs", run.manifest)
    for trial in run.trials:
        writer.append(msgspec.structs.replace(trial, artifacts=[name]), {})
    writer.close()
    assert store.load(writer.folder).printed == {}


@pytest.mark.parametrize("name", ["x" * 10_000, "no\0folder", "", "gone"])
def test_what_is_no_folder_holds_no_runs(name: str) -> None:
    assert not store.holds_runs(Path(name) if name else Path(__file__))
