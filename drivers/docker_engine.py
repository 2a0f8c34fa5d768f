"""`docker`: containers of the Docker engine that answers, or of a private one where none does.

By the SDK's low-level API: create, attach, start, as `docker run` does it. The container has the engine's default
isolation (capabilities, seccomp), no network, no log driver, and the spec's CPU set and memory limit without swap.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import docker.types
import requests
from tare_bench import cgroups, paths, processes
from tare_bench.driver import (
    LABEL_INSTANCE,
    LABEL_RUN,
    LABEL_RUNS,
    Accounts,
    Driver,
    Instance,
    Kind,
    Leftover,
    Resolution,
    RunContext,
    Rung,
    Streams,
    Support,
)
from tare_bench.errors import DriverUnavailable, ImageError, InstanceError
from tare_bench.guest import agent_argv
from tare_bench.model import Accelerator, Spec
from tare_bench.wire import SocketChannel

from . import private_engine
from .private_engine import PrivateEngine

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

REPOSITORY = "tare/rootfs"
LABEL_ROOTFS = "tare.rootfs"
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
TIMEOUT = 120
"""Seconds that one call to the engine may take."""

SOCKET = Path("/var/run/docker.sock")
"""Where an engine listens that DOCKER_HOST doesn't name."""

NO_ENGINE = "Start your engine, or `tare setup` and run as root: a private one is then started for the run."


class DockerDriver(Driver):
    """Containers of a Docker engine."""

    name = "docker"
    kind = Kind.CONTAINER

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._engine: PrivateEngine | None = None
        self._client: docker.APIClient | None = None
        self._image = ""
        self._image_bytes: int | None = None

    def check(self, *, fresh: bool = False) -> Support:
        try:
            client = _answering()
        except DriverUnavailable as error:
            if private_engine.possible():
                return Support((Rung("engine", True, "none answers: a private one is started for the run"),))
            return Support((Rung("engine", False, error.details, NO_ENGINE),))
        with contextlib.closing(client):
            version = client.version()
            kind = client.info().get("OSType", "linux")
        rungs = [
            Rung("engine", True, f"{version['Version']} at {client.base_url}"),
            Rung("linux", kind == "linux", f"{kind} containers", "Switch the engine to Linux containers."),
        ]
        return Support(tuple(rungs))

    def describe(self) -> Mapping[str, str]:
        version, info = self.client.version(), self.client.info()
        facts = {
            "engine": version["Version"],
            "api": version["ApiVersion"],
            "private": "yes" if self._engine is not None else "no",
            "storage": info.get("Driver", ""),
            "runtime": info.get("DefaultRuntime", ""),
            "cgroups": f"v{info.get('CgroupVersion', '1')} by {info.get('CgroupDriver', '')}",
            "security": ", ".join(info.get("SecurityOptions") or []),
        }
        components = {part["Name"].lower(): part["Version"] for part in version.get("Components", [])}
        return facts | {name: components[name] for name in ("containerd", "runc") if name in components}

    def open(self, context: RunContext) -> None:
        self._context = context
        try:
            self._client = _answering()
        except DriverUnavailable as error:
            if not private_engine.possible():
                raise DriverUnavailable(error.brief, details=error.details, hint=NO_ENGINE) from error
            self._engine = PrivateEngine(context)
            self._client = docker.APIClient(base_url=self._engine.url, version="auto", timeout=TIMEOUT)
            for item in _ours(self._client):
                _remover(self._client, item["Id"])()  # a dead run's, in data that are ours alone

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def client(self) -> docker.APIClient:
        """The open engine's low-level client."""
        if self._client is None:
            raise DriverUnavailable("The Docker driver is not open.")
        return self._client

    def prepare(self, rootfs: Rootfs) -> None:
        self._image = f"{REPOSITORY}:{rootfs.digest.removeprefix('sha256:')[:16]}"
        try:
            there = self.client.images(name=self._image, filters={"label": f"{LABEL_ROOTFS}={rootfs.digest}"})
            if not there:
                self._import(rootfs)
            seen: Any = self.client.inspect_image(self._image)  # type: ignore[no-untyped-call]
            self._image_bytes = int(seen["Size"])
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ImageError("The engine did not take the rootfs as an image.", details=_words(error)) from error
        if self._engine is None:
            self._forget_older()

    def _import(self, rootfs: Rootfs) -> None:
        repository, tag = self._image.split(":")
        answer = self.client.import_image_from_file(
            str(rootfs.tar), repository=repository, tag=tag, changes=[f"LABEL {LABEL_ROOTFS}={rootfs.digest}"]
        )
        if "error" in answer:
            raise ImageError("The engine did not take the rootfs as an image.", details=answer[-2000:])

    def _forget_older(self) -> None:
        """One image of ours stays in a user's engine between runs; nothing else does."""
        for image in self.client.images(name=REPOSITORY, filters={"label": LABEL_ROOTFS}):
            for tag in image.get("RepoTags") or []:
                if tag != self._image:
                    with contextlib.suppress(docker.errors.APIError):  # a container of another run may hold it
                        self.client.remove_image(tag)

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        return Resolution("none")

    def create(self, spec: Spec, *, name: str) -> Instance:
        assert self._context is not None
        with _wrapped("The engine did not create the container."):
            body = self.container_body(spec, name)
            label = f"tare-{self._context.run}-{name}"
            created: Any = self.client.create_container_from_config(body, label)  # type: ignore[no-untyped-call]
        return DockerInstance(self, self.client, created["Id"], name, self._image_bytes)

    def container_body(self, spec: Spec, name: str) -> dict[str, Any]:
        """The body of the create call: everything that the engine is told about a container."""
        assert self._context is not None
        host = self.client.create_host_config(
            mem_limit=spec.memory,
            memswap_limit=spec.memory,
            cpuset_cpus=",".join(map(str, self._context.cpus_of(spec))),
            network_mode="none",
            log_config=docker.types.LogConfig(type="none"),
            tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777", "/run/tare": "rw,exec,nosuid,nodev,mode=700"},
        )
        labels = {LABEL_RUN: self._context.run, LABEL_INSTANCE: name, LABEL_RUNS: str(paths.runtime_dir())}
        return dict(
            self.client.create_container_config(
                self._image, agent_argv(), host_config=host, labels=labels, stdin_open=True, tty=False,
                network_disabled=True, working_dir="/",
            )
            | {"StdinOnce": True}
        )  # fmt: skip

    def engine_log(self) -> str:
        """The private engine's last words; empty for the user's own."""
        return self._engine.log() if self._engine is not None else ""

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        try:
            client = _answering()
        except DriverUnavailable:
            return []
        # In a user's engine there may be another user's runs, of which we cannot tell whether they are alive.
        with contextlib.closing(client):
            found = _ours(client, f"{LABEL_RUNS}={paths.runtime_dir()}")
        return [
            Leftover("container", item["Names"][0].lstrip("/"), _later_remover(item["Id"]))
            for item in found
            if item["Labels"][LABEL_RUN] not in live_runs
        ]


def _ours(client: docker.APIClient, *labels: str) -> list[dict[str, Any]]:
    """Containers with our label and these."""
    return list(client.containers(all=True, filters={"label": [LABEL_RUN, *labels]}))


def _later_remover(container: str) -> Callable[[], None]:
    def remove() -> None:
        with contextlib.closing(_answering()) as client:
            _remover(client, container)()

    return remove


def _remover(client: docker.APIClient, container: str) -> Any:
    def remove() -> None:
        with contextlib.suppress(docker.errors.NotFound):
            client.remove_container(container, force=True, v=True)

    return remove


def _answering() -> docker.APIClient:
    """A client of the engine that the environment names. Raises DriverUnavailable when none answers."""
    if not os.environ.get("DOCKER_HOST") and not SOCKET.exists():
        # Said plainly, and before the SDK tries: it leaves a socket open and says it with three exceptions.
        raise DriverUnavailable("No Docker engine answers.", details=f"there is no {SOCKET}", hint=NO_ENGINE)
    try:
        _knock(os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE)
        client = docker.from_env(timeout=TIMEOUT, version="auto").api
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise DriverUnavailable("No Docker engine answers.", details=_words(error), hint=NO_ENGINE) from error
    return client


def _knock(url: str) -> None:
    """Connect to a local engine's socket and hang up. Raises OSError where nobody is there.

    The SDK would leave a socket open for each try that fails.
    """
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(url.removeprefix("unix://"))


def _words(error: BaseException) -> str:
    """The engine's own words, without the stack of libraries around them."""
    explanation = getattr(error, "explanation", None)
    return str(explanation or error)


@contextlib.contextmanager
def _wrapped(brief: str) -> Iterator[None]:
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise InstanceError(brief, details=_words(error)) from error


class FramedChannel(SocketChannel):
    """The attach stream of a container without a terminal: frames with 8-byte headers, stdout and stderr apart."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._pending = bytearray()
        self.stderr = bytearray()

    def recv(self) -> bytes | None:
        data = super().recv()
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


class DockerInstance(Instance):
    """One container."""

    def __init__(
        self, driver: DockerDriver, client: docker.APIClient, container: str, name: str, image_bytes: int | None
    ) -> None:
        self.id = name
        self._driver = driver
        self._client = client
        self._container = container
        self._removed = False
        self._image_bytes = image_bytes
        self._channel: FramedChannel | None = None
        self._response: Any = None

    def attach(self) -> Streams:
        with _wrapped("The engine did not attach to the container."):
            self._response = self._client.attach_socket(
                self._container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        # Over a UNIX socket the SDK hands out a SocketIO around the socket, which it keeps to itself.
        raw = getattr(self._response, "_sock", self._response)
        self._channel = FramedChannel(raw)
        return Streams(self._channel)

    def start(self) -> None:
        with _wrapped("The engine did not start the container."):
            self._client.start(self._container)

    def accelerator(self) -> Accelerator:
        return "none"

    def accounts(self) -> Accounts:
        with _wrapped("The engine does not know the container."):
            seen = self._client.inspect_container(self._container)
        pid = int(seen["State"]["Pid"])
        folders = cgroups.of_process(pid) if pid else ()
        if not any(self._container in str(folder) for folder in folders):
            return Accounts(unavailable="the engine runs on another host than this one", image_bytes=self._image_bytes)
        shim = processes.parent(pid)
        upper = ((seen.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
        files = (Path(upper),) if upper and os.access(upper, os.R_OK) else ()
        pids = (shim,) if shim not in (None, 0, 1) else ()
        return Accounts(pids=pids, cgroups=folders, files=files, image_bytes=self._image_bytes)

    def diagnostics(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        with contextlib.suppress(Exception):  # evidence is a help: to have none must not hide the failure itself
            found["inspect.json"] = json.dumps(self._client.inspect_container(self._container), indent=1).encode()
        if self._channel is not None and self._channel.stderr:
            found["stderr.txt"] = bytes(self._channel.stderr)
        if log := self._driver.engine_log():
            found["engine.log"] = log.encode()
        return found

    def stop(self) -> None:
        if self._removed:
            return
        try:
            self._client.kill(self._container)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # gone, or not running
                raise InstanceError("The engine did not kill the container.", details=_words(error)) from error

    def destroy(self) -> None:
        if not self._removed:
            with _wrapped("The engine did not remove the container."):
                _remover(self._client, self._container)()
            self._removed = True
        if self._channel is not None:
            self._channel.close()
            self._response.close()
            self._channel = None
