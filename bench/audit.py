"""The fairness audit: what each side of a comparison really got, what differs, and whose doing that is. Pure.

A: nothing but the technology differs. B: what differs beside it is a declared axis. C: something else
differs, or could not be read: what is unknown never counts as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .model import INHERENT, UNLIMITED, Accelerator, Arm, Record, Run, Spec, Trial
from .mounts import OF_THE_DISK

WORKLOAD = "audit"
"""Whose trials hold the readings."""

Grade = Literal["A", "B", "C"]
Cause = Literal["technology", "axis", "other", "unknown"]
Source = Literal["engine", "inside"]

GRADES: Mapping[Grade, str] = {
    "A": "nothing but the technology differs",
    "B": "what differs beside the technology is a declared axis",
    "C": "something else differs, or could not be read",
}

EMULATED = "EMULATED: every instruction of one side is interpreted, so it is the emulator that is measured"
MIB = 1 << 20
MEMORY_STEP = MIB
"""Bytes: engines round what they give to pages or to MiB, so that less is no difference."""
KERNEL_FIXED, KERNEL_SHARE = 96 * MIB, 1 / 16
"""What of a guest's memory its kernel may keep for itself, so that MemTotal is smaller than the guest."""
SMALL = 512 * MIB
"""Bytes: with less than this, Linux has no transparent huge pages, whatever it was told."""
ENOUGH = {
    "processes": 256,
    "pending signals": 256,
    "locked memory": 64 << 10,
    "msgqueue size": 512 << 10,
    "open files": 1024,
}
"""Limits that kernels and engines set as they like: from here on no workload runs into them, and all count as equal."""
ENOUGH_RAISED = 4096
"""What the limit of open files may be raised to, at least."""


class Reading(Record, frozen=True, kw_only=True):
    """One thing that was read of every arm."""

    what: str
    read: Source
    values: dict[str, str]
    """By arm, as they are compared; empty where it could not be read."""


class Difference(Record, frozen=True, kw_only=True):
    """What the two sides of a comparison don't have in common."""

    what: str
    read: Source
    baseline: str
    arm: str
    """The value on each side; empty where it could not be read."""
    cause: Cause
    axis: str = ""
    """The axis that declares it."""
    why: str = ""


class Audit(Record, frozen=True, kw_only=True):
    """One arm against the baseline."""

    arm: str
    baseline: str
    grade: Grade
    emulated: bool
    """Whether one side is an emulated guest and the other is none: never above C."""
    equal: int
    """How many things were read on both sides and are equal."""
    differences: list[Difference]

    @property
    def because(self) -> list[Difference]:
        """The differences that make the grade: all of the gravest cause."""
        graver = [each for each in self.differences if each.cause in ("other", "unknown")]
        return graver or [each for each in self.differences if each.cause == "axis"]


class Fairness(Record, frozen=True, kw_only=True):
    """All of a run's audit."""

    readings: list[Reading]
    audits: list[Audit]


@dataclass(frozen=True, slots=True)
class Side:
    """One arm: what it was to get, and what was read of it."""

    name: str
    driver: str
    accelerator: Accelerator
    asked: Mapping[str, str]
    """By axis; what was declared before the first trial."""
    options: Mapping[str, str]
    got: Mapping[str, str]
    """The facts as they were stored."""

    @property
    def kind(self) -> str:
        """process, container or vm; empty where it is not known."""
        return self.got.get("engine.kind", "")


def side(arm: Arm, spec: Spec, accelerator: Accelerator, kernel: str, got: Mapping[str, str]) -> Side:
    """An arm with the spec that its instance had. `kernel` is the one that was declared for it."""
    asked = {
        "vcpus": str(spec.vcpus),
        "memory": str(spec.memory),
        "network": spec.network,
        "kernel": kernel,
        "page_cache": spec.page_cache,
    }
    if got.get("engine.kind") == "vm" and spec.cache != "auto":
        asked["cache"] = spec.cache
    return Side(arm.name, arm.driver, accelerator, asked, dict(arm.options), got)


@dataclass(frozen=True, slots=True)
class _Fact:
    """One thing that is compared, and how."""

    what: str
    key: str
    """As it is stored: `engine.memory`."""
    plain: Callable[[Side], str]
    """Its value as it is compared: equal things are equal texts; empty where it is unknown."""
    axis: str = ""
    """The axis that a difference in it follows from, where the arms differ in that."""
    asked: bool = False
    """Whether it must be what was asked for on that axis."""
    follows: Callable[[str, str], bool] = lambda one, other: True
    """Whether a difference between these values is one that the axis makes."""
    natural: Callable[[Side, Side, str, str], str] = lambda left, right, one, other: ""
    """Why a difference between these values is the technology's own; empty where it isn't."""

    @property
    def read(self) -> Source:
        return "engine" if self.key.startswith("engine.") else "inside"


def fairness(run: Run) -> Fairness | None:
    """The audit of a stored run; None where it has no readings, as those that were made before there were any."""
    trials = _readings(run)
    if not trials:
        return None
    plan, host = run.manifest.plan, run.manifest.host.get("kernel", "")
    sides = {}
    for arm in plan.arms:
        trial = trials.get(arm.name)
        got = trial.facts if trial is not None and trial.status == "ok" else {}
        kernel = run.manifest.described(arm).get("kernel", host)
        accelerator = run.manifest.accelerators.get(arm.name, "none")
        sides[arm.name] = side(arm, trial.cell.spec if trial else arm.spec, accelerator, kernel, got)
    baseline = sides[plan.baseline]
    others = [each for name, each in sides.items() if name != plan.baseline]
    readings = [
        Reading(what=fact.what, read=fact.read, values={each.name: fact.plain(each) for each in sides.values()})
        for fact in FACTS
    ]
    return Fairness(readings=readings, audits=[compare(baseline, other) for other in others])


def _readings(run: Run) -> dict[str, Trial]:
    """The last reading of each arm; one that went well goes before one that did not."""
    found: dict[str, Trial] = {}
    for trial in run.trials:
        known = found.get(trial.cell.arm)
        if trial.cell.workload == WORKLOAD and (known is None or trial.status == "ok" or known.status != "ok"):
            found[trial.cell.arm] = trial
    return found


def compare(baseline: Side, arm: Side) -> Audit:
    """What differs between two sides, and the grade that it makes."""
    each = [_difference(fact, baseline, arm) for fact in FACTS]
    found = [difference for difference in each if difference is not None]
    differences = [*_emulation(baseline, arm), *_options(baseline, arm), *_pages(baseline, arm), *found]
    causes = {difference.cause for difference in differences}
    grade: Grade = "C" if causes & {"other", "unknown"} else "B" if "axis" in causes else "A"
    return Audit(
        arm=arm.name,
        baseline=baseline.name,
        grade=grade,
        emulated=_one_emulated(baseline, arm),
        equal=len(each) - len(found),
        differences=differences,
    )


def _one_emulated(*sides: Side) -> bool:
    return {side.accelerator == "tcg" for side in sides} == {True, False}


def _emulation(baseline: Side, arm: Side) -> list[Difference]:
    """First of all: what an emulated guest measures is the emulator."""
    if baseline.accelerator == arm.accelerator:
        return []
    cause: Cause = "technology"
    if _one_emulated(baseline, arm):
        cause = "axis" if _asked_for_emulation(baseline, arm) else "other"
    return [
        Difference(
            what="Accelerator",
            read="engine",
            baseline=baseline.accelerator,
            arm=arm.accelerator,
            cause=cause,
            axis="accelerator" if cause == "axis" else "",
            why="" if cause == "technology" else EMULATED,
        )
    ]


def _asked_for_emulation(*sides: Side) -> bool:
    """Between two guests: against anything else, no plan makes it fair."""
    guests = all(each.accelerator in ("kvm", "tcg") for each in sides)
    return guests and any(each.options.get("accelerator") == "tcg" for each in sides)


def _options(baseline: Side, arm: Side) -> list[Difference]:
    """Options of one driver are axes; those of different drivers have nothing in common."""
    if baseline.driver != arm.driver:
        return []
    keys = sorted({*baseline.options, *arm.options} - {"accelerator"})
    pairs = ((key, baseline.options.get(key, "default"), arm.options.get(key, "default")) for key in keys)
    return [
        Difference(what=f"Option {key}", read="engine", baseline=one, arm=other, cause="axis", axis=key)
        for key, one, other in pairs
        if one != other
    ]


def _pages(baseline: Side, arm: Side) -> list[Difference]:
    """Cold against warm: what is asked for is verified before each boot, or there is none."""
    one, other = baseline.asked["page_cache"], arm.asked["page_cache"]
    if one == other:
        return []
    return [
        Difference(what="Page cache", read="engine", baseline=one, arm=other, cause="axis", axis="page_cache"),
    ]


def _difference(fact: _Fact, baseline: Side, arm: Side) -> Difference | None:
    one, other = fact.plain(baseline), fact.plain(arm)
    missed = [words for side, got in ((baseline, one), (arm, other)) if (words := _missed(fact, side, got))]
    if one == other and one and not missed:
        return None
    cause, axis, why = _cause(fact, baseline, arm, one, other)
    if missed and cause != "unknown":
        cause, axis, why = "other", "", "; ".join(missed)
    return Difference(what=fact.what, read=fact.read, baseline=one, arm=other, cause=cause, axis=axis, why=why)


def _cause(fact: _Fact, baseline: Side, arm: Side, one: str, other: str) -> tuple[Cause, str, str]:
    if not one or not other:
        missing = [side.name for side, value in ((baseline, one), (arm, other)) if not value]
        return "unknown", "", f"not read of {' and '.join(missing)}"
    if _declared(fact, baseline, arm) and fact.follows(one, other):
        return "axis", fact.axis, ""
    if why := fact.natural(baseline, arm, one, other):
        return "technology", "", why
    return "other", "", ""


def _declared(fact: _Fact, baseline: Side, arm: Side) -> bool:
    """Whether the plan gives the two different values on the axis."""
    one, other = baseline.asked.get(fact.axis), arm.asked.get(fact.axis)
    return bool(one and other) and one != other


def _missed(fact: _Fact, side: Side, got: str) -> str:
    """That a side was not given what it was asked for, in words; empty where it was, or where that is not known."""
    asked = side.asked.get(fact.axis, "") if fact.asked else ""
    own_way = fact.axis == "network" and side.kind == "process" and (asked, got) == ("none", "host")
    if not asked or not got or own_way or got in (asked, INHERENT):
        return ""
    return f"{side.name} was to have {asked}"


# How each thing is read.


def _stored(key: str) -> Callable[[Side], str]:
    return lambda side: side.got.get(key, "")


def _number(text: str) -> int | None:
    """A whole number; None where it is none, or longer than any that a kernel prints."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


_DIGITS = 20


def _memory(text: str, asked: str) -> str:
    """As asked for where it is within one step of that."""
    found = _number(text)
    return asked if found is not None and abs(found - int(asked)) < MEMORY_STEP else text


def _granted_memory(side: Side) -> str:
    return _memory(side.got.get("engine.memory", ""), side.asked["memory"])


def _memory_inside(side: Side) -> str:
    """A guest's MemTotal is what its kernel left of its size; in a container MemTotal is the host's, its limit not."""
    total, asked = side.got.get("inside.memory", ""), side.asked["memory"]
    if side.kind == "vm":
        seen = _number(total)
        if seen is None:
            return ""
        least = int(asked) - KERNEL_FIXED - KERNEL_SHARE * int(asked)
        return asked if least <= seen <= int(asked) else total
    limit = side.got.get("inside.memory limit", "")
    shown = _number(limit)
    if shown is None or shown >= _NO_LIMIT:
        return INHERENT if total else ""  # it shows no limit of its own: the engine's word is all there is
    return _memory(limit, asked)


_NO_LIMIT = 1 << 62


def _mount(path: str) -> Callable[[Side], str]:
    """A guest's file system treats a disk of its own; any other's lies on the host's, which is read by itself."""

    def plain(side: Side) -> str:
        words = side.got.get(f"inside.mount {path}", "").split()
        kept = words if side.kind == "vm" else [each for each in words if not each.startswith(OF_THE_DISK)]
        return " ".join(kept)

    return plain


def _mitigations(side: Side) -> str:
    """Only whether each is mitigated, not how: two kernels word the same thing differently."""
    lines = side.got.get("inside.mitigations", "").splitlines()
    found = (line.partition(": ") for line in lines)
    return "\n".join(f"{name}: {_class(state)}" for name, _, state in found)


def _class(state: str) -> str:
    words = state.removeprefix("KVM: ")
    return next((each for each in _CLASSES if words.startswith(each)), words)


_CLASSES = ("Not affected", "Vulnerable", "Mitigation", "Unknown")


def _limits(side: Side) -> str:
    """Soft limits, and what open files can be raised to; from ENOUGH on they are all the same."""
    lines = side.got.get("inside.limits", "").splitlines()
    found = []
    for line in lines:
        name, _, rest = line.partition(": ")
        soft, _, hard = rest.partition(" of ")
        found.append(f"{name}: {_enough(soft, ENOUGH.get(name))}")
        if name == "open files":
            found.append(f"{name}, raised: {_enough(hard, ENOUGH_RAISED)}")
    return "\n".join(found)


def _enough(value: str, enough: int | None) -> str:
    found = _number(value)
    if enough is not None and (value == UNLIMITED or (found is not None and found >= enough)):
        return f"at least {enough}"
    return value


def _processes(side: Side) -> str:
    return _enough(side.got.get("engine.processes", ""), ENOUGH["processes"])


def _nested(one: str, other: str) -> bool:
    """Whether the CPUs of the one are among the other's: more of them, and not others."""
    few, many = sorted((set(text.split(",")) for text in (one, other)), key=len)
    return few <= many


# What of a difference is the technology's own.


def _vm(*sides: Side) -> bool:
    """Whether one of the two is a guest and the other isn't."""
    return {side.kind == "vm" for side in sides} == {True, False}


def _no_such_thing(left: Side, right: Side, one: str, other: str) -> str:
    """One of the two has nothing of the kind."""
    return "one of them has none of its own" if INHERENT in (one, other) else ""


def _swapped(left: Side, right: Side, one: str, other: str) -> str:
    return "a guest's memory is its monitor's, which has no limit of swap of its own" if _vm(left, right) else ""


def _host_network(left: Side, right: Side, one: str, other: str) -> str:
    """A process on the host has no network namespace: it sees the host's devices."""
    return "a process has the host's network" if (left.kind == "process") != (right.kind == "process") else ""


def _small(left: Side, right: Side, one: str, other: str) -> str:
    """Linux switches them off where it has little memory."""
    small = (_number(side.got.get("inside.memory", "")) for side in (left, right) if side.kind == "vm")
    few = any(memory is not None and memory < SMALL for memory in small)
    return "a guest's kernel has none below 512 MiB" if few and _vm(left, right) and "never" in (one, other) else ""


def _own_clock(left: Side, right: Side, one: str, other: str) -> str:
    return "a guest has the clock of its machine" if _vm(left, right) else ""


_ON_DISK = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "overlay", "aufs"))


def _layers(left: Side, right: Side, one: str, other: str) -> str:
    """What a technology has its files on: an overlay, its own disk, the host's. A file system in memory is none."""
    kinds = {text.partition(" ")[0] for text in (one, other)}
    alike = left.kind != right.kind and kinds <= _ON_DISK and _mode(one) == _mode(other)
    return "each technology has its files on a file system of its kind" if alike else ""


def _mode(text: str) -> set[str]:
    """A mount's options, but for whether it can be written to: a process has the root file system read-only."""
    return set(text.split()[1:]) - {"ro", "rw"}


def _cannot_tell(left: Side, right: Side, one: str, other: str) -> str:
    """A guest's kernel says Unknown of what only the host can know, and an older kernel knows fewer names."""
    states, others = (dict(line.split(": ", 1) for line in text.splitlines()) for text in (one, other))
    pairs = {name: (states.get(name, ""), others.get(name, "")) for name in states | others}
    differing = [pair for pair in pairs.values() if pair[0] != pair[1]]
    known = [pair for pair in differing if "Unknown" not in pair and (all(pair) or not _kernels_differ(left, right))]
    return "one of the two kernels cannot tell" if _vm(left, right) and not known else ""


def _kernels_differ(left: Side, right: Side) -> bool:
    return left.got.get("inside.kernel") != right.got.get("inside.kernel")


FACTS: Sequence[_Fact] = (
    _Fact("CPUs", "engine.vcpus", _stored("engine.vcpus"), axis="vcpus", asked=True),
    _Fact("CPUs, inside", "inside.cpus", _stored("inside.cpus"), axis="vcpus", asked=True),
    _Fact("Host CPUs", "engine.cpus", _stored("engine.cpus"), axis="vcpus", follows=_nested),
    _Fact("CPU quota", "engine.quota", _stored("engine.quota")),
    _Fact("CPU model", "inside.cpu", _stored("inside.cpu")),
    _Fact("Memory", "engine.memory", _granted_memory, axis="memory", asked=True),
    _Fact("Memory, inside", "inside.memory", _memory_inside, axis="memory", asked=True, natural=_no_such_thing),
    _Fact("Swap", "engine.swap", _stored("engine.swap"), natural=_swapped),
    _Fact("Processes at most", "engine.processes", _processes),
    _Fact("Kernel", "inside.kernel", _stored("inside.kernel"), axis="kernel", asked=True),
    _Fact("Kernel's build", "inside.kernel build", _stored("inside.kernel build"), axis="kernel"),
    _Fact("Mitigations", "inside.mitigations", _mitigations, natural=_cannot_tell),
    _Fact(
        "Transparent huge pages",
        "inside.transparent hugepages",
        _stored("inside.transparent hugepages"),
        axis="kernel",
        natural=_small,
    ),
    _Fact("Clock source", "inside.clocksource", _stored("inside.clocksource"), natural=_own_clock),
    _Fact("Root file system", "inside.mount /", _mount("/"), natural=_layers),
    _Fact("File system of /work", "inside.mount /work", _mount("/work"), natural=_layers),
    _Fact("File system of /tmp", "inside.mount /tmp", _stored("inside.mount /tmp")),
    _Fact("Host's file system below", "engine.storage", _stored("engine.storage")),
    _Fact(
        "Cache mode of the disk",
        "engine.disk cache",
        _stored("engine.disk cache"),
        axis="cache",
        asked=True,
        natural=_no_such_thing,
    ),
    _Fact("Requests of the disk", "engine.disk io", _stored("engine.disk io"), axis="cache", natural=_no_such_thing),
    _Fact("Network", "engine.network", _stored("engine.network"), axis="network", asked=True, natural=_host_network),
    _Fact(
        "Network devices, inside", "inside.network", _stored("inside.network"), axis="network", natural=_host_network
    ),
    _Fact("Limits", "inside.limits", _limits),
    _Fact("User and umask", "inside.user", _stored("inside.user")),
    _Fact("Environment", "inside.environment", _stored("inside.environment")),
    _Fact("Programs", "inside.payload", _stored("inside.payload")),
)
"""In the order in which they are shown."""
