"""`fake`: a technology in memory, on a clock of its own. Everything it yields is marked SIMULATED.

It is a real driver: it speaks the agent's wire, keeps deadlines, dies when told to. With it a whole plan runs in
milliseconds, which is what tests, and people who write drivers and workloads, need.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from tare_bench.clock import NS, Call, Source
from tare_bench.driver import Accounts, Driver, Instance, Kind, Leftover, Resolution, RunContext, Rung, Streams, Support
from tare_bench.errors import InstanceError
from tare_bench.model import INHERENT, UNLIMITED, Accelerator, Spec

if TYPE_CHECKING:
    from tare_bench.rootfs import Rootfs

_ISOLATION = b"""\
boot_id simulated
kernel_release simulated
os "simulated"
status CapEff: 0000000000000000
status Seccomp: 2
"""
"""What the workload `isolation` finds in its instances: a kernel of their own."""

_AUDIT = """\
==> payload <==
0000000000000000000000000000000000000000000000000000000000000000  /bin/sh
==> network <==
lo
==> /proc/self/status <==
Umask:\t0022
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
Cpus_allowed_list:\t0-{last}

==> /proc/self/limits <==
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 4096                 files

==> /proc/self/mountinfo <==
1 1 0:1 / / rw,relatime - ext4 /dev/root rw
2 1 0:2 / /tmp rw,nosuid,nodev,relatime - tmpfs tmp rw

==> /proc/meminfo <==
MemTotal:        1048576 kB

==> /proc/sys/kernel/osrelease <==
simulated

==> /proc/sys/kernel/version <==
#1 simulated

==> /sys/devices/system/cpu/online <==
0-{last}

==> /sys/kernel/mm/transparent_hugepage/enabled <==
always [madvise] never

==> /sys/devices/system/clocksource/clocksource0/current_clocksource <==
simulated

==> /sys/devices/system/cpu/vulnerabilities/meltdown <==
Not affected

==> /proc/cpuinfo <==
processor\t: 0
model name\t: simulated

==> /proc/self/environ <==
HOME=/\0LANG=C.UTF-8\0PATH=/usr/bin:/bin\0"""
"""What the workload `audit` reads inside of them."""

T = TypeVar("T")
S = TypeVar("S", bound=Source)


class FakeClock:
    """A clock that stands until something waits, and then jumps to what was waited for."""

    beside = False

    def __init__(self, now: int = 1_000 * NS) -> None:
        self._now = now
        self._busy = 0.0

    def now(self) -> int:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let that much time go by."""
        self._now += round(seconds * NS)

    def spend(self, cpu_seconds: float) -> None:
        """Have the simulated host's CPUs work that much."""
        self._busy += cpu_seconds

    def select(self, sources: Sequence[S], deadline: int) -> list[S]:
        due = [(_due(source, self._now), source) for source in sources]
        soonest = min((at for at, _ in due if at is not None), default=None)
        if soonest is None or soonest > deadline:
            self._now = max(self._now, deadline)
            return []
        self._now = max(self._now, soonest)
        return [source for at, source in due if at is not None and at <= self._now]

    def begin(self, call: Callable[[], T], known: Callable[[Call[T]], None] | None = None) -> Call[T]:
        done = DoneCall(call, self)
        if known is not None:
            known(done)
        return done

    def busy(self) -> float | None:
        return self._busy

    def totals(self, groups: Sequence[Path] = ()) -> Mapping[str, float]:
        return {}


def _due(source: Source, now: int) -> int | None:
    """When the source becomes readable; None: not by itself."""
    return source.due() if isinstance(source, FakeChannel) else now


class DoneCall(Generic[T]):
    """A call that was made at once: on this clock nothing happens beside the main thread."""

    def __init__(self, call: Callable[[], T], clock: FakeClock) -> None:
        self._value: list[T] = []
        self._error: Exception | None = None
        try:
            self._value.append(call())
        except Exception as error:  # noqa: BLE001 - handed to the caller by result(), never lost
            self._error = error
        self.returned_at: int | None = clock.now()
        self.began = True

    def fileno(self) -> int:
        return -1

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value[0]

    def close(self) -> None:
        pass


class FakeChannel:
    """A stream whose bytes arrive at moments of the fake clock."""

    def __init__(self, clock: FakeClock, answer: Callable[[bytes], None]) -> None:
        self._clock = clock
        self._answer = answer
        self._arriving: deque[tuple[int, bytes]] = deque()
        self._closed = False

    def arrive(self, at: int, data: bytes) -> None:
        """Have these bytes (b"": the end of file) be readable from then on."""
        self._arriving.append((at, data))

    def cut(self, at: int) -> None:
        """Have the end of file be the next thing that comes, whatever was on its way."""
        self._arriving = deque([*(item for item in self._arriving if item[0] <= at), (at, b"")])

    def due(self) -> int | None:
        return self._arriving[0][0] if self._arriving else None

    def fileno(self) -> int:
        return -1

    def recv(self) -> bytes | None:
        if not self._arriving or self._arriving[0][0] > self._clock.now():
            return None
        _, data = self._arriving[0]
        if data:
            self._arriving.popleft()
        return data

    def send(self, data: bytes) -> int:
        if self._closed:
            raise BrokenPipeError("the instance is gone")
        self._answer(data)
        return len(data)

    def close(self) -> None:
        self._closed = True


def _plain(escaped: str) -> str:
    """What the agent's printf makes of a command: the bytes that stand there as `\\0` and three octal digits."""
    return re.sub(rb"\\0([0-7]{3})", lambda found: bytes([int(found[1], 8)]), escaped.encode()).decode()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command does in a fake instance."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0
    seconds: float = 0.005
    dies: bool = False
    """The instance dies with it: the end of file comes instead of an answer."""
    silent: bool = False
    """The agent never answers."""


@dataclass(slots=True)
class Behaviour:
    """How fake instances behave. Seconds; each is multiplied by a seeded random factor of that spread (log scale)."""

    create: float = 0.02
    boot: float = 0.12
    stop: float = 0.01
    spread: float = 0.05
    cpu: float = 0.05
    drift: float = 0.0
    """How much slower each further instance boots, as a share."""
    pss: int = 3 << 20
    events: float = 1000.0
    """What its sysbench yields in a second."""
    fail_create: Sequence[int] = ()
    """The numbers (from 0) of the instances that cannot be created; of those that never become ready; and so on."""
    hang_boot: Sequence[int] = ()
    die_boot: Sequence[int] = ()
    replies: dict[str, Reply] = field(default_factory=dict)
    """By command: exactly that text, or what it begins with where that ends in `*`."""

    def reply(self, command: str) -> Reply | None:
        """What it was taught to do with a command; None: nothing."""
        if command in self.replies:
            return self.replies[command]
        begins = (reply for key, reply in self.replies.items() if key.endswith("*") and command.startswith(key[:-1]))
        return next(begins, None)


class FakeDriver(Driver):
    """A technology in memory."""

    name = "fake"
    kind = Kind.CONTAINER

    def __init__(self, behaviour: Behaviour | None = None, *, clock: FakeClock | None = None, seed: int = 0) -> None:
        self.fake_clock = clock or FakeClock()
        self.clock = self.fake_clock
        self.behaviour = behaviour or Behaviour()
        self.random = random.Random(seed)
        self.made = 0
        self.alive: dict[str, FakeInstance] = {}

    def check(self, *, fresh: bool = False) -> Support:
        return Support((Rung("memory", True, "simulated, on a clock of its own"),), accelerator="simulated")

    def describe(self) -> Mapping[str, str]:
        return {"simulated": "yes", "kernel": "simulated"}

    def open(self, context: RunContext) -> None:
        pass

    def close(self) -> None:
        pass

    def prepare(self, rootfs: Rootfs) -> None:
        pass

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        return Resolution("simulated")

    def create(self, spec: Spec, *, name: str) -> Instance:
        number, self.made = self.made, self.made + 1
        self.fake_clock.advance(self.vary(self.behaviour.create))
        if number in self.behaviour.fail_create:
            raise InstanceError("The fake refuses to create this instance.", details=f"number {number}")
        instance = FakeInstance(self, name, number, spec)
        self.alive[name] = instance
        return instance

    def vary(self, seconds: float) -> float:
        """A time with this driver's spread on it."""
        return seconds * self.random.lognormvariate(0.0, self.behaviour.spread) if seconds else 0.0

    def leftovers(self, live_runs: Sequence[str]) -> Sequence[Leftover]:
        return [Leftover("instance", name, each.destroy) for name, each in self.alive.items()]


class FakeInstance(Instance):
    """One simulated instance."""

    def __init__(self, driver: FakeDriver, name: str, number: int, spec: Spec) -> None:
        self.id = name
        self._spec = spec
        self._driver = driver
        self._number = number
        self._clock = driver.fake_clock
        self._wire = FakeChannel(self._clock, self._take)
        self._born = self._clock.now()
        self._started = False

    def attach(self) -> Streams:
        return Streams(self._wire)

    def start(self) -> None:
        behaviour, now = self._driver.behaviour, self._clock.now()
        self._started = True
        if self._number in behaviour.hang_boot:
            return
        took = self._driver.vary(behaviour.boot) * (1 + behaviour.drift * self._number)
        ready = now + round(took * NS)
        self._clock.spend(behaviour.cpu)
        if self._number in behaviour.die_boot:
            self._wire.cut(ready)
        else:
            self._wire.arrive(ready, f"READY {self._uptime(ready)}\n".encode())

    def _uptime(self, at: int) -> str:
        return f"{(at - self._born) / NS:.2f}"

    def _take(self, data: bytes) -> None:
        for line in data.decode("ascii").splitlines():
            words = line.split(" ", 3)
            if words[0] == "RUN":
                self._run(int(words[1]), int(words[2]), _plain(words[3]))
            elif words[0] == "BYE":
                self._wire.cut(self._clock.now())

    def _run(self, request: int, deadline: int, command: str) -> None:
        reply = self._driver.behaviour.reply(command) or self._own_reply(command)
        if reply.silent:
            return
        late = reply.seconds > deadline
        took = deadline if late else reply.seconds
        at = self._clock.now() + round(took * NS)
        if reply.dies:
            self._wire.cut(at)
            return
        status = 137 if late else reply.status
        out, err = (b"", b"") if late else (reply.stdout, reply.stderr)
        head = f"DONE {request} {status} 0m{took:.3f}s+0m0.000s {self._uptime(at)} {len(out)} {len(err)}\n"
        self._wire.arrive(at, head.encode() + out + err)

    def _own_reply(self, command: str) -> Reply:
        """What a command that nobody taught it does: sysbench computes, `true` is true, all else is not there."""
        if command == "true":
            return Reply(seconds=self._driver.vary(0.003))
        if found := re.match(r"sysbench cpu .*--events=(\d+)", command):
            seconds = int(found[1]) / self._driver.vary(self._driver.behaviour.events)
            text = f"    total time: {seconds:.4f}s\n    total number of events: {found[1]}\n"
            return Reply(text.encode(), seconds=seconds + 0.02)
        if "random/boot_id" in command:
            return Reply(_ISOLATION)
        if ": tare audit" in command:
            return Reply(_AUDIT.format(last=self._spec.vcpus - 1).encode())
        return Reply(stderr=f"sh: {command}: not found\n".encode(), status=127)

    def accelerator(self) -> Accelerator:
        return "simulated"

    def accounts(self) -> Accounts:
        return Accounts(unavailable="simulated: it has no processes and no files")

    def granted(self) -> Mapping[str, str]:
        spec = self._spec
        return {
            "kind": Kind.CONTAINER,
            "vcpus": str(spec.vcpus),
            "cpus": ",".join(map(str, range(spec.vcpus))),
            "quota": UNLIMITED,
            "memory": str(spec.memory),
            "swap": "0",
            "processes": UNLIMITED,
            "network": spec.network,
            "disk cache": INHERENT,
            "disk io": INHERENT,
            "storage": "simulated",
        }

    def diagnostics(self) -> Mapping[str, bytes]:
        return {"fake.txt": f"instance {self._number}\n".encode()}

    def stop(self) -> None:
        self._wire.cut(self._clock.now() + round(self._driver.vary(self._driver.behaviour.stop) * NS))

    def destroy(self) -> None:
        self._wire.close()
        self._driver.alive.pop(self.id, None)
