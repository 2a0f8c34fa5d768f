"""The network of a run: a bridge in a network namespace of the run's own, to which its instances are attached.

The namespace has no name. It is there as long as this process holds it open or something runs in it: it ends with the
run, after a SIGKILL too, and takes bridge, veth pairs and taps along. Nothing of it is ever in the host's own namespace
or has a way out of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from . import tool
from .errors import ImageError, InstanceError, TareError
from .model import NetworkPath

SUBNET = ipaddress.ip_network("198.18.0.0/16")
"""Of the range that is set aside for benchmarks of networks (RFC 2544): no host has such an address."""
MASK = str(SUBNET.netmask)
PREFIX = SUBNET.prefixlen
LOOPBACK = "127.0.0.1"
HOST = Path("/proc/self/ns/net")
"""The host's own network namespace."""
BRIDGE = "tare0"
DEVICE = "eth0"
"""An instance's end, as it calls it."""
PORTS = (15201, 17201)
"""Where servers listen in instances: what an engine publishes, or a VMM forwards, is made known to it beforehand."""
SECONDS = 10.0
"""Within which a few links are made."""
PROGRAMS = ("ip", "nsenter", "unshare")

_TURNS = 1000
_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class Port:
    """A place on the bridge, for one instance."""

    number: int

    @property
    def device(self) -> str:
        """The host's end, which is in the run's namespace."""
        return f"tare{self.number}"

    @property
    def address(self) -> str:
        """The instance's address."""
        return str(SUBNET[self.number + 1])

    @property
    def mac(self) -> str:
        """The instance's, locally administered."""
        return "02:54:" + ":".join(f"{byte:02x}" for byte in SUBNET[self.number + 1].packed)


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server in an instance is reached from outside of it."""

    address: str
    port: int
    listen: int
    """The port that the server listens at, in the instance."""
    outside: Outside
    place: Path | None = None
    """The network namespace that it is reached from; None: the run's own."""

    def run(self, argv: Sequence[str], *, seconds: float) -> bytes:
        """Run a program of the rootfs outside of the instance, and return what it prints. Raises InstanceError."""
        return self.outside.run(argv, seconds=seconds, place=self.place)


@dataclass(slots=True)
class Outside:
    """What a run has outside of its instances: the bridge, and the place that load comes from."""

    folder: Path
    """The run's own."""
    tree: Path
    """The rootfs, unpacked: a load generator is the same program as the instances have."""
    _namespace: int = -1
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def open(self) -> None:
        """Make the namespace and the bridge in it, unless they are there. Raises InstanceError."""
        if self._namespace >= 0:
            return
        try:
            self._namespace = _new_namespace()
        except OSError as error:
            raise InstanceError("No network namespace could be made.", details=str(error)) from error
        try:
            self._ip(
                f"link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
                f"addr add {SUBNET[1]}/{PREFIX} dev {BRIDGE}", f"link set {BRIDGE} up", "link set lo up",
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it: it ends with the last of what runs in it. Twice too."""
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    @property
    def namespace(self) -> int:
        """A descriptor of the run's namespace. Raises InstanceError where there is none."""
        if self._namespace < 0:
            raise InstanceError("The run has no bridge: it was not opened, or is closed.")
        return self._namespace

    def port(self) -> Port:
        """A place for one more instance."""
        return Port(next(self._numbers))

    def attach(self, port: Port, pid: int) -> None:
        """Give the network namespace of that process a device on the bridge, with its address. Raises InstanceError."""
        self._ip(
            f"link add {port.device} type veth peer name {DEVICE} address {port.mac} netns {pid}",
            f"link set {port.device} master {BRIDGE} up",
        )
        with Path(f"/proc/{pid}/ns/net").open() as theirs:
            _ip(
                theirs.fileno(), "link set lo up", f"addr add {port.address}/{PREFIX} dev {DEVICE}",
                f"link set {DEVICE} up",
            )  # fmt: skip

    def adopt(self, port: Port) -> None:
        """Connect a device that is in the run's namespace already: a guest's tap. Raises InstanceError."""
        self._ip(f"link set {port.device} master {BRIDGE} up")

    def drop(self, port: Port) -> None:
        """Remove the host's end now, and not when the kernel comes to it. One that is gone is fine."""
        with contextlib.suppress(TareError):
            self._ip(f"link del {port.device}")

    def linked(self, port: Port) -> bool:
        """Whether the kernel says that the port is one of the bridge's and has a carrier."""
        try:
            [seen] = json.loads(_in(self.namespace, ["ip", "-json", "link", "show", "dev", port.device]))
        except (InstanceError, ValueError):
            return False
        return seen.get("master") == BRIDGE and "LOWER_UP" in seen.get("flags", ())

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and what it starts, in the run's namespace meanwhile."""
        with Path(_HERE).open() as back:
            try:
                _set(self.namespace)
            except OSError as error:
                raise InstanceError("The run's network namespace cannot be entered.", details=str(error)) from error
            try:
                yield
            finally:
                _set(back.fileno())

    def run(self, argv: Sequence[str], *, seconds: float, place: Path | None = None) -> bytes:
        """Run a program of the rootfs with a view of it that is read-only, as a native instance has it.

        On the CPUs that this process has. Raises InstanceError with the program's own words.
        """
        work = self.folder / "load"
        work.mkdir(exist_ok=True)
        script = files("tare_bench.guest").joinpath("native.sh").read_text(encoding="ascii")
        view = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-c", script, "tare-load"]
        namespace = self.namespace if place is None else os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        words = [*_enter(namespace), *view, str(self.tree), str(work), "--", *argv]
        try:
            with tool.holding(namespace):
                return tool.run(words, stdin=b"go\n", seconds=seconds)
        except ImageError as error:
            brief = f"The load generator {argv[0]} failed."
            raise InstanceError(brief, details=error.details or error.brief) from error
        finally:
            if place is not None:
                os.close(namespace)

    def _ip(self, *lines: str) -> None:
        _ip(self.namespace, *lines)


@dataclass(slots=True)
class Link:
    """One instance's network. Where it has none, nothing here does anything."""

    outside: Outside | None = None
    path: NetworkPath = "none"
    address: str = ""
    """That of its own device, once it is up; empty where it has none of its own."""
    port: Port | None = None
    place: Path = HOST
    """Where it is reached from, unless it is on the bridge."""
    published: dict[int, int] = field(default_factory=dict)
    """Its ports to those that stand for them there, where they are not the same."""

    def __post_init__(self) -> None:
        if self.path == "bridge" and self.outside is not None:
            self.port = self.outside.port()
            self.address = self.port.address
        elif self.path == "host" and self.outside is not None:
            # All that have the host's network have the same ports.
            step = 2 * (self.outside.port().number % _TURNS)
            self.published = {port: port + step for port in PORTS}

    def reach(self, port: int) -> Reach | None:
        """As `Instance.reach`."""
        if self.outside is None or self.path == "none":
            return None
        if self.port is not None:
            return Reach(self.address, port, port, self.outside)
        there = self.published.get(port, port)
        return Reach(LOOPBACK, there, there if self.path == "host" else port, self.outside, self.place)

    def attach(self, pid: int) -> None:
        """Give the network namespace of that process its device. Raises InstanceError."""
        if self.port is not None and self.outside is not None:
            self.outside.attach(self.port, pid)

    def adopt(self) -> None:
        """Connect a device that was made by others in the run's namespace. Raises InstanceError."""
        if self.port is not None and self.outside is not None:
            self.outside.adopt(self.port)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Have this thread in the run's namespace meanwhile."""
        if self.port is None or self.outside is None:
            return contextlib.nullcontext()
        return self.outside.entered()

    def granted(self) -> dict[str, str]:
        """What it has by the kernel's word, as `Instance.granted` tells it; nothing where it is on no bridge."""
        on_it = self.port is not None and self.outside is not None and self.outside.linked(self.port)
        return {"network": self.path} if on_it else {}

    def drop(self) -> None:
        """Leave nothing of it. Twice too."""
        if self.port is not None and self.outside is not None:
            self.outside.drop(self.port)
            self.port = None


def seen_inside(address: str) -> str:
    """The shell command that succeeds in an instance whose device is up and has that address."""
    return (
        f"read -r up </sys/class/net/{DEVICE}/carrier && [ $up = 1 ] && "
        f"grep -qwF {address} /proc/net/fib_trie || {{ ls /sys/class/net; exit 1; }}"
    )


@functools.cache
def refusal(network: NetworkPath) -> str:
    """Why no instance can have that network on this host, whatever its driver; empty where one may."""
    if network == "none":
        return ""
    if os.geteuid() != 0:
        return f"uid {os.geteuid()}: it takes root (CAP_NET_ADMIN and CAP_SYS_ADMIN)"
    if missing := [name for name in PROGRAMS if tool.find(name) is None]:
        return f"not installed: {', '.join(missing)} (tare setup)"
    if network != "bridge":
        return ""
    tried = Outside(Path("/"), Path("/"))
    try:
        tried.open()
    except InstanceError as error:
        return f"{error.brief.rstrip('.')}: {error.details}"
    finally:
        tried.close()
    return ""


def _ip(namespace: int, *lines: str) -> None:
    _in(namespace, ["ip", "-batch", "-"], "\n".join(lines) + "\n")


def _in(namespace: int, argv: Sequence[str], stdin: str = "") -> str:
    """Run one of the host's programs in a namespace. Raises InstanceError with its words."""
    brief = "The instance's network could not be made."
    try:
        done = subprocess.run(
            [*_enter(namespace), *argv], input=stdin, text=True, errors="replace", capture_output=True, check=False,
            pass_fds=(namespace,), start_new_session=True, timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstanceError(brief, details=str(error)) from error
    if done.returncode:
        raise InstanceError(brief, details=f"{stdin}{done.stderr or done.stdout}")
    return done.stdout


def _enter(namespace: int) -> list[str]:
    return ["nsenter", f"--net=/proc/self/fd/{namespace}"]


def _new_namespace() -> int:
    """A descriptor of a new network namespace. A thread is moved into it and ends; this one stays where it is."""
    made: list[int] = []
    failed: list[OSError] = []

    def move() -> None:
        try:
            _checked(_libc().unshare(_NEWNET))
            made.append(os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=move, name="namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _set(namespace: int) -> None:
    _checked(_libc().setns(namespace, _NEWNET))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
