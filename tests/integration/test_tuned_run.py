"""A run that tunes the host: given back at its end, and by whatever starts next where it was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tuned
from program import Tare
from tare_bench import store

pytestmark = pytest.mark.needs("ksm")


@pytest.fixture
def host() -> Iterator[None]:
    """One that can be tuned."""
    with tuned.switched_on():
        yield


def test_a_tuned_run_says_so_and_gives_it_back(tare: Tare, host: None, tmp_path: Path) -> None:
    done = tare("run", "--tune", "-d", "fake", "-w", "boot", "--rounds", "1", "--results", "results")
    assert done.returncode == 0, done.stderr
    assert tuned.is_on()
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
    [(signal.SIGTERM, ""), (signal.SIGKILL, "list"), (signal.SIGKILL, "run"), (signal.SIGKILL, "sweep")],
)
def test_a_killed_run_leaves_no_tuned_host(signum: int, then: str) -> None:
    assert tuned.kill_once(signum, "fake", then)["problems"] == []
