"""A run that is killed: no finished trial is lost, and after a sweep nothing of it is left. One signal for each phase.

Which signal, and in whose instance, turns with the seed of the random order, so that all of them come by in time.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest
from killing import SIGNALS, kill_once
from phases import PHASES

DRIVERS = ("native", "docker", "kvm")

pytestmark = [pytest.mark.needs(name) for name in (*DRIVERS, "root")]


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_run_keeps_what_it_had_and_leaves_nothing(phase: str, request: pytest.FixtureRequest) -> None:
    turn = random.Random(f"{request.config.getoption('randomly_seed', 0)} {phase}")
    # A process is stopped within a millisecond: no signal can be aimed at that.
    signum, target = turn.choice(SIGNALS), turn.choice(DRIVERS[1:] if phase == "stopping" else DRIVERS)
    others = [name for name in DRIVERS if name != target][:1]
    report = kill_once(signum, phase, (*others, target))
    assert not report.problems, f"{signal.Signals(signum).name} in {phase} of {target}: {report}"


SECOND = """
import os, signal, sys, threading
from tare_bench.cli.interrupts import guarded

with guarded():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(30)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        print("went on tidying up", flush=True)
        threading.Event().wait(30)
"""


def test_a_second_interrupt_stops_tidying_up_and_names_the_sweep() -> None:
    ended = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert "tare sweep" in ended.stderr
    assert ended.stdout == ""
