"""The phases of a run, each recognised by what it does.

By the run's own events, its folder on the host, an instance's traces: never by waiting for as long as it should have
taken.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tare_bench import cgroups, paths, processes, store
from tare_bench.guest import agent_argv

WORKLOADS = ("memory", "sysbench-cpu")
"""Both take a second or more: there is time to be killed in."""

LOAD = "net-request"
"""The workload whose load comes from outside of the instances."""
STORM = "storm"
"""The workload that starts many at once."""


def shared_cgroups() -> set[Path]:
    """The parents that runs have in common, where they are there."""
    folders = [*cgroups.roots(cgroups.PARENT), *cgroups.roots("machine")]
    return {folder for folder in folders if folder.is_dir()}


@dataclass(slots=True)
class Watched:
    """A run in progress, and what has been seen of it so far."""

    process: subprocess.Popen[bytes]
    drivers: tuple[str, ...]
    results: Path
    log: Path
    run: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    session: str = ""
    """The instance that is being made or used, once it is the target's in a measured block."""
    parents: set[Path] = field(default_factory=shared_cgroups)
    """Parents of control groups that were there before it began."""
    spaces: set[str] = field(default_factory=set)
    """The run's network namespaces, as far as they were seen."""
    before: frozenset[object] = frozenset()
    """What looked like the next instance's traces before it was asked for."""
    _read: int = 0

    @property
    def target(self) -> str:
        """The driver in whose instance the phase is looked for."""
        return self.drivers[-1]

    @property
    def folder(self) -> Path:
        """The run's own folder on the host."""
        return paths.runtime_dir() / self.run

    @property
    def kept(self) -> Path:
        """The run's folder of results."""
        return self.results / self.run

    def look(self) -> None:
        """Take in what it has written since the last look."""
        self.run = self.run or _run_of(self.process.pid)
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        if not line.startswith("{"):
            self.words.append(line)
            return
        event = json.loads(line)
        self.events.append(event)
        if event["event"] == "session":
            mine = event["arm"] == self.target and event["block"] >= 1
            self.session = f"b{event['block']}p{event['done'] % len(self.drivers)}" if mine else ""
            self.before = frozenset(traces(self)) if mine else frozenset()

    def after(self, workload: str) -> bool:
        """Whether the last thing that it has said is that this trial of the target's is done."""
        last = self.events[-1] if self.events else {}
        return bool(self.session) and last.get("event") == "trial" and last["workload"] == workload


def _run_of(pid: int) -> str:
    """The run that this process holds the lock of; empty before it has one."""
    for lock in paths.runtime_dir().glob("*/lock"):
        with contextlib.suppress(OSError, ValueError):
            if int(lock.read_text()) == pid:
                return lock.parent.name
    return ""


def traces(run: Watched) -> set[object]:
    """What the target's driver leaves on the host while it creates and while it boots; new ones tell of a phase."""
    if run.target == "docker":
        return {*_containers(run), *_started(run)}
    if run.target == "native":
        return {*(paths.cache_dir() / "native").glob(f"{run.run}-{run.session}"), *_started(run)}
    return {*run.folder.glob(run.session), *_started(run)}


def _containers(run: Watched) -> Iterator[Path]:
    """The engine's folder for each container: its private one's, or the one that the environment names."""
    data = paths.state_dir() / "docker"
    if not (run.folder / "docker").is_dir():
        import docker

        with contextlib.closing(docker.from_env(version="auto")) as client:
            data = Path(client.info()["DockerRootDir"])
    return (data / "containers").glob("*")


def _started(run: Watched) -> Iterator[object]:
    """Signs that an instance has been started: its agent or its shim; libvirt's own note that a guest is running."""
    if run.target == "kvm":
        for status in (run.folder / "libvirt/run/qemu").glob("*.xml"):
            with contextlib.suppress(OSError):
                if "state='running'" in status.read_text():
                    yield status.name
        return
    for pid, words in command_lines():
        shim = run.target == "docker" and "containerd-shim" in words[0]
        if shim or words == agent_argv():
            yield pid


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Every process that is there now, with its arguments."""
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if words:
                yield pid, words


def is_preparing(run: Watched) -> bool:
    """The target's driver opens: a private engine or libvirt is being started. One that has neither just opens."""
    begun = {"docker": run.folder / "docker", "kvm": run.folder / "libvirt"}.get(run.target, run.folder)
    opening, over = (f"{run.target}: {what}" in run.words for what in ("opening", "preparing its image"))
    return bool(run.run) and (over or (opening and begun.is_dir()))


def is_creating(run: Watched) -> bool:
    """The instance was asked for and has left its first trace on the host."""
    return bool(run.session) and bool(traces(run) - run.before)


def is_booting(run: Watched) -> bool:
    """The instance was started."""
    return bool(run.session) and bool(set(_started(run)) - run.before)


def is_in_trial(run: Watched) -> bool:
    """The boot is measured and idle memory is kept: the benchmark in the instance runs now."""
    return run.after(WORKLOADS[0])


def is_stopping(run: Watched) -> bool:
    """The last trial on the instance is kept: what follows is its end."""
    return run.after(WORKLOADS[-1])


def is_between(run: Watched) -> bool:
    """The instance has stopped: it is destroyed, and the host settles for the next one."""
    return run.after("stop")


def is_storming(run: Watched) -> bool:
    """Several of the target's instances were asked for at once, and two of them at least have left a trace."""
    last = run.events[-1] if run.events else {}
    mine = last.get("event") == "session" and last["arm"] == run.target and last["workload"].startswith(STORM)
    return mine and len(_many(run)) > 1


def _many(run: Watched) -> set[object]:
    if run.target == "docker":
        return {*_containers(run)} - run.before
    return {*(run.folder.glob("b*w*n*") if run.target == "kvm" else _native_rooms(run))}


def _native_rooms(run: Watched) -> Iterator[Path]:
    return (paths.cache_dir() / "native").glob(f"{run.run}-b*w*n*")


def is_loading(run: Watched) -> bool:
    """A load generator works on the target's instance, in the run's network namespace."""
    last = run.events[-1] if run.events else {}
    if not (last.get("event") == "session" and last["arm"] == run.target and last["workload"].startswith(LOAD)):
        return False
    for pid, words in command_lines():
        if words[0].endswith("redis-benchmark") and any(word.startswith("198.18.") for word in words):
            with contextlib.suppress(OSError):
                run.spaces.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return bool(run.spaces)


def is_closing(run: Watched) -> bool:
    """All trials are done: engines and connections are being closed."""
    return bool(run.run) and (run.kept / store.END).exists()


def is_rendering(run: Watched) -> bool:
    """What the run owned is gone and its page is not there yet."""
    return is_closing(run) and not run.folder.exists()


PHASES: dict[str, Callable[[Watched], bool]] = {
    "preparing": is_preparing,
    "creating": is_creating,
    "booting": is_booting,
    "trial": is_in_trial,
    "stopping": is_stopping,
    "between": is_between,
    "storming": is_storming,
    "loading": is_loading,
    "closing": is_closing,
    "rendering": is_rendering,
}
LATE = ("closing", "rendering")
"""The phases after the last trial: one short block is enough for them."""
UNGUARDED = LATE
"""Where nothing is left to be tidied up a signal may also end the process by itself; closing can end meanwhile."""
