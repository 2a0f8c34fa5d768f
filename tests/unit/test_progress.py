"""Live progress: for a terminal, for a log, for a program, for nobody."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from tare_bench.reports import progress
from tare_bench.reports.progress import Mode


def told(mode: Mode, *, terminal: bool = False) -> str:
    target = io.StringIO()
    shown = progress.make(mode, Console(file=target, force_terminal=terminal, width=100, _environ={}))
    for block in range(2):
        for arm in ("native", "[red]kvm"):
            shown.session(arm, block, 2, block * 2, 4, 75.4)
            shown.trial("t0001", arm, "boot", "ok", "")
    shown.trial("t0002", "[red]kvm", "boot", "failed", "no [bold]room")
    shown.close()
    return target.getvalue()


def test_nobody_is_told_nothing() -> None:
    assert told("none") == ""


def test_a_log_gets_a_line_for_a_block_and_for_what_failed() -> None:
    assert told("plain").splitlines() == [
        "block 1 of 2, about 1 min 15 s left",
        "block 2 of 2, about 1 min 15 s left",
        "t0002 [red]kvm boot: failed: no [bold]room",
    ]
    assert told("auto") == told("plain")


def test_a_program_gets_an_object_for_each_event() -> None:
    events = [json.loads(line) for line in told("json").splitlines()]
    assert [each["event"] for each in events] == ["session", "trial"] * 4 + ["trial"]
    assert events[0]["seconds_left"] == 75.4
    assert events[-1] == {
        "event": "trial",
        "trial": "t0002",
        "arm": "[red]kvm",
        "workload": "boot",
        "status": "failed",
        "reason": "no [bold]room",
    }


def test_a_terminal_gets_one_line_that_goes_away() -> None:
    words = told("auto", terminal=True)
    assert "block 1/2" in words
    assert "about 1 min 15 s left" in words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599.6, "60 min 0 s"), (-5, "0 s")]
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
