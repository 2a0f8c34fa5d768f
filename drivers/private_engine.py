"""A Docker engine of our own for the length of a run, where none answers.

It disturbs no engine that is there: it has its own socket, data and state folders, and its own mount and network
namespaces (a second dockerd with `--bridge=none` would otherwise delete the first one's bridge). It gets SIGTERM when
this process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tare_bench import cgroups, paths, processes
from tare_bench.driver import RunContext
from tare_bench.errors import DriverUnavailable

from .docker_daemons import Daemons

READY_SECONDS = 60.0
STOP_SECONDS = 30.0

# The engine must not take a containerd that the system runs for its own: it is hidden in our mount namespace.
_ENTER = 'if [ -d /run/containerd ]; then mount -t tmpfs tmpfs /run/containerd; fi; exec "$@"'
_PRIVATE = ("unshare", "-m", "-n", "/bin/sh", "-c", _ENTER, "tare-engine", "setpriv", "--pdeathsig", "TERM")


_BUILT_IN = ("runc", "io.containerd.runc.v2")
_RUNTIMES = ("crun", "youki", "runsc")
"""OCI runtimes that a private engine is given, where their programs are installed."""


def possible() -> bool:
    """Whether a private engine could be started here."""
    return os.geteuid() == 0 and shutil.which("dockerd") is not None and shutil.which("unshare") is not None


def own_runtimes() -> list[str]:
    """The OCI runtimes that a private engine has."""
    return [*_BUILT_IN, *_installed_runtimes()]


def known_runtimes(info: Mapping[str, Any]) -> list[str]:
    """The OCI runtimes that an engine says it has."""
    return sorted(info.get("Runtimes") or {})


def _installed_runtimes() -> dict[str, dict[str, str]]:
    programs = {name: shutil.which(name) for name in _RUNTIMES}
    return {name: {"path": path} for name, path in programs.items() if path is not None}


_shared: dict[Path, tuple[PrivateEngine, int]] = {}


def share(context: RunContext) -> tuple[PrivateEngine, bool]:
    """The private engine of that run, and whether it was started just now. `release` it as often."""
    engine, users = _shared.get(context.folder, (None, 0))
    engine = engine or PrivateEngine(context)
    _shared[context.folder] = engine, users + 1
    return engine, not users


def release(engine: PrivateEngine) -> None:
    """End it when nobody uses it any more."""
    users = _shared[engine.run_folder][1] - 1
    if users:
        _shared[engine.run_folder] = engine, users
    else:
        del _shared[engine.run_folder]
        engine.close()


class PrivateEngine:
    """A running dockerd of ours. Made whole, or not at all.

    Raises DriverUnavailable with the engine's own words when it doesn't come up.
    """

    def __init__(self, context: RunContext) -> None:
        self.run_folder = context.folder
        self._folder = context.folder / "docker"
        self.url = f"unix://{self._folder}/docker.sock"
        self.cgroup = f"{cgroups.PARENT}/{context.run}-docker"
        self._lock = _lock_data()
        self._process: subprocess.Popen[bytes] | None = None
        for folder in cgroups.roots(self.cgroup):
            context.lease.own("cgroup", folder)
        # What a dead run's containers left in it is not worth telling from the rest: it is made anew in seconds.
        context.lease.own("engine-data", data_folder())
        try:
            self._folder.mkdir(mode=0o700)
            (self._folder / "daemon.json").write_text(json.dumps({"runtimes": _installed_runtimes()}))
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.bind(str(self._folder / "notify"))
                self._process = process = self._start()
                context.lease.own("process", str(process.pid), processes.start_time(process.pid) or 0)
                self._wait_ready(notify, process)
                self.daemons = Daemons(self.url, process.pid)
        except BaseException:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        folder, data = self._folder, data_folder()
        with (folder / "engine.log").open("wb") as log:
            return subprocess.Popen(
                [*_PRIVATE, *self._command(data)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                # The lock on its data is held by whatever of the engine lives: also after our own death.
                pass_fds=(self._lock,),
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            )  # fmt: skip

    def _command(self, data: Path) -> list[str]:
        options = {
            "host": self.url,
            "data-root": data,
            "exec-root": self._folder / "exec",
            "pidfile": self._folder / "pid",
            "config-file": self._folder / "daemon.json",
            "bridge": "none",
            "iptables": "false",
            "ip6tables": "false",
            "exec-opt": "native.cgroupdriver=cgroupfs",
            "cgroup-parent": f"/{self.cgroup}",
            "log-level": "warn",
        }
        return ["dockerd", *(f"--{name}={value}" for name, value in options.items())]

    def _wait_ready(self, notify: socket.socket, process: subprocess.Popen[bytes]) -> None:
        ended = os.pidfd_open(process.pid)
        try:
            while True:
                seen = select.select([notify.fileno(), ended], [], [], READY_SECONDS)[0]
                if notify.fileno() in seen and b"READY=1" in notify.recv(4096):
                    return
                if not seen or ended in seen:
                    hint = "Look into the engine's words above; `tare run --driver native,kvm` measures without it."
                    raise DriverUnavailable("A private Docker engine did not come up.", details=self.log(), hint=hint)
        finally:
            os.close(ended)

    def log(self) -> str:
        """The last words of the engine."""
        with contextlib.suppress(OSError):
            return (self._folder / "engine.log").read_text(errors="replace")[-3000:]
        return ""

    @property
    def pid(self) -> int | None:
        """The engine's process, while it runs."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End it and what it started; its data stays for the next run. Twice too."""
        if self._process is not None:
            below = [(pid, processes.start_time(pid)) for pid in processes.descendants(self._process.pid)]
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for pid, started in below:
                processes.kill(pid, started)
                processes.wait_gone(pid, started, STOP_SECONDS)
            self._process = None
        cgroups.remove([folder for folder in cgroups.roots(self.cgroup) if folder.is_dir()])
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock_data() -> int:
    base = paths.state_dir()
    base.mkdir(parents=True, exist_ok=True)
    lock = os.open(base / "docker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        hint = "Wait until it has ended; `tare sweep` removes it if its run is dead."
        raise DriverUnavailable(
            "Another run's private Docker engine is running.", details=str(base), hint=hint
        ) from None
    return lock


def data_folder() -> Path:
    """Where a private engine keeps its images between runs."""
    return paths.state_dir() / "docker"
