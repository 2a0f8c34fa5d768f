"""What is not Tare's and looks much like it: it must not be touched, whatever becomes of a run."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from pathlib import Path

from tare_bench import cgroups, paths, processes
from tare_bench.guest import agent_argv


class Bystanders:
    """A process in namespaces and a control group of its own, and a file beside our runtime folder."""

    def __init__(self) -> None:
        self._name = f"tare-bystander-{secrets.token_hex(4)}"
        self._folders = [folder for folder in cgroups.roots(self._name) if os.access(folder.parent, os.W_OK)]
        self._file = paths.runtime_dir().parent / self._name
        self._process: subprocess.Popen[bytes] | None = None
        self._started: int | None = None

    def __enter__(self) -> Bystanders:
        self._file.write_text(self._name)
        for folder in self._folders:
            folder.mkdir()
            _inherit(folder)
        namespaces = ["unshare", "-m", "-u", "-i", "-n"] if os.geteuid() == 0 else []
        # The agent itself, on a wire that nobody writes to: as like to ours as can be.
        command = [*namespaces, *agent_argv()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for folder in self._folders:
            with contextlib.suppress(OSError):  # a hierarchy that lets nobody in
                (folder / "cgroup.procs").write_text(str(self._process.pid))
        self._started = processes.start_time(self._process.pid)
        self._grouped = cgroups.of_process(self._process.pid)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._file.unlink(missing_ok=True)

    def touched(self) -> list[str]:
        """What is no longer as it was."""
        assert self._process is not None
        pid, found = self._process.pid, []
        if self._process.poll() is not None or processes.start_time(pid) != self._started:
            found.append("a foreign process was ended")
        elif cgroups.of_process(pid) != self._grouped:
            found.append("a foreign process was moved to another cgroup")
        found += [f"a foreign cgroup was removed: {folder}" for folder in self._folders if not folder.is_dir()]
        if not self._file.is_file() or self._file.read_text() != self._name:
            found.append("a foreign file was touched")
        return found


def _inherit(folder: Path) -> None:
    """A cpuset of v1 is empty until it is given what its parent has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder / name).exists() and not (folder / name).read_text().strip():
            with contextlib.suppress(OSError):
                (folder / name).write_text((folder.parent / name).read_text())
