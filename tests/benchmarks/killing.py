"""Kills a run in the middle of a phase and says what became of it: what was kept, what was left, what was touched."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bystanders import Bystanders
from phases import LATE, LOAD, PHASES, STORM, UNGUARDED, WORKLOADS, Watched, command_lines, shared_cgroups
from tare_bench import cgroups, paths, processes, registry, store

TICK = 0.002
"""Seconds between two looks, where there is nothing that could be waited for."""
SEEN_SECONDS = 300.0
"""Within which the phase must begin; another run that measures on this host is waited for, too."""
END_SECONDS = 90.0
"""Within which a run that was signalled must have ended."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one run that was signalled."""

    signal: str
    phase: str
    drivers: tuple[str, ...]
    run: str
    returncode: int
    """As Popen has it: minus the signal where the signal killed it."""
    seconds: float
    """From the signal to the end of the process."""
    kept: int
    """Whole lines of trials.jsonl at the time of the signal."""
    lines: int
    """Whole lines of it at the end."""
    swept: tuple[str, ...] = ()
    """What `tare sweep` said that it removes of this run."""
    problems: tuple[str, ...] = ()
    """Whatever is not as promised; empty: all is well."""

    @property
    def ok(self) -> bool:
        """Whether the run ended as promised."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """It as a document."""
        return {"ok": self.ok, **asdict(self)}


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def kill_once(signum: int, phase: str, drivers: Sequence[str]) -> Report:
    """Run Tare, signal it in the middle of the phase, and look at what became of it.

    The phase is looked for in an instance of the last of `drivers`. Raises TimeoutError when it never came, and
    RuntimeError with the run's own words when it ended before.
    """
    with tempfile.TemporaryDirectory(prefix="tare-kill-") as folder, Bystanders() as bystanders:
        run = start(phase, tuple(drivers), Path(folder))
        try:
            until(run, PHASES[phase], phase)
            kept = whole_lines(run.kept / store.TRIALS)
            at = time.monotonic()
            run.process.send_signal(signum)
            returncode = run.process.wait(END_SECONDS)
            seconds = time.monotonic() - at
        finally:
            end(run)
        after = whole_lines(run.kept / store.TRIALS)
        problems = [*ending(signum, phase, returncode), *losses(run, kept, after), *rendered(run)]
        swept, more = sweep(run, tidy=signum != signal.SIGKILL)
        problems += [*more, *bystanders.touched()]
        name, known = signal.Signals(signum).name, (len(kept), len(after), tuple(swept), tuple(problems))
        return Report(name, phase, run.drivers, run.run, returncode, round(seconds, 3), *known)


def tare(*arguments: str | Path) -> list[str]:
    """A command line of the Tare that is installed beside this interpreter."""
    return [sys.executable, "-c", "from tare_bench.cli import main; main()", *map(str, arguments)]


def start(phase: str, drivers: tuple[str, ...], folder: Path) -> Watched:
    """Start a run that will come to that phase."""
    what = ["--quick", "-w", ",".join(WORKLOADS), "--rounds", "2"]
    if phase in LATE:
        what = ["-w", "boot", "--rounds", "1"]
    elif phase == "storming":
        what = ["-w", STORM, "--parallel", "4", "--rounds", "1"]
    elif phase == "loading":
        what = ["-w", LOAD, "--rounds", "1"]
    log, results = folder / "stderr", folder / "results"
    command = tare("run", "-d", ",".join(drivers), *what, "--progress", "json", "--results", results)
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
            cwd=folder,
        )  # fmt: skip
    return Watched(process, drivers, results, log)


def until(run: Watched, seen: Callable[[Watched], bool], phase: str) -> None:
    """Look until the phase has begun."""
    ended = os.pidfd_open(run.process.pid)
    deadline = time.monotonic() + SEEN_SECONDS
    try:
        while True:
            run.look()
            if seen(run):
                return
            if select.select([ended], [], [], TICK)[0]:
                raise RuntimeError(f"the run ended before {phase}:\n{run.log.read_text()[-3000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{phase} never came:\n{run.log.read_text()[-3000:]}")
    finally:
        os.close(ended)


def end(run: Watched) -> None:
    """Our own child is never left running, whatever went wrong."""
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()
        subprocess.run(tare("sweep"), capture_output=True, check=False)


def whole_lines(path: Path) -> list[bytes]:
    """The lines that are whole; none where there is no file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def ending(signum: int, phase: str, returncode: int) -> list[str]:
    """130 for SIGINT, 143 for SIGTERM; SIGKILL can only kill."""
    allowed = {-signum} if signum == signal.SIGKILL else {128 + signum}
    allowed |= {-signum} if phase in UNGUARDED else set()
    return [] if returncode in allowed else [f"exit status {returncode}, not {' or '.join(map(str, allowed))}"]


def losses(run: Watched, kept: list[bytes], after: list[bytes]) -> list[str]:
    """What had been written must still be there, the same and readable."""
    if after[: len(kept)] != kept:
        return [f"of {len(kept)} finished trials not all are there any more"]
    broken = [number for number, line in enumerate(after, 1) if not _is_json(line)]
    return [f"line {number} of trials.jsonl is not whole" for number in broken]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def rendered(run: Watched) -> list[str]:
    """`tare report` must make a page of what is there, where the run had come to keep anything at all."""
    if not (run.kept / store.MANIFEST).exists():
        return []
    page = run.results.parent / "again.html"
    command = tare("report", run.run, "--results", run.results, "--output", page)
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode or not page.exists():
        return [f"tare report ended with {made.returncode}: {made.stderr[-1000:]}"]
    return []


def sweep(run: Watched, *, tidy: bool) -> tuple[list[str], list[str]]:
    """Sweep, and return what it says it removed of this run and what is wrong.

    A run that could tidy up by itself (`tidy`) must have left nothing for it.
    """
    problems = [f"not tidied up: {each}" for each in remains(run)] if tidy else []
    made = subprocess.run(tare("sweep", "--json"), capture_output=True, text=True, check=False)
    if made.returncode:
        return [], [*problems, f"tare sweep ended with {made.returncode}: {made.stderr[-1000:]}"]
    swept = [f"{row['kind']} {row['name']}" for row in json.loads(made.stdout) if run.run and run.run in str(row)]
    return swept, [*problems, *(f"left after the sweep: {each}" for each in remains(run))]


def remains(run: Watched) -> list[str]:
    """What is there that was not there before the run. A parent with something in it serves another run by now."""
    parents = [folder for folder in shared_cgroups() - run.parents if not any(folder.glob("*/"))]
    in_spaces = [f"process {pid} in the run's network" for pid in processes.all_pids() if _space(pid) in run.spaces]
    devices = [f"device {each.name}" for each in Path("/sys/class/net").glob("tare*")]
    return [*left(run.run), *in_spaces, *devices, *(f"cgroup {folder}" for folder in parents)]


def _space(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""


def left(run: str) -> list[str]:
    """Everything on this host that bears the run's id."""
    if not run:
        return []
    found = [f"process {pid}: {' '.join(words)[:120]}" for pid, words in command_lines() if _mentions(run, words)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line.split()[4]}" for line in mounts if run in line]
    for root in cgroups.roots(""):
        found += [f"cgroup {folder}" for folder in root.glob("**/") if run in folder.name]
    found += [f"file {path}" for area in ("overlays", "native") for path in (paths.cache_dir() / area).glob(f"*{run}*")]
    found += [f"folder {paths.runtime_dir() / run}"] if (paths.runtime_dir() / run).exists() else []
    return found + _left_containers(run)


def _mentions(run: str, words: list[str]) -> bool:
    return any(run in word for word in words)


def _left_containers(run: str) -> list[str]:
    """In an engine that is the user's own; a private one has gone with its run."""
    found = registry.driver("docker").leftovers([])
    return [f"container {each.name}" for each in found if run in each.name]
