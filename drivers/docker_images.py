"""A rootfs out of an image of a Docker engine: the image as it is, or after a script has run in a container of it."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import requests
from tare_bench import system, tarball, tool
from tare_bench.errors import DriverUnavailable, ImageError
from tare_bench.recipes import Held

from . import docker_endpoint, private_engine
from .docker_client import words, wrapped
from .docker_container import remove
from .docker_engine import REPOSITORY

NO_NETWORK = "a private engine has no network: it can pull nothing, and nothing in its containers can be downloaded"
"""Why a private engine serves here only with what it holds already."""


class DockerImages:
    """What a rootfs needs of an engine (`tare_bench.rootfs.Engine`), by its client."""

    def __init__(self, client: docker.APIClient, labels: Mapping[str, str], *, no_network: str = "") -> None:
        self._client = client
        self._labels = dict(labels)
        """Of the containers that are made: what a sweep finds them by."""
        self._no_network = no_network
        """Why the engine's containers reach no network; empty where they do."""

    def find(self, reference: str) -> Held:
        """The image of that name, pulled only where the engine has none.

        Raises ImageError where there is none to be had, or it is for another machine.
        """
        with wrapped(f"The engine does not say what the image {reference} is.", ImageError):
            try:
                seen: Any = self._client.inspect_image(reference)  # type: ignore[no-untyped-call]
            except docker.errors.NotFound:
                self._pull(reference)
                seen = self._client.inspect_image(reference)  # type: ignore[no-untyped-call]
        machine = f"{seen.get('Os')}/{seen.get('Architecture')}"
        if machine != f"linux/{system.architecture()}":
            raise ImageError(
                f"The image {reference} is not for this machine.",
                details=f"It is for {machine}, and this is linux/{system.architecture()}.",
                hint=f"docker pull --platform linux/{system.architecture()} {reference}",
            )
        return Held(str(seen["Id"]), int(seen["Size"]))

    def _pull(self, reference: str) -> None:
        hint = "`docker image ls` names those that it holds; check the spelling, or `docker pull` it by hand."
        brief = f"There is no image {reference}: the engine has none, and could pull none."
        if self._no_network:
            raise ImageError(brief, details=self._no_network, hint="Start an engine of your own, which has a network.")
        try:
            for line in self._client.pull(reference, stream=True, decode=True):
                if "error" in line:
                    raise ImageError(brief, details=str(line["error"]), hint=hint)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ImageError(brief, details=words(error), hint=hint) from error

    def flatten(self, image: str, target: Path, *, script: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Write an image's root filesystem to the tar file `target`, as `tare_bench.rootfs.Engine` has it."""
        with self._container(image, script) as container:
            if files:
                with wrapped("The engine did not take files for its container.", ImageError):
                    self._client.put_archive(container, "/", _archive(files))
            if script:
                self._run(container)
            exporting = f"The engine did not export a container of the image {image}."
            with wrapped(exporting, ImageError), target.open("wb") as file:
                for part in self._client.export(container):
                    file.write(part)

    @contextlib.contextmanager
    def _container(self, image: str, script: str) -> Iterator[str]:
        """One of that image, not started; removed at the end."""
        with wrapped(f"The engine did not create a container of the image {image}.", ImageError):
            # An image may name no command, and an engine makes no container without one.
            body = self._client.create_container_config(
                image, ["/bin/sh", "-c", script], entrypoint=[], user="0:0", working_dir="/", labels=self._labels,
                host_config=self._client.create_host_config(log_config=docker.types.LogConfig(type="json-file")),
            )  # fmt: skip
            created: Any = self._client.create_container_from_config(body)  # type: ignore[no-untyped-call]
        try:
            yield created["Id"]
        finally:
            with wrapped("The engine did not remove its container.", ImageError):
                remove(self._client, created["Id"])

    def _run(self, container: str) -> None:
        with wrapped("The engine did not run the packages' installation to its end.", ImageError):
            self._client.start(container)
            ended = self._client.wait(container, timeout=tool.LARGE)
            said = self._client.logs(container, tail=12)
        if ended["StatusCode"]:
            details = f"{said.decode(errors='replace')}\n{self._no_network}"
            hint = "The engine's containers need a network for it; or install mmdebstrap: tare setup."
            brief = f"The packages could not be installed in a container: exit status {ended['StatusCode']}."
            raise ImageError(brief, details=details, hint=hint)


def import_needed(digest: str, size: int) -> int:
    """Bytes that a private engine's copy of a rootfs takes; 0 where it has it, or a user's engine is there.

    What that one takes is on its own disk.
    """
    try:
        docker_endpoint.find({})
    except docker_endpoint.NoEngine:
        if not private_engine.possible():
            return 0
    except DriverUnavailable:
        return 0
    else:
        return 0
    name = f"{REPOSITORY}:{digest.removeprefix('sha256:')[:16]}"
    books = private_engine.data_folder().glob("image/*/repositories.json")
    return 0 if digest and any(name in book.read_text() for book in books) else size


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, tarball.EPOCH
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
