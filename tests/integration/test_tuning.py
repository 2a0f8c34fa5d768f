"""A run that tunes the host: given back at its end, and by whatever starts next where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import TARE
from program import Tare
from tare_bench import store

KSM = Path("/sys/kernel/mm/ksm/run")
RUN = ("run", "--tune", "-d", "fake", "-w", "boot", "--progress", "plain", "--results", "results")

pytestmark = pytest.mark.needs("ksm")


@pytest.fixture
def ksm() -> Iterator[Path]:
    """The host's own setting, switched on for the test and then what it was."""
    before = KSM.read_text()
    KSM.write_text("1")
    try:
        yield KSM
    finally:
        KSM.write_text(before)


def is_on() -> bool:
    return KSM.read_text().strip() == "1"


def test_a_tuned_run_says_so_and_gives_it_back(tare: Tare, ksm: Path, tmp_path: Path) -> None:
    done = tare(*RUN, "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert is_on()
    assert "The host is tuned until this run ends: " in done.stderr
    [folder] = store.runs(tmp_path / "results")
    run = store.load(folder)
    assert "KSM 1 → 0" in run.manifest.host["tuned"]
    assert (run.manifest.host["ksm"], run.host_after["ksm"]) == ("0", "0")
    page = (folder / "report.html").read_text()
    assert "KSM 1 → 0" in page
    assert "Host, at the end" in page


@pytest.mark.parametrize(
    ("signum", "then"),
    [
        (signal.SIGTERM, ()),
        (signal.SIGKILL, ("list", "drivers")),
        (signal.SIGKILL, ("run", "-d", "fake", "-w", "boot", "--rounds", "1", "--progress", "none")),
        (signal.SIGKILL, ("sweep",)),
    ],
)
def test_a_killed_run_leaves_no_tuned_host(
    tare: Tare, ksm: Path, state: Path, tmp_path: Path, signum: signal.Signals, then: tuple[str, ...]
) -> None:
    environment = {**os.environ, "TARE_STATE": str(state), "NO_COLOR": "1"}
    running = subprocess.Popen(
        [TARE, *RUN, "--rounds", "10000"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert running.stderr is not None
        said = next(line for line in running.stderr if "The host is tuned" in line or "error" in line)
        assert "KSM 1 → 0" in said
        assert not is_on()
        assert tare("list", "drivers").returncode == 0
        assert not is_on(), "the run is alive: its host stays tuned"
        running.send_signal(signum)
        running.stderr.read()
        running.wait(60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    if then:
        assert not is_on()
        dry = json.loads(tare("sweep", "--dry-run", "--json").stdout)
        assert [each["kind"] for each in dry if each["kind"] == "tuning"] == ["tuning"]
        assert not is_on()
        done = tare(*then)
        assert done.returncode == 0, done.stderr
        assert str(KSM) in done.stderr + done.stdout
    assert is_on()
    assert tare("sweep").returncode == 0
