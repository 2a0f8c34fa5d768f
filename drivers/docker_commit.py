"""An image that `docker commit` made of a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
from tare_bench.driver import Instance
from tare_bench.errors import InstanceError
from tare_bench.model import Spec

from .docker_client import wrapped

REPOSITORY = "tare/commit"

UNKNOWN = "The engine does not say what the image is."


class CommittedImage:
    """One image. Made whole, or not at all."""

    def __init__(
        self,
        client: docker.APIClient,
        container: str,
        tag: str,
        labels: Mapping[str, str],
        create: Callable[[Spec, str, str], Instance],
    ) -> None:
        self._client = client
        self._create = create
        self.name = f"{REPOSITORY}:{tag}"
        words = [f'LABEL {key}="{value}"' for key, value in labels.items()]
        with wrapped("The engine did not make an image of the container."):
            # Paused meanwhile, as the docker command has it by default: what is in it is of one moment.
            made: Any = client.commit(container, repository=REPOSITORY, tag=tag, pause=True, changes=words)
        self._id = str(made["Id"])

    def create(self, spec: Spec, *, name: str) -> Instance:
        return self._create(spec, name, self.name)

    def files(self) -> Sequence[Path]:
        return layer_files(self._seen())[:1]

    def describe(self) -> Mapping[str, str]:
        seen = self._seen()
        parent = seen.get("Parent") or ""
        with wrapped(UNKNOWN, InstanceError):
            below: Any = self._client.inspect_image(parent) if parent else {"Size": 0}  # type: ignore[no-untyped-call]
        return {"paused": "yes", "size by the engine": str(int(seen["Size"]) - int(below["Size"]))}

    def _seen(self) -> Mapping[str, Any]:
        with wrapped(UNKNOWN, InstanceError):
            seen: Mapping[str, Any] = self._client.inspect_image(self._id)  # type: ignore[no-untyped-call]
        return seen

    def remove(self) -> None:
        with wrapped("The engine did not remove the image."):
            remove_image(self._client, self._id)


def remove_image(client: docker.APIClient, image: str) -> None:
    """Remove an image with all its names. One that is gone is fine."""
    try:
        client.remove_image(image, force=True)
    except docker.errors.ImageNotFound:
        return


def layer_files(seen: Mapping[str, Any]) -> list[Path]:
    """The folders of an image's layers, the uppermost first, as overlay2 has them; empty where it has others."""
    data = (seen.get("GraphDriver") or {}).get("Data") or {}
    names = [data.get("UpperDir") or "", *(data.get("LowerDir") or "").split(":")]
    return [Path(name) for name in names if name]
