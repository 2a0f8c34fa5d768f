"""The driver port: what a technology must offer to be measured.

A driver knows the host; an instance is one running process tree, container or guest. A driver is small: it starts
something and hands over the wire. It has no clock, no retry, no statistics and prints nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from .clock import Clock, MonotonicClock
from .model import Accelerator, NetworkPath, Notice, Spec

if TYPE_CHECKING:
    from .leases import Lease
    from .network import Outside, Reach
    from .rootfs import Rootfs

GRANTED = {
    "kind": "process, container or vm",
    "vcpus": "how many CPUs it can use at once",
    "cpus": "the host CPUs that it runs on, sorted: 0,1",
    "quota": "CPU seconds a second at most",
    "memory": "bytes at most: a limit, or a guest's size",
    "swap": "bytes of the host's swap that it may use beyond its memory",
    "processes": "how many processes it may have at most",
    "network": "none, host, or the path that it has: bridge; else the devices",
    "disk cache": "how its disk goes through the host's page cache, as a spec names it",
    "disk io": "how its disk's requests are made: native or threads",
    "storage": "the host's file system that takes what it writes: type and device",
}
"""What `Instance.granted` may tell, by name. A limit that there isn't is `unlimited`; what a technology does not have
by its nature is INHERENT."""

LABEL_RUN = "tare.run"
LABEL_INSTANCE = "tare.instance"
LABEL_RUNS = "tare.runs"
"""The folder of runs that an instance's belongs to: whether it is alive can only be told from there."""


Part = Literal["payload", "shim", "vmm", "other"]
"""What a process is of an instance: what runs inside it, the engine's shim or monitor of this one instance, the virtual
machine monitor, or something else that it is served by (virtiofsd, vhost)."""


class Kind(StrEnum):
    """What a driver's instances are."""

    PROCESS = "process"
    CONTAINER = "container"
    VM = "vm"


class Channel(Protocol):
    """One end of a byte stream. Never blocks: what waits is the clock."""

    def fileno(self) -> int: ...
    def recv(self) -> bytes | None:
        """What there is; b"" at end of file; None where there is nothing yet (a frame is not whole)."""

    def send(self, data: bytes) -> int:
        """Send what fits now and return how much that was. Raises OSError when the other end is gone."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Streams:
    """What an instance is reached by. Both are read from before the start."""

    wire: Channel
    console: Channel | None = None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where an instance's cost is to be read on the host. What is not known stays empty: it is then 'not there'."""

    pids: tuple[int, ...] = ()
    """Processes that exist because of the instance, beside those in its cgroups."""
    parts: Mapping[int, Part] = field(default_factory=dict)
    """What each of its processes is, by pid, where it isn't one of the `others`."""
    others: Part = "payload"
    guest_memory: int | None = None
    """Bytes of a guest's memory, which its VMM maps in one; None where there is no guest."""
    cgroups: tuple[Path, ...] = ()
    """Folders of its cgroup, in every hierarchy that has one."""
    files: tuple[Path, ...] = ()
    """Files and folders that exist because of this one instance."""
    engine: tuple[int, ...] = ()
    """Processes that serve all instances (an engine's daemons): part of the CPU time that work costs, never of an
    instance's memory."""
    scattered: bool = False
    """Whether its work is done by processes that come and go outside of any cgroup: their CPU time is then unknown."""
    image_bytes: int | None = None
    """Bytes on disk that all instances share."""
    unavailable: str = ""
    """Why memory or disk cannot be read (an engine on another host, root needed), where they can't."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an engine itself says of an instance's memory."""

    figures: Mapping[str, int] = field(default_factory=dict)
    """Bytes, by the name of what a user would ask it with: `docker stats`, `dommemstat rss`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What can take memory back or make it look smaller: balloon, free page reporting, huge pages."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder of checks."""

    name: str
    ok: bool
    seen: str
    """The evidence: a version, a path, an engine's own words."""
    fix: str = ""
    """What to do when it is not ok; a command line where there is one."""


@dataclass(frozen=True, slots=True)
class Support:
    """What can run here, rung by rung: the last rung of a driver that cannot run is the one that failed."""

    rungs: tuple[Rung, ...]
    accelerator: Accelerator = "none"
    notices: tuple[Notice, ...] = ()

    @property
    def ok(self) -> bool:
        return all(rung.ok for rung in self.rungs)

    @property
    def failed(self) -> Rung | None:
        """The first rung that is not ok."""
        return next((rung for rung in self.rungs if not rung.ok), None)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What accelerates a driver's instances in this run, and what there is to say about it."""

    accelerator: Accelerator
    notices: tuple[Notice, ...] = ()
    evidence: str = ""
    """Why KVM was not taken, where it wasn't: the device's, libvirt's or QEMU's own words, the console's end."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours that a dead run left on the host."""

    kind: str
    name: str
    remove: Callable[[], None] = field(compare=False)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a driver is told about the run that it serves. A driver that only checks has none."""

    run: str
    folder: Path
    """The run's own folder on the host, short and reachable for an unprivileged QEMU; gone when the run ends."""
    lease: Lease
    """Where what a driver makes on the host is written down before it is made."""
    cpus: tuple[int, ...]
    """The host CPUs that instances run on."""
    disk: int = 1 << 30
    """Bytes of room that a guest's disk has beyond the rootfs."""
    outside: Outside | None = None
    """The run's bridge, and where load comes from; None where no arm has a network."""
    crowd_cpus: tuple[int, ...] = ()
    """The host CPUs among which instances take turns where many run at once; empty: the same."""

    def cpus_of(self, spec: Spec) -> tuple[int, ...]:
        """The host CPUs of an instance: as many as it has vCPUs, also beside an arm that has more."""
        if not spec.turn or len(self.crowd_cpus) <= spec.vcpus:
            return self.cpus[-spec.vcpus :]
        last = len(self.crowd_cpus) - spec.turn * spec.vcpus
        return tuple(sorted(self.crowd_cpus[(last - 1 - each) % len(self.crowd_cpus)] for each in range(spec.vcpus)))


class Instance(ABC):
    """One running process tree, container or guest."""

    id: str
    address: str = ""
    """The address that its network device has once it is up; empty where it has none of its own."""

    def reach(self, port: int) -> Reach | None:
        """How a server that listens at that port in it is reached from outside; None where it has no network."""
        return None

    @abstractmethod
    def attach(self) -> Streams:
        """The wire, and the console where there is one. Before the start."""

    @abstractmethod
    def start(self) -> None:
        """Start it. Returns when the platform says that it started, which may be after READY."""

    @abstractmethod
    def accelerator(self) -> Accelerator:
        """Read back from the running instance's own monitor, never assumed; `none` on the host's kernel."""

    @abstractmethod
    def accounts(self) -> Accounts:
        """Where its cost is to be read, while it runs."""

    def told(self) -> Told:
        """What the engine says of its memory, while it runs; nothing where it says nothing. May take seconds."""
        return Told()

    @abstractmethod
    def granted(self) -> Mapping[str, str]:
        """What it was really given, by the names of GRANTED: read back while it runs, never from the request.

        Plain numbers in SI base units, so that equal things are equal texts. What cannot be read is not there.
        """

    @abstractmethod
    def diagnostics(self) -> Mapping[str, bytes]:
        """Evidence for a failed trial, by file name: the domain's XML, the engine's log. Never raises."""

    @abstractmethod
    def stop(self) -> None:
        """Kill it at once, as pulling the plug does, the same for every driver. In any state, twice too."""

    @abstractmethod
    def destroy(self) -> None:
        """Leave nothing of it on the host. In any state, twice too."""


class Driver(ABC):
    """The adapter to one technology."""

    name: str
    kind: Kind
    clock: Clock = MonotonicClock()
    """The time that its instances live in: the host's; only the fake has one of its own."""
    OPTIONS: ClassVar[Mapping[str, str]] = {}
    """What can be set for an arm of it, by name, each with what it means in one line."""
    options: Mapping[str, str] = {}
    """What was set: names of OPTIONS only. Fixed before anything else is asked of the driver."""

    @abstractmethod
    def check(self, *, fresh: bool = False) -> Support:
        """A ladder of checks; each failed rung names its own fix. Changes nothing that outlives it.

        `fresh` repeats what would be taken from the cache.
        """

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """Versions and settings, stored with the run."""

    def refuses(self, path: NetworkPath) -> str:
        """Why its instances cannot have that network, in words; empty where they can. Asked before and after `open`."""
        return "" if path == "none" else f"the driver {self.name} gives no instance a network"

    @abstractmethod
    def open(self, context: RunContext) -> None:
        """Begin to serve a run: start the private engine, open the connection. `close` undoes it."""

    @abstractmethod
    def close(self) -> None:
        """End what `open` began. In any state, twice too."""

    @abstractmethod
    def prepare(self, rootfs: Rootfs) -> None:
        """Make of the rootfs what this driver runs. Idempotent, never timed."""

    @abstractmethod
    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        """What will accelerate the instances, where `auto`, `kvm` or `tcg` was asked for. After `prepare`.

        Raises DriverUnavailable when `kvm` was asked for and does not work, with the reason that was seen.
        """

    @abstractmethod
    def create(self, spec: Spec, *, name: str) -> Instance:
        """Make an instance without running it, all or nothing, labelled with the run and its own name.

        Several threads call it at once where a storm is measured, and their instances' methods: what they share must
        bear that, and a lock around it would be part of what is measured.

        Raises InstanceError with the engine's own words.
        """

    @abstractmethod
    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        """Ours, by label, from runs that are not alive."""


# What only some drivers have, each a protocol of its own beside the port


class Creator(Protocol):
    """What instances are made of: a driver, or an image that was made of a changed instance."""

    def create(self, spec: Spec, *, name: str) -> Instance:
        """As `Driver.create`."""


@runtime_checkable
class Imaged(Protocol):
    """A driver that knows the files that its instances start from."""

    def image_files(self) -> Sequence[Path]:
        """Files and folders on this host that all its instances start from. After `prepare`.

        Raises DriverUnavailable, with the reason in its details, where they are not here or cannot be told.
        """


class Committed(Creator, Protocol):
    """An image that was made of a changed instance. Others start from it."""

    def files(self) -> Sequence[Path]:
        """What it takes on this host's disk beside the image that its instance started from.

        Empty where that is not known, or needs root.
        """

    def describe(self) -> Mapping[str, str]:
        """What the platform itself says of it."""

    def remove(self) -> None:
        """Leave nothing of it on the host. Twice too."""


@runtime_checkable
class Commits(Protocol):
    """A driver that makes an image of a changed instance, as `docker commit` or a snapshot of a disk does."""

    def commit(self, instance: Instance, *, name: str) -> Committed:
        """An image of what is on the disk of a running instance, which goes on running. All or nothing.

        Labelled with the run, and written down in its lease before it is made. Raises InstanceError.
        """
