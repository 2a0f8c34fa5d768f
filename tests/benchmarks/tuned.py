"""Ends a run while the host is tuned, and says what gave the host back: the run itself, or what was started next."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from killing import END_SECONDS, SIGNALS, ending, tare
from tare_bench import hostfacts, store

KSM = Path("/sys/kernel/mm/ksm/run")
"""The setting that nearly every kernel has, and that may be switched for a moment."""

_ONCE = ("--rounds", "1", "--no-aa", "--progress", "none")
THEN = {
    "list": ("list", "drivers"),
    "plan": ("plan", "-d", "fake"),
    "check": ("check", "native"),
    "run": ("run", "-d", "fake", "-w", "boot", *_ONCE),
    "sweep": ("sweep",),
}
"""What is started next where the run could not tidy up, by command."""


def possible() -> bool:
    """Whether there is a setting to tune."""
    return os.access(KSM, os.W_OK)


@contextlib.contextmanager
def switched_on() -> Iterator[None]:
    """The host's own setting, other than what it is tuned to."""
    before = KSM.read_text()
    KSM.write_text("1")
    try:
        yield
    finally:
        KSM.write_text(before)


def is_on() -> bool:
    """Whether it is as it was before the run."""
    return KSM.read_text().strip() == "1"


def kill_once(signum: int, driver: str, then: str) -> dict[str, Any]:
    """Run Tare tuned, signal it, and after a SIGKILL start something else."""
    with tempfile.TemporaryDirectory(prefix="tare-tuned-") as folder, switched_on():
        try:
            problems = [*_signalled(signum, driver, Path(folder)), *_given_back(signum, then, Path(folder))]
        finally:
            _call("sweep", cwd=Path(folder))
    killed = signum == signal.SIGKILL
    line = {"signal": signal.Signals(signum).name, "driver": driver, "then": then if killed else ""}
    return {"ok": not problems, **line, "problems": problems}


def _signalled(signum: int, driver: str, folder: Path) -> Iterator[str]:
    command = tare("run", "--tune", "-d", driver, "-w", "boot", "--rounds", "10000", "--progress", "plain")
    run = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=folder,
    )  # fmt: skip
    assert run.stderr is not None
    with run.stderr:
        try:
            said = next((line for line in run.stderr if "The host is tuned" in line), "it ended before")
            if "KSM 1 → 0" not in said or is_on():
                yield f"the host was not tuned: {said.strip()}"
            if _call("list", "drivers", cwd=folder).returncode or is_on():
                yield "another command undid what a living run had tuned"
            run.send_signal(signum)
            yield from ending(signum, "trial", run.wait(END_SECONDS))
        finally:
            run.kill()
            run.wait()


def _given_back(signum: int, then: str, folder: Path) -> Iterator[str]:
    if signum == signal.SIGKILL:
        listed = json.loads(_call("sweep", "--dry-run", "--json", cwd=folder).stdout)
        if is_on() or "tuning" not in [each["kind"] for each in listed]:
            yield "a sweep that only lists did not list it, or did more"
        done = _call(*THEN[then], cwd=folder)
        if done.returncode:
            yield f"tare {then} ended with {done.returncode}: {done.stderr[-1000:]}"
        if str(KSM) not in done.stdout + done.stderr:
            yield f"tare {then} did not say that it gave the host back"
    if not is_on():
        yield "the host is still tuned"


def _call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(tare(*words), capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def measure(drivers: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Each signal on each driver, and after SIGKILL each command."""
    lines = []
    for driver, signum in itertools.product(drivers if possible() else (), SIGNALS):
        for then in THEN if signum == signal.SIGKILL else ("",):
            lines.append(kill_once(signum, driver, then))
            say(f"{driver} {signal.Signals(signum).name} {then}: {lines[-1]['problems'] or 'ok'}")
    return {
        "claim": "Whatever ends a run while the host is tuned, the host is given back: by the run itself, and after "
        "SIGKILL by whatever command of Tare's starts next.",
        "shown": bool(lines) and all(line["ok"] for line in lines),
        "date": store.utc_now(),
        "kills": lines,
        "facts": {"host": hostfacts.collect()},
    }
