"""A system libvirtd of the tests' own: in mount and network namespaces, so that it sees nothing of the host's libvirt.

What a driver finds at fixed paths of the host (sockets, pids, logs) it then finds in a folder of ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import cgroups, tool
from tare_bench.drivers import libvirt_daemon

ITS_FOLDERS = ("/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt")
SECONDS = 60.0

PRIVATE = """
set -eu
folder=$1 libvirtd=$2; shift 2
for each; do mount --bind "$folder$each" "$each"; done
exec "$libvirtd" --pid-file "$folder/libvirtd.pid"
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
        words = ["unshare", "--mount", "--net", "--propagation=private", "sh", "-c", PRIVATE, "sh", str(folder)]
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "ready")}
        environment.pop("LIBVIRT_LOG_OUTPUTS", None)
        daemon = subprocess.Popen(
            [*words, tool.find("libvirtd") or "libvirtd", *ITS_FOLDERS], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            assert b"READY=1" in ready.recv(4096)
            yield
        finally:
            daemon.terminate()
            daemon.wait(SECONDS)
            shutil.rmtree(folder / "run", ignore_errors=True)
