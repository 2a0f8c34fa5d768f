"""One container: its wire, its life, and where its cost is to be read."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import docker.errors
from tare_bench import cgroups, granted, processes
from tare_bench.driver import Accounts, Instance, Kind, Streams, Told
from tare_bench.errors import InstanceError
from tare_bench.model import Accelerator
from tare_bench.network import Link, Reach
from tare_bench.wire import SocketChannel

from .docker_client import wrapped
from .docker_daemons import Daemons

NOT_HERE = "the engine's processes are not this host's: it runs on another one, or in a container of its own"


class FramedChannel(SocketChannel):
    """The attach stream of a container without a terminal: frames with 8-byte headers, stdout and stderr apart."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._pending = bytearray()
        self.stderr = bytearray()

    def recv(self) -> bytes | None:
        try:
            data = super().recv()
        except ssl.SSLWantReadError:  # a TLS record that is not whole
            return None
        if not data:
            return data
        self._pending += data
        wire = bytearray()
        while len(self._pending) >= 8:
            size = int.from_bytes(self._pending[4:8], "big")
            if len(self._pending) < 8 + size:
                break
            payload = self._pending[8 : 8 + size]
            if self._pending[0] == 1:
                wire += payload
            else:
                self.stderr = (self.stderr + payload)[-4096:]
            del self._pending[: 8 + size]
        return bytes(wire) or None

    def send(self, data: bytes) -> int:
        try:
            return super().send(data)
        except ssl.SSLWantWriteError:
            return 0


class DockerInstance(Instance):
    """One container."""

    def __init__(
        self,
        client: docker.APIClient,
        container: str,
        name: str,
        *,
        daemons: Daemons,
        image_bytes: int | None,
        engine_log: Callable[[], str],
        link: Link,
    ) -> None:
        self.id = name
        self._link, self.address = link, link.address
        self._client = client
        self.container = container
        self._removed = False
        self._daemons = daemons
        self._image_bytes = image_bytes
        self._engine_log = engine_log
        self._channel: FramedChannel | None = None
        self._response: Any = None

    def attach(self) -> Streams:
        with wrapped("The engine did not attach to the container."):
            self._response = self._client.attach_socket(
                self.container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        # Over a UNIX socket the SDK hands out a SocketIO around the socket, which it keeps to itself.
        raw = getattr(self._response, "_sock", self._response)
        self._channel = FramedChannel(raw)
        return Streams(self._channel)

    def start(self) -> None:
        with wrapped("The engine did not start the container."):
            self._client.start(self.container)
        if self._link.port is not None:
            self._link.attach(self._pid())  # it has a network namespace only now
        elif self._link.path in ("host", "nat"):
            self._connected()

    def _pid(self) -> int:
        """Its first process, on this host. Raises InstanceError."""
        pid = int(self._inspected()["State"]["Pid"])
        if not pid or not _is_here(pid, self.container):
            raise InstanceError("The container has no process that a network could be attached to.", details=NOT_HERE)
        return pid

    def _connected(self) -> None:
        """What the engine has connected it to, and where that is reached from: as a rule the host's own namespace.

        Raises InstanceError where the engine is not on this host.
        """
        pid, seen = self._pid(), self._inspected()["NetworkSettings"]
        if self._link.path == "host":
            self._link.place = Path(f"/proc/{pid}/ns/net")
            return
        for port, bound in (seen.get("Ports") or {}).items():
            if bound:
                self._link.published[int(port.partition("/")[0])] = int(bound[0]["HostPort"])
        self.address = (seen["Networks"].get("bridge") or {}).get("IPAddress") or ""
        if daemons := self._daemons.engine:
            self._link.place = Path(f"/proc/{daemons[0]}/ns/net")

    def reach(self, port: int) -> Reach | None:
        return self._link.reach(port)

    def accelerator(self) -> Accelerator:
        return "none"

    def accounts(self) -> Accounts:
        seen = self._inspected()
        pid = int(seen["State"]["Pid"])
        if not pid or not _is_here(pid, self.container):
            why = NOT_HERE if pid else "the container does not run"
            return Accounts(unavailable=why, image_bytes=self._image_bytes)
        # A rootless engine without cgroups leaves its containers in the user's own, which hold everything else too.
        folders = tuple(each for each in cgroups.of_process(pid) if self.container in str(each))
        shim = processes.parent(pid)
        shims = (shim,) if shim not in (None, 0, 1, os.getpid()) else ()
        engine = self._daemons.serving(shims[0]) if shims else ()
        upper = _upper(seen)
        return Accounts(
            pids=shims if folders else (*shims, pid, *processes.descendants(pid)),
            parts=dict.fromkeys(shims, "shim"),
            cgroups=folders,
            files=(Path(upper),) if upper and os.access(upper, os.R_OK | os.X_OK) else (),
            engine=engine,
            # Without a cgroup what it starts later is not seen, and without the daemons a part is missing.
            scattered=not (folders and engine),
            image_bytes=self._image_bytes,
        )

    def granted(self) -> Mapping[str, str]:
        seen = self._inspected()
        pid, upper = int(seen["State"]["Pid"]), _upper(seen)
        if not pid or not _is_here(pid, self.container):
            return {"kind": Kind.CONTAINER}  # what the engine was told is no reading
        try:
            found = granted.of_process(pid, kind=Kind.CONTAINER, writes=Path(upper) if upper else None)
        except OSError as error:
            raise InstanceError("The container's process is gone.", details=str(error)) from error
        # Only root may look into another user's namespace; what the engine has connected is its state, no request.
        networks = (seen.get("NetworkSettings") or {}).get("Networks")
        connected = {} if networks is None else {"network": ", ".join(sorted(networks)) or "none"}
        if self._link.path == "nat" and networks and "bridge" in networks:
            found["network"] = "nat"  # as a spec names the engine's own bridge
        return connected | found | self._link.granted()

    def _inspected(self) -> dict[str, Any]:
        with wrapped("The engine does not know the container."):
            return dict(self._client.inspect_container(self.container))

    def told(self) -> Told:
        with wrapped("The engine has no statistics of the container."):
            # One look: the engine would otherwise wait a second for a second one, to tell the CPUs' share.
            said = self._client.stats(self.container, stream=False, one_shot=True).get("memory_stats") or {}
        return Told(stats(said))

    def diagnostics(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        with contextlib.suppress(Exception):  # evidence is a help: to have none must not hide the failure itself
            found["inspect.json"] = json.dumps(self._client.inspect_container(self.container), indent=1).encode()
        if self._channel is not None and self._channel.stderr:
            found["stderr.txt"] = bytes(self._channel.stderr)
        if log := self._engine_log():
            found["engine.log"] = log.encode()
        return found

    def stop(self) -> None:
        if self._removed:
            return
        with wrapped("The engine did not kill the container."):
            try:
                self._client.kill(self.container)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # gone, or not running
                    raise

    def destroy(self) -> None:
        try:
            if not self._removed:
                with wrapped("The engine did not remove the container."):
                    remove(self._client, self.container)
                self._removed = True
        finally:
            self._link.drop()
            if self._channel is not None:
                self._channel.close()
                self._response.close()
                self._channel = None


def _upper(inspected: Mapping[str, Any]) -> str | None:
    """The folder that takes what the container writes, where the engine says it."""
    found: str | None = ((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    return found


def stats(said: Mapping[str, Any]) -> dict[str, int]:
    """`docker stats` shows what is charged to the cgroup less the page cache that was not used lately (docker's own
    rule, both versions of cgroups); empty where the engine accounts for nothing.
    """
    if not said.get("usage"):
        return {}
    usage, split = int(said["usage"]), said.get("stats") or {}
    inactive = int(split.get("total_inactive_file", split.get("inactive_file", 0)))
    return {"docker stats": usage - inactive if inactive < usage else usage, "charged": usage, "inactive": inactive}


def _is_here(pid: int, container: str) -> bool:
    """Whether that process of this host is the container's: by its cgroup, or by the files that the engine binds in."""
    if any(container in str(folder) for folder in cgroups.of_process(pid)):
        return True
    with contextlib.suppress(OSError):
        return container in Path(f"/proc/{pid}/mountinfo").read_text()
    return False


def remove(client: docker.APIClient, container: str) -> None:
    """Remove a container, running or not. One that is gone is fine."""
    try:
        client.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        return
