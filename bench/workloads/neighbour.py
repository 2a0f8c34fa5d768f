"""`neighbour`: what an instance that misbehaves does to the response time of another one of the same arm."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import lifecycle
from ..clock import NS
from ..crowd import Crowd, CrowdWorkload
from ..driver import GRANTED, Kind
from ..errors import InstanceError
from ..headroom import LIGHT
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped
from .density import p99
from .growth import MB, require_room

NEIGHBOUR = "neighbour"

PROBE_RUNS = 150
"""Probes in one phase; there are two alone and two beside the neighbour, and 300 values make a p99 with a bound."""
ALONE_SECONDS, BESIDE_SECONDS = 4.0, 8.0
"""After which a phase ends, however few probes it had."""
LAST_SECONDS = 120
"""After which the neighbour is ended from inside, whoever is still there to end it."""
ANSWER_SECONDS = 30.0
END_SECONDS = 60.0
"""A guest in which all fork takes its time to answer."""
SETTLE_SECONDS = 3.0

HOGS = 8
"""Busy loops of the neighbour that takes the CPU."""
FORKERS = 32
"""Shells that fork without end: twice as many processes at most, and these shells' own parent."""
SPARE_PROCESSES = 16
"""Of a limit of processes, what the neighbour's own agent and shells may need."""
MEMORY_SHARE = 0.75
"""Of the instance's memory: the rest is its kernel's, its agent's and its page cache. More ends the neighbour."""
FILE_BYTES = 64 * MB

_FOLDER = "/run/tare/neighbour"
_FILE = "tare-neighbour"
_SYNCED_WRITE = "dd if=/dev/zero of=tare-probe bs=4096 count=1 conv=fsync 2>/dev/null"

_KINDS = "(`neighbour`: cpu, memory, forks or disk)"
SLOWDOWN = Metric(
    name="neighbour.slowdown",
    unit="1",
    better="lower",
    title="p99 beside a neighbour, by that alone",
    definition="The 99th percentile of a probe's time in an instance while another one of its arm, on the same CPUs, "
    f"misbehaves {_KINDS}, over that of the same instance while the other one is idle: the same two instances, in the "
    "order alone, beside, beside, alone, with as many probes of each. The probe is an empty command, from the host's "
    "RUN to DONE; beside a neighbour that writes to the disk it is a write of 4 KiB with fsync.",
)
ALONE = Metric(
    name="neighbour.alone",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="p99 beside an idle neighbour",
    definition="The 99th percentile of the probe's time while the other instance is idle; of fewer than 100 probes it "
    "is the greatest.",
)


class Neighbour(CrowdWorkload):
    """A victim and an aggressor."""

    name = "neighbour"
    title = "the p99 of an instance beside one that hogs CPU, memory or disk, or forks without end, by that alone"
    metrics = (SLOWDOWN, ALONE)
    primary = SLOWDOWN.name
    variants = tuple({NEIGHBOUR: kind} for kind in ("cpu", "memory", "forks", "disk"))
    usual_blocks = 3
    seconds = 15.0

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        kind = str(params[NEIGHBOUR])
        _require_memory(crowd)
        with crowd.created() as victim:
            crowd.boot(victim)
            with crowd.created() as aggressor:
                crowd.boot(aggressor)
                pair = _Pair(crowd, victim, aggressor, kind)
                return pair.measured()


def _require_memory(crowd: Crowd) -> None:
    """Raise Skipped where the host has not all the memory that the two may take."""
    left, guests = crowd.memory(), crowd.driver.kind == Kind.VM
    needed = crowd.spec.memory + (crowd.weight if guests else LIGHT)
    if not left.holds(1, needed):
        raise Skipped(
            f"The two may take {needed >> 20} MiB, and only {max(0, left.spare) >> 20} MiB can be spared.",
            hint="Less `memory` for an instance.",
        )


@dataclass(slots=True)
class _Pair:
    """The two instances of one trial."""

    crowd: Crowd
    victim: Live
    aggressor: Live
    kind: str
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def measured(self) -> Measured:
        """Both phases twice, in an order that a steady drift of the host does not tilt."""
        misbehaving = self._script()
        first = self._phase(ALONE_SECONDS)
        second = self._misbehave(misbehaving)
        self._take(first, second)
        third = self._misbehave(misbehaving)
        self._take(self._phase(ALONE_SECONDS), third)
        found = Measured(facts=self.facts)
        found.add(SLOWDOWN, p99(self.beside) / p99(self.alone))
        found.add(ALONE, p99(self.alone))
        found.facts |= {"probes": str(len(self.alone)), "p99 beside": f"{p99(self.beside):.6f}"}
        return found

    def _take(self, alone: list[float], beside: list[float]) -> None:
        """As many of both: of more values the greatest is greater."""
        count = min(len(alone), len(beside))
        self.alone += alone[:count]
        self.beside += beside[:count]

    def _script(self) -> str:
        """What the aggressor does, in its own words; and what holds it back."""
        assert self.aggressor.instance is not None
        granted = self.aggressor.instance.granted()
        limits = {name: granted.get(name, "not known") for name in ("memory", "processes") if name in GRANTED}
        self.facts |= {f"neighbour's {name} at most": value for name, value in limits.items()}
        if self.kind == "disk":
            require_room(self.aggressor, FILE_BYTES)
        return script(self.kind, self.crowd.spec.memory, limits["processes"])

    def _phase(self, seconds: float) -> list[float]:
        clock, took = self.crowd.clock, list[float]()
        until = clock.now() + int(seconds * NS)
        command = _SYNCED_WRITE if self.kind == "disk" else "true"
        while len(took) < PROBE_RUNS and (not took or clock.now() < until):
            took.append(self.victim.run(command, seconds=ANSWER_SECONDS).checked().seconds)
        return took

    def _misbehave(self, misbehaving: str) -> list[float]:
        """A phase beside the aggressor, which must have gone on to its end."""
        self.aggressor.run(begin(misbehaving), seconds=ANSWER_SECONDS).checked()
        took = self._phase(BESIDE_SECONDS)
        ended = self.aggressor.run(END, seconds=END_SECONDS)
        if ended.status:
            words = ended.stderr.decode(errors="replace")[-500:]
            raise InstanceError("The neighbour did not misbehave to the end of the phase.", details=words)
        lifecycle.settle(self.crowd.clock, window=0.1, share=0.10, seconds=SETTLE_SECONDS)
        return took


def script(kind: str, memory: int, processes: str) -> str:
    """What an aggressor of that kind runs, in an instance of so many bytes and with that limit of processes.

    Each is bounded by itself, since a driver may have no limits: in memory, in processes, in bytes on the disk.
    """
    forkers = max(1, min(FORKERS, (int(processes) - SPARE_PROCESSES) // 2)) if processes.isdigit() else FORKERS
    chunk, times = f"{_FOLDER}/chunk", FILE_BYTES // (4 * MB)
    return {
        "cpu": f"n=0; while [ $n -lt {HOGS} ]; do while :; do :; done & n=$((n+1)); done; wait",
        # one buffer of that size, filled again and again
        "memory": f"exec dd if=/dev/zero of=/dev/null bs={int(MEMORY_SHARE * memory)} count=1000000000",
        "forks": f"n=0; while [ $n -lt {forkers} ]; do while :; do (:); done & n=$((n+1)); done; wait",
        # random bytes, which no file system makes smaller
        "disk": f"dd if=/dev/urandom of={chunk} bs={MB} count=4 && while :; do n=0; while [ $n -lt {times} ]; do "
        f"cat {chunk}; n=$((n+1)); done | dd of={_FILE} bs={MB} conv=fsync || exit; done",
    }[kind]


def begin(misbehaving: str) -> str:
    """Have an instance misbehave while it answers: in a session of its own, and no longer than LAST_SECONDS.

    Whatever belongs to it holds a pipe, so its end is an event, and needs nobody to reap it.
    """
    return (
        f"rm -rf {_FOLDER}; mkdir {_FOLDER} && mkfifo {_FOLDER}/end && cd /work || exit; {{ "
        f"setsid timeout -s KILL {LAST_SECONDS} /bin/sh -c {shlex.quote(misbehaving)} 9<>{_FOLDER}/end & "
        f"echo $! >{_FOLDER}/pid; wait $!; echo $? >{_FOLDER}/over; }} >/dev/null 2>{_FOLDER}/said & "
        f"until [ -s {_FOLDER}/pid ]; do :; done"
    )


END = (
    f"cd /work; if [ -e {_FOLDER}/over ]; then tail -n 5 {_FOLDER}/said >&2; exit 3; fi; "
    f"read -r pid <{_FOLDER}/pid; exec 8<{_FOLDER}/end; kill -KILL -$pid || exit 4; cat <&8; "
    f"until [ -s {_FOLDER}/over ]; do :; done; rm -rf {_FOLDER} {_FILE}; sync"
)
"""End it, and return when nothing of it is left; status 3 where it had ended by itself, with its last words."""
