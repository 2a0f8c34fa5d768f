"""`docker`: containers of the user's Docker engine, or of a private one where none is named and none answers.

By the SDK's low-level API: create, attach, start, as `docker run` does it. The container has the engine's default
isolation (capabilities, seccomp), no network of the engine's unless it is asked for, no log driver, and the spec's CPU
set and memory limit without swap.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import docker
import docker.errors
import docker.types
from tare_bench import cgroups, network, paths
from tare_bench.driver import (
    LABEL_INSTANCE,
    LABEL_RUN,
    LABEL_RUNS,
    Committed,
    Driver,
    Instance,
    Kind,
    Leftover,
    Resolution,
    RunContext,
    Rung,
    Support,
)
from tare_bench.errors import DriverUnavailable, ImageError
from tare_bench.guest import agent_argv
from tare_bench.model import NetworkPath, Notice, Spec
from tare_bench.network import Link

from . import docker_commit, docker_endpoint, private_engine
from .docker_client import connect, wrapped
from .docker_commit import CommittedImage, layer_files, remove_image
from .docker_container import DockerInstance, remove
from .docker_daemons import Daemons
from .docker_endpoint import Endpoint, NoEngine
from .private_engine import PrivateEngine

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

REPOSITORY = "tare/rootfs"
LABEL_ROOTFS = "tare.rootfs"

NOT_TAKEN = "The engine did not take the rootfs as an image."
NO_WORD = "The Docker engine does not say what it is."


class DockerDriver(Driver):
    """Containers of a Docker engine."""

    name = "docker"
    kind = Kind.CONTAINER
    OPTIONS: ClassVar[Mapping[str, str]] = {
        "host": "the engine's address, as in DOCKER_HOST",
        "context": "a context of the docker command",
        "runtime": "the OCI runtime that the engine starts containers with: runc, crun, ...",
    }

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._endpoint: Endpoint | None = None
        self._engine: PrivateEngine | None = None
        self._client: docker.APIClient | None = None
        self._daemons: Daemons | None = None
        self._image = ""
        self._image_bytes: int | None = None

    def check(self, *, fresh: bool = False) -> Support:
        try:
            endpoint = docker_endpoint.find(self.options)
            with contextlib.closing(connect(endpoint)) as client, wrapped(NO_WORD, DriverUnavailable):
                version, info = client.version(), client.info()
        except NoEngine as error:
            return self._check_private(error)
        except DriverUnavailable as error:
            return Support((_failed(error),))
        kind = info.get("OSType", "linux")
        rungs = (
            Rung("engine", True, f"{version['Version']} at {endpoint}"),
            Rung("linux", kind == "linux", f"{kind} containers", "Switch the engine to Linux containers."),
            *self._runtime_rungs(private_engine.known_runtimes(info)),
        )
        return Support(rungs, notices=tuple(notices(info)))

    def _check_private(self, error: NoEngine) -> Support:
        if not private_engine.possible():
            return Support((_failed(error),))
        seen = f"none is named and none answers ({error.details}): a private one is started for the run"
        there = cgroups.writable()
        groups = Rung(
            "control groups", there, "can be made" if there else "none can be made: containers would not start",
            "Run it where /sys/fs/cgroup is writable, or start an engine that is the host's: Tare takes that one.",
        )  # fmt: skip
        return Support((Rung("engine", True, seen), groups, *self._runtime_rungs(private_engine.own_runtimes())))

    def _runtime_rungs(self, known: Sequence[str]) -> list[Rung]:
        """Whether the engine has the runtime that was asked for; nothing where none was."""
        asked = self.options.get("runtime")
        if not asked:
            return []
        # An engine takes any shim's own name, listed or not, and looks for its program when a container is started.
        there = asked in known or asked.startswith("io.containerd.")
        seen = asked if there else f"the engine has no runtime `{asked}`; it has {', '.join(known)}"
        fix = "Ask for another, or add it to `runtimes` in the engine's daemon.json."
        return [Rung("runtime", there, seen, fix)]

    def describe(self) -> Mapping[str, str]:
        with wrapped(NO_WORD, DriverUnavailable):
            version, info = self.client.version(), self.client.info()
        facts = {
            "engine": version["Version"],
            "api": version["ApiVersion"],
            "private": "yes" if self._engine is not None else "no",
            "address": str(self._endpoint) if self._endpoint is not None else "",
            "storage": info.get("Driver", ""),
            "runtime": self.options.get("runtime") or info.get("DefaultRuntime", ""),
            "cgroups": f"v{info.get('CgroupVersion', '1')} by {info.get('CgroupDriver', '')}",
            "security": ", ".join(info.get("SecurityOptions") or []),
        }
        components = {part["Name"].lower(): part["Version"] for part in version.get("Components", [])}
        return facts | {name: components[name] for name in ("containerd", "runc", "crun") if name in components}

    def refuses(self, path: NetworkPath) -> str:
        if path == "user":
            return "an engine's containers have no VMM whose network stack they could use"
        if path in ("host", "nat") and self._engine is not None:
            return "it takes an engine of your own: the private one has a network namespace of its own, and no bridge"
        return network.refusal(path)

    def open(self, context: RunContext) -> None:
        self._context = context
        try:
            self._endpoint = docker_endpoint.find(self.options)
            self._client = connect(self._endpoint)
            self._daemons = Daemons(self._endpoint.url)
        except NoEngine:
            if not private_engine.possible():
                raise
            self._open_private(context)
        with wrapped(NO_WORD, DriverUnavailable):
            known = private_engine.known_runtimes(self.client.info())
        for rung in self._runtime_rungs(known):
            if not rung.ok:
                raise DriverUnavailable("The engine lacks a runtime.", details=rung.seen, hint=rung.fix)

    def _open_private(self, context: RunContext) -> None:
        self._engine, first = private_engine.share(context)
        self._endpoint = Endpoint(self._engine.url, "private, for this run", named=True)
        self._client = connect(self._endpoint)
        if first:
            with wrapped("The private engine did not remove an older run's container.", DriverUnavailable):
                for item in _ours(self._client):
                    remove(self._client, item["Id"])  # a dead run's, in data that are ours alone
                for item in _our_images(self._client):
                    remove_image(self._client, item["Id"])
        self._daemons = self._engine.daemons

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._engine is not None:
            engine, self._engine = self._engine, None
            private_engine.release(engine)

    @property
    def client(self) -> docker.APIClient:
        """The open engine's low-level client."""
        if self._client is None:
            raise DriverUnavailable("The Docker driver is not open.")
        return self._client

    def prepare(self, rootfs: Rootfs) -> None:
        self._image = f"{REPOSITORY}:{rootfs.digest.removeprefix('sha256:')[:16]}"
        with wrapped(NOT_TAKEN, ImageError):
            there = self.client.images(name=self._image, filters={"label": f"{LABEL_ROOTFS}={rootfs.digest}"})
            if not there:
                self._import(rootfs)
            seen: Any = self.client.inspect_image(self._image)  # type: ignore[no-untyped-call]
            self._image_bytes = int(seen["Size"])
            if self._engine is None:
                self._forget_older()

    def _import(self, rootfs: Rootfs) -> None:
        repository, tag = self._image.split(":")
        answer = self.client.import_image_from_file(
            str(rootfs.tar), repository=repository, tag=tag, changes=[f"LABEL {LABEL_ROOTFS}={rootfs.digest}"]
        )
        if "error" in answer:
            raise ImageError(NOT_TAKEN, details=answer[-2000:])

    def _forget_older(self) -> None:
        """One image of ours stays in a user's engine between runs; nothing else does."""
        for image in self.client.images(name=REPOSITORY, filters={"label": LABEL_ROOTFS}):
            for tag in image.get("RepoTags") or []:
                if tag != self._image:
                    with contextlib.suppress(docker.errors.APIError):  # a container of another run may hold it
                        self.client.remove_image(tag)

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        return Resolution("none")

    def image_files(self) -> Sequence[Path]:
        brief = "The files of the engine's image are not known."
        with wrapped(brief, DriverUnavailable):
            seen: Any = self.client.inspect_image(self._image)  # type: ignore[no-untyped-call]
        files = layer_files(seen)
        if not files or not all(os.access(each, os.R_OK | os.X_OK) for each in files):
            storage = (seen.get("GraphDriver") or {}).get("Name") or "none that it names"
            details = f"storage driver {storage}: {', '.join(map(str, files)) or 'it names no folders'}"
            hint = "It takes root, and an engine on this host with the storage driver overlay2."
            raise DriverUnavailable(brief, details=details, hint=hint)
        return files

    def create(self, spec: Spec, *, name: str) -> Instance:
        return self._create(spec, name, self._image)

    def commit(self, instance: Instance, *, name: str) -> Committed:
        assert self._context is not None
        assert isinstance(instance, DockerInstance)
        tag = f"{self._context.run}-{name}"
        # For people: a private engine's data go as a whole, and in a user's the image is found by its labels.
        self._context.lease.own("image", f"{docker_commit.REPOSITORY}:{tag}")
        return CommittedImage(self.client, instance.container, tag, self._labels(name), self._create)

    def _labels(self, name: str) -> dict[str, str]:
        assert self._context is not None
        return {LABEL_RUN: self._context.run, LABEL_INSTANCE: name, LABEL_RUNS: str(paths.runtime_dir())}

    def _create(self, spec: Spec, name: str, image: str) -> Instance:
        assert self._context is not None
        assert self._daemons is not None
        with wrapped("The engine did not create the container."):
            body = self.container_body(spec, name, image)
            label = f"tare-{self._context.run}-{name}"
            created: Any = self.client.create_container_from_config(body, label)  # type: ignore[no-untyped-call]
        return DockerInstance(
            self.client, created["Id"], name,
            daemons=self._daemons, image_bytes=self._image_bytes, engine_log=self.engine_log,
            link=Link(self._context.outside, spec.network),
        )  # fmt: skip

    def container_body(self, spec: Spec, name: str, image: str = "") -> dict[str, Any]:
        """The body of the create call: everything that the engine is told about a container."""
        assert self._context is not None
        host = self.client.create_host_config(
            mem_limit=spec.memory,
            memswap_limit=spec.memory,
            cpuset_cpus=",".join(map(str, self._context.cpus_of(spec))),
            network_mode={"host": "host", "nat": "bridge"}.get(spec.network, "none"),
            port_bindings=dict.fromkeys(network.PORTS, (network.LOOPBACK, None)) if spec.network == "nat" else {},
            log_config=docker.types.LogConfig(type="none"),
            tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777", "/run/tare": "rw,exec,nosuid,nodev,mode=700"},
            runtime=self.options.get("runtime"),
        )
        return dict(
            self.client.create_container_config(
                image or self._image, agent_argv(), host_config=host, labels=self._labels(name), stdin_open=True,
                tty=False, network_disabled=spec.network not in ("host", "nat"), working_dir="/",
                ports=list(network.PORTS) if spec.network == "nat" else None,
            )
            | {"StdinOnce": True}
        )  # fmt: skip

    def engine_log(self) -> str:
        """The private engine's last words; empty for the user's own."""
        return self._engine.log() if self._engine is not None else ""

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        try:
            client = self._connected()
        except DriverUnavailable:
            return []
        # In a user's engine there may be another user's runs, of which we cannot tell whether they are alive.
        with contextlib.closing(client), wrapped("The Docker engine does not say what it holds.", DriverUnavailable):
            here = f"{LABEL_RUNS}={paths.runtime_dir()}"
            found, images = _ours(client, here), _our_images(client, here)
        containers = [
            Leftover("container", item["Names"][0].lstrip("/"), self._remover(remove, item["Id"]))
            for item in found
            if item["Labels"][LABEL_RUN] not in live_runs
        ]
        return containers + [
            Leftover("image", (item["RepoTags"] or [item["Id"]])[0], self._remover(remove_image, item["Id"]))
            for item in images
            if item["Labels"][LABEL_RUN] not in live_runs
        ]

    def _connected(self) -> docker.APIClient:
        return connect(docker_endpoint.find(self.options))

    def _remover(self, how: Callable[[docker.APIClient, str], None], what: str) -> Callable[[], None]:
        def later() -> None:
            with contextlib.closing(self._connected()) as client, wrapped("The engine did not remove it."):
                how(client, what)

        return later


def _failed(error: DriverUnavailable) -> Rung:
    return Rung("engine", False, f"{error.brief.rstrip('.')}: {error.details}", error.hint)


def _ours(client: docker.APIClient, *labels: str) -> list[dict[str, Any]]:
    """Containers with our label and these."""
    return list(client.containers(all=True, filters={"label": [LABEL_RUN, *labels]}))


def _our_images(client: docker.APIClient, *labels: str) -> list[dict[str, Any]]:
    """Images that runs made of their containers. The rootfs's own has no run's label: it stays between runs."""
    return list(client.images(filters={"label": [LABEL_RUN, *labels]}))


def notices(info: Mapping[str, Any]) -> list[Notice]:
    """What an engine says of itself that a reader of the numbers must know."""
    found = []
    host = os.uname()
    theirs, ours = (info.get("KernelVersion"), info.get("Name")), (host.release, host.nodename)
    if theirs != ours:
        message = (
            f"The engine seems to run on another host: it says {theirs[1]}, kernel {theirs[0]}; this one is {ours[1]}, "
            f"kernel {ours[0]}. Where that is so, its containers' memory and disk are not there."
        )
        hint = "Nothing of another host compares with native or kvm on this one."
        found.append(Notice(code="remote-engine", subject="docker", message=message, hint=hint))
    if any("name=rootless" in option for option in info.get("SecurityOptions") or ()):
        driver = info.get("CgroupDriver", "none")
        void = "has no cgroups: its limits of CPU and memory are void" if driver == "none" else "may lack limits"
        hint = "`docker info` lists limits that it lacks; a system-wide engine has all of them."
        message = f"The engine is rootless and {void} (cgroup driver {driver})."
        found.append(Notice(code="rootless-engine", subject="docker", message=message, hint=hint))
    return found
