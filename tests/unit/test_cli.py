"""The command line's own parts: errors in three parts, exit statuses, signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from runs import build, troubled
from tare_bench import cli, store
from tare_bench.cli.common import split
from tare_bench.cli.interrupts import Guard, Interrupted, guarded
from tare_bench.cli.ready import instance_cpus
from tare_bench.cli.report import exit_status
from tare_bench.errors import (
    DriverUnavailable,
    ImageError,
    InstanceError,
    StoreError,
    TareError,
    UsageError,
)
from tare_bench.runner import Runner

run: Any = import_module("tare_bench.cli.run")


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> int:
    def fails(args: list[str] | None = None, standalone_mode: bool = True) -> int:
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(cli.cli, "main", fails)
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (TareError("x"), 1),
        (InstanceError("x"), 1),
        (ImageError("x"), 1),
        (StoreError("x"), 1),
        (UsageError("x"), 2),
        (DriverUnavailable("x"), 3),
        (Interrupted(signal.SIGINT), 130),
        (Interrupted(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_it_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: int) -> None:
    assert ended(monkeypatch, error) == status


def test_an_error_is_said_in_its_three_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(monkeypatch, TareError("It broke [bold].", details="the engine's words\n[red]more", hint="tare setup"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: It broke [bold].\n  the engine's words\n  [red]more\nwhat to do: tare setup\n"


def test_a_bug_is_kept_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(monkeypatch, ZeroDivisionError("by zero")) == 70
    [kept] = tmp_path.iterdir()
    assert "ZeroDivisionError: by zero" in kept.read_text()
    said = capsys.readouterr().err
    assert str(kept) in said
    assert "Traceback" not in said


def test_a_reader_that_has_had_enough_is_no_bug(tmp_path: Path) -> None:
    code = "from tare_bench.cli import main; main(['list', 'metrics'])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_the_first_signal_interrupts_and_the_handlers_come_back() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for each in before:
        with pytest.raises(Interrupted) as caught, guarded():
            os.kill(os.getpid(), each)
        assert caught.value.exit_status == 128 + each
    assert {each: signal.getsignal(each) for each in before} == before


def test_the_second_signal_stops_tidying_and_names_the_sweep() -> None:
    code = """
import os, signal
from tare_bench.cli.interrupts import guarded
with guarded():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("tidied")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert "tare sweep" in done.stderr
    assert done.stdout == ""


def test_an_interrupt_is_swallowed_by_no_handler_of_errors() -> None:
    assert not issubclass(Interrupted, Exception)
    with pytest.raises(Interrupted):
        Guard().handle(signal.SIGINT, None)


def test_what_closes_an_engine_is_let_finish_and_the_signal_takes_effect_then() -> None:
    guard, done = Guard(), []

    def close() -> None:
        with guard.deferred():
            guard.handle(signal.SIGTERM, None)
            done.append("closed")

    with pytest.raises(Interrupted) as caught:
        close()
    assert done == ["closed"]
    assert caught.value.exit_status == 143


def test_a_signal_that_was_seen_before_is_not_raised_again() -> None:
    guard = Guard()
    with pytest.raises(Interrupted):
        guard.handle(signal.SIGINT, None)
    with guard.deferred():
        pass


def test_the_exit_status_of_a_run() -> None:
    assert exit_status(build()) == 0
    assert exit_status(troubled()) == 1
    nothing = build()
    assert exit_status(msgspec.structs.replace(nothing, trials=[])) == 1


def test_names_may_be_listed_or_repeated() -> None:
    assert split(("a,b", " c ", "", "d,,e")) == ["a", "b", "c", "d", "e"]


def test_instances_get_the_last_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 2, 5, 7})
    assert instance_cpus(1) == (7,)
    assert instance_cpus(2) == (5, 7)


def test_an_interrupt_is_not_hidden_by_results_that_cannot_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: object) -> None:
        raise Interrupted(signal.SIGTERM)

    class Events:
        def events(self) -> Events:
            return self

        def close(self) -> None:
            pass

    writer = store.Writer(tmp_path, build().manifest)
    writer.close()
    shutil.rmtree(writer.folder)
    monkeypatch.setattr(run, "_follow", interrupted)
    with pytest.raises(Interrupted):
        run._run(cast(Runner, Events()), writer, "none")
