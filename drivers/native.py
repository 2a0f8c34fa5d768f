"""`native`: a process on the host, in the rootfs, with the same CPU and memory limits: the floor.

It has a private mount namespace with the rootfs bound read-only, its own proc and dev, a work folder of its own on the
same file system, and tmpfs on /tmp and /run/tare. It has no PID or user namespace, and a network
namespace only with `network = "bridge"`: else it sees the host's processes and its network, as any process does.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tare_bench import cgroups, footprint, granted, network, paths, processes
from tare_bench.driver import Accounts, Driver, Instance, Kind, Leftover, Resolution, RunContext, Rung, Streams, Support
from tare_bench.errors import InstanceError
from tare_bench.guest import agent_argv
from tare_bench.model import Accelerator, NetworkPath, Notice, Spec
from tare_bench.network import Link, Reach
from tare_bench.wire import SocketChannel

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

CREATE_SECONDS = 20.0
KILL_SECONDS = 5.0
KILL_ROUNDS = 10

_OWN_MOUNTS = ("unshare", "-m", "--propagation", "private")


class NativeDriver(Driver):
    """Processes on the host."""

    name = "native"
    kind = Kind.PROCESS

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._rootfs: Rootfs | None = None
        self._image_bytes = 0

    def check(self, *, fresh: bool = False) -> Support:
        root = os.geteuid() == 0
        rungs = [
            Rung("root", root, f"uid {os.geteuid()}", "Run it as root: chroot and private mounts need it."),
        ]
        missing = [tool for tool in ("unshare", "mount", "chroot") if shutil.which(tool) is None]
        rungs.append(
            Rung("tools", not missing, "unshare, mount, chroot" if not missing else f"missing: {missing}", "tare setup")
        )
        if root and not missing:
            tried = subprocess.run(
                [*_OWN_MOUNTS, "mount", "-t", "tmpfs", "tare", "/proc"],
                capture_output=True, text=True, check=False, start_new_session=True,
            )  # fmt: skip
            seen = "mounts in a namespace of its own" if tried.returncode == 0 else tried.stderr.strip()
            rungs.append(
                Rung("mounts", tried.returncode == 0, seen, "Run it where mounts are allowed (CAP_SYS_ADMIN).")
            )
        notices = [] if cgroups.writable() else [_unlimited("no control group can be made here")]
        return Support(tuple(rungs), notices=tuple(notices))

    def describe(self) -> Mapping[str, str]:
        return {
            "kernel": platform.release(),
            "cgroups": cgroups.hierarchies().version,
            "isolation": "mount namespace; no PID or user namespace, a network namespace only on a bridge",
        }

    def refuses(self, path: NetworkPath) -> str:
        if path in ("user", "nat"):
            return f"a process has no {path} network"
        return network.refusal(path)

    def open(self, context: RunContext) -> None:
        self._context = context

    def close(self) -> None:
        self._context = None

    def prepare(self, rootfs: Rootfs) -> None:
        if not rootfs.tree.is_dir():
            raise InstanceError(
                "The rootfs is not unpacked.", details=str(rootfs.tree), hint="tare run builds it; as root"
            )
        self._rootfs = rootfs
        self._image_bytes = footprint.allocated([rootfs.tree])

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        return Resolution("none")

    def image_files(self) -> Sequence[Path]:
        assert self._rootfs is not None
        return (self._rootfs.tree,)

    def create(self, spec: Spec, *, name: str) -> Instance:
        assert self._context is not None
        assert self._rootfs is not None
        return NativeInstance(self._context, self._rootfs.tree, spec, name, self._image_bytes)

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        return []  # all of a native instance stands in its run's lease


def _unlimited(why: str) -> Notice:
    return Notice(
        code="native-unlimited",
        subject="native",
        message=f"Native instances run without limits: {why}.",
        hint="Run it as root on a host whose /sys/fs/cgroup is writable.",
    )


class NativeInstance(Instance):
    """One agent in a chroot. Made whole, or not at all."""

    def __init__(self, context: RunContext, tree: Path, spec: Spec, name: str, image_bytes: int) -> None:
        self.id = name
        self._work = paths.cache_dir() / "native" / f"{context.run}-{name}"
        self._cgroups: tuple[Path, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._namespace = ""
        self._log = b""
        self._image_bytes = image_bytes
        self._link = Link(context.outside, spec.network)
        self.address = self._link.address
        wire_here, wire_there = socket.socketpair()
        self._wire = SocketChannel(wire_here)
        try:
            self._cgroups = self._make_room(context, spec)
            # Without a cgroup they would have the CPUs that we have, which are all but theirs.
            pinned = () if self._cgroups else ("taskset", "-c", ",".join(map(str, context.cpus_of(spec))))
            entries = [str(folder / "cgroup.procs") for folder in self._cgroups]
            script = files("tare_bench.guest").joinpath("native.sh").read_text(encoding="ascii")
            alone = ("-n",) if spec.network == "bridge" else ()
            shell = [*pinned, *_OWN_MOUNTS, *alone, "/bin/sh", "-c", script, "tare-native"]
            self._process = subprocess.Popen(
                [*shell, tree, self._work, *entries, "--", *agent_argv()],
                stdin=wire_there.fileno(), stdout=wire_there.fileno(), stderr=subprocess.PIPE,
                env={"PATH": os.defpath}, cwd="/", start_new_session=True,
            )  # fmt: skip
            self._wait_created(self._process)
            self._link.attach(self._process.pid)
        except BaseException:
            self.destroy()
            raise
        finally:
            wire_there.close()

    def _make_room(self, context: RunContext, spec: Spec) -> tuple[Path, ...]:
        """A work folder, and a cgroup: its folders, none where none can be made (`check` gave the notice)."""
        context.lease.own("folder", self._work)
        self._work.mkdir(parents=True)
        name = f"{context.run}-{self.id}"
        for folder in cgroups.planned(name):
            context.lease.own("cgroup", folder)
        with contextlib.suppress(OSError):
            return cgroups.make(name, context.cpus_of(spec), spec.memory)
        return ()

    def _wait_created(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        words = b""
        if processes.readable(process.stderr.fileno(), CREATE_SECONDS):
            words = os.read(process.stderr.fileno(), 4096)
        if words != b"created\n":
            raise InstanceError(
                "The native instance's view of the rootfs could not be made.",
                details=words.decode(errors="replace") or f"nothing came in {CREATE_SECONDS:.0f} s",
            )
        self._namespace = processes.mount_namespace(process.pid)

    def reach(self, port: int) -> Reach | None:
        return self._link.reach(port)

    def _scattered(self) -> list[int]:
        """Its processes where it has no cgroup: by its mount namespace, which is its own. Daemons keep it, too."""
        if not self._namespace:
            return []
        return [pid for pid in processes.all_pids() if processes.mount_namespace(pid) == self._namespace]

    def attach(self) -> Streams:
        return Streams(self._wire)

    def start(self) -> None:
        self._wire.send(b"go\n")

    def accelerator(self) -> Accelerator:
        return "none"

    def accounts(self) -> Accounts:
        below = () if self._cgroups else tuple(self._scattered())
        return Accounts(
            pids=below,
            cgroups=self._cgroups,
            files=(self._work,),
            scattered=not self._cgroups,
            image_bytes=self._image_bytes,
        )

    def granted(self) -> Mapping[str, str]:
        if self._process is None:
            return {"kind": Kind.PROCESS}
        try:
            found = granted.of_process(self._process.pid, kind=Kind.PROCESS, writes=self._work)
        except OSError as error:
            raise InstanceError("The process is gone.", details=str(error)) from error
        return found | self._link.granted()

    def diagnostics(self) -> Mapping[str, bytes]:
        return {"stderr.txt": self._log} if self._log else {}

    def stop(self) -> None:
        if self._cgroups:
            processes.reap(cgroups.kill(self._cgroups))
        elif self._process is not None:
            self._kill_scattered(self._process)

    def _kill_scattered(self, first: subprocess.Popen[bytes]) -> None:
        """Until none is left that could have started another. Raises InstanceError where one cannot be killed."""
        there: list[int] = [first.pid] if first.poll() is None else []
        for _ in range(KILL_ROUNDS):
            for pid in there:
                processes.kill(pid)
            for pid in there:
                if pid == first.pid:
                    first.wait(KILL_SECONDS)
                else:
                    processes.wait_gone(pid, None, KILL_SECONDS)
            there = self._scattered()
            if not there:
                return
        raise InstanceError("Processes of the instance cannot be killed.", details=f"pids {there}")

    def destroy(self) -> None:
        self.stop()
        if self._process is not None:
            assert self._process.stderr is not None
            self._process.wait(10)
            if not self._process.stderr.closed:
                os.set_blocking(self._process.stderr.fileno(), False)
                self._log = (self._process.stderr.read() or b"")[-4096:]
                self._process.stderr.close()
        self._wire.close()
        self._link.drop()
        if self._cgroups:
            cgroups.remove(self._cgroups)
            self._cgroups = ()
        shutil.rmtree(self._work, ignore_errors=True)
