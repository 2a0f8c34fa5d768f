"""An image that an external snapshot of a guest's disk made: what it had written, which nothing writes to any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tare_bench.driver import Instance
from tare_bench.model import Spec

from .libvirt_guest import Base, KvmInstance


class Snapshot:
    """One image. Made whole, or not at all; its file stands in the run's lease since its guest was made."""

    def __init__(self, instance: KvmInstance, name: str, create: Callable[[Spec, str, Base], Instance]) -> None:
        self._create = create
        self._file = instance.freeze(name)

    def create(self, spec: Spec, *, name: str) -> Instance:
        return self._create(spec, name, Base(self._file, "qcow2"))

    def files(self) -> Sequence[Path]:
        return (self._file,)

    def describe(self) -> Mapping[str, str]:
        return {"paused": "no", "how": "external snapshot of a running guest's disk, without its memory"}

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
