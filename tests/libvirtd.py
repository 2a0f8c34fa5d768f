"""A system libvirtd of the tests' own: in mount and network namespaces, so that it sees nothing of the host's libvirt.

What a driver finds at fixed paths of the host (sockets, pids, logs) it then finds in a folder of ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import cgroups, tool
from tare_bench.drivers import libvirt_daemon

ITS_FOLDERS = ("/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt")
CONFIGURATION = 'auth_unix_rw = "none"\nunix_sock_rw_perms = "0777"\n'
"""Any user may come in, as a member of its group may elsewhere."""
SECONDS = 60.0

PRIVATE = """
set -eu
folder=$1 libvirtd=$2; shift 2
for each; do mount --bind "$folder$each" "$each"; done
exec "$libvirtd" --config /etc/libvirt/libvirtd.conf --pid-file "$folder/libvirtd.pid"
"""

# libvirt waits for the zombies of QEMU, 40 s each. They would be handed to the tests, who know nothing of them.
INIT = """
import os, signal, subprocess, sys
from tare_bench import processes

processes.become_subreaper()
daemon = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(daemon.pid, signal.SIGTERM))
while os.wait()[0] != daemon.pid:
    pass
"""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its URI, as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="libvirtd-", dir="/run")))
        folder.chmod(0o711)
        for each in ITS_FOLDERS:
            stack.enter_context(_there(Path(each)))
            (folder / each.lstrip("/")).mkdir(parents=True)
        (folder / "etc/libvirt/qemu.conf").write_text('stdio_handler = "file"\nsecurity_driver = "none"\n')
        (folder / "etc/libvirt/libvirtd.conf").write_text(CONFIGURATION)
        for root in cgroups.roots("machine"):
            if not root.exists():
                stack.callback(_remove_empty, root)
        stack.enter_context(_started(folder))
        state = folder / "run/libvirt"
        uri = f"qemu:///system?socket={state}/libvirt-sock"
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(libvirt_daemon, "SYSTEM", uri)
        patch.setattr(libvirt_daemon, "SYSTEM_STATE", state)
        patch.setattr(libvirt_daemon, "SYSTEM_LOGS", folder / "var/log/libvirt/qemu")
        yield uri


@contextlib.contextmanager
def _there(folder: Path) -> Iterator[None]:
    """To be mounted upon, a folder must exist."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[None]:
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ready:
        ready.bind(str(folder / "ready"))
        ready.settimeout(SECONDS)
        init = [sys.executable, "-c", INIT, "unshare", "--mount", "--net", "--propagation=private"]
        daemon_and_places = [str(folder), tool.find("libvirtd") or "libvirtd", *ITS_FOLDERS]
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "ready")}
        environment.pop("LIBVIRT_LOG_OUTPUTS", None)
        daemon = subprocess.Popen(
            [*init, "sh", "-c", PRIVATE, "sh", *daemon_and_places], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            assert b"READY=1" in ready.recv(4096)
            yield
        finally:
            daemon.terminate()
            daemon.wait(SECONDS)
            shutil.rmtree(folder / "run", ignore_errors=True)
