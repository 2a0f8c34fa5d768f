"""Plan file and options to a Plan: what is wrong with their values is said here, and where in the file it stands."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import headroom, registry, suites
from .errors import UsageError, cut, figure
from .model import Arm, Plan, Spec, WorkloadPlan
from .planfile import (
    MAX_NAME,
    MAX_ROUNDS,
    MAX_SECONDS,
    MIN_ROUNDS,
    NOWHERE,
    Accelerator,
    ArmTable,
    InstanceTable,
    Lines,
    Place,
    PlanFile,
    first,
    read,
)
from .workloads import density, storm
from .workloads.density import MAX_INSTANCES
from .workloads.storm import PARALLEL

DEFAULT_DRIVERS = ("native", "docker", "kvm")
GUESTS = "kvm"
"""The driver that `--libvirt-uri` is for."""
PLAN_FILE = "tare.toml"
MIN_MEMORY = 64 << 20
MIN_DISK, MAX_DISK = 16 << 20, 1 << 40
"""Bytes: enough for a workload's own file, and what a file system can still be laid out for."""
MAX_SEED = (1 << 63) - 1
MAX_CROWD = 1024
"""Instances at once."""

DEFAULT_ROUNDS = 10
"""Measured blocks before any result is looked at, or all of them with --quick."""
DEFAULT_MOST = 60
"""Blocks of a kind at most, where the plan doesn't say."""
DEFAULT_MAX_TIME = 300.0
"""Seconds of measuring, where neither a number of rounds nor a time was asked for."""

_ACCELERATORS = ("auto", "kvm", "tcg")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's, None or empty where it doesn't say."""

    plan: Path | None = None
    drivers: Sequence[str] = ()
    workloads: Sequence[str] = ()
    suite: str | None = None
    baseline: str | None = None
    rounds: int | None = None
    max_time: float | None = None
    seed: int | None = None
    accelerator: Accelerator | None = None
    libvirt_uri: str | None = None
    tune: bool | None = None
    parallel: int | None = None
    max_instances: int | None = None
    quick: bool = False
    aa: bool | None = None
    aa_arms: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Configured:
    """A plan, and what the user asked for by name: what they asked for must be there, the rest may be left out."""

    plan: Plan
    asked: frozenset[str]
    """Names of drivers."""
    source: str
    """The plan file that was read; empty: none."""


def configure(options: Options) -> Configured:
    """Options beat the file, the file beats the defaults.

    Raises UsageError that names what is wrong, where, and the nearest known word; DriverUnavailable where an arm's
    options are those of a driver that does not load.
    """
    path = options.plan or (Path(PLAN_FILE) if os.path.lexists(PLAN_FILE) else None)
    file, lines = read(path) if path is not None else (PlanFile(), Lines())
    arms = _arms(options, file, lines)
    asked = frozenset(options.drivers) or frozenset(arm.driver for arm in file.arm)
    rounds, most = _rounds(options, file, lines)
    asked_for = suites.Asked(options.workloads, options.suite, options.quick, _limits(options, file, lines, arms))
    workloads = suites.choose(asked_for, file, lines, rounds)
    if file.instance.network is None and any(registry.planned(each).needs_network for each in workloads):
        arms = _on_a_bridge(arms, file, named=bool(options.drivers))
    _fit_together(arms, workloads)
    _fit_at_once(options, arms, workloads)
    asked_rounds = first(options.rounds, file.run.min_rounds, file.run.max_rounds)
    limit = None if asked_rounds or options.quick else DEFAULT_MAX_TIME
    against = _baseline(options, file, lines, arms)
    plan = Plan(
        arms=arms,
        workloads=workloads,
        baseline=against,
        rounds=rounds,
        max_rounds=most,
        twins=_twins(options, file, lines, arms, against),
        throughput_rounds=rounds if any(each.together for each in workloads) else 0,
        seed=first(_seed(options, file, lines), secrets.randbelow(1 << 31)),
        max_time=first(_max_time(options, file, lines), limit),
        accelerator=first(options.accelerator, file.run.accelerator, "auto"),
        tune=first(options.tune, file.run.tune, False),
    )
    return Configured(plan, asked, str(path) if path else "")


# Arms


def _arms(options: Options, file: PlanFile, lines: Lines) -> list[Arm]:
    spec = _spec(file.instance, lines)
    if options.drivers:
        tables, lines = [ArmTable(driver=name) for name in options.drivers], Lines()
    else:
        tables = file.arm or [ArmTable(driver=name) for name in DEFAULT_DRIVERS]
    arms = [_arm(table, spec, options, lines, number) for number, table in enumerate(tables)]
    names = [arm.name for arm in arms]
    for number, name in enumerate(names):
        if name in names[:number]:
            where = lines.at("arm", number, "name") or lines.at("arm", number)
            raise UsageError(f"{where}Two arms are named `{name}`.", hint="Give each [[arm]] a name of its own.")
    if options.libvirt_uri and GUESTS not in {arm.driver for arm in arms}:
        raise UsageError(f"--libvirt-uri is for the driver {GUESTS}, and no arm of this plan has it.")
    if {"fake"} & {arm.driver for arm in arms} and {arm.driver for arm in arms} != {"fake"}:
        raise UsageError("The fake driver lives on a clock of its own: it cannot be compared with a real one.")
    return arms


def _arm(table: ArmTable, spec: Spec, options: Options, lines: Lines, number: int) -> Arm:
    known = registry.names(registry.DRIVERS)
    where = ("arm", number)
    if table.driver not in known:
        hint = registry.nearest(table.driver, known)
        raise UsageError(f"{lines.at(*where, 'driver')}There is no driver named `{cut(table.driver)}`.", hint=hint)
    if table.name is not None:
        _named(table, known, lines.at(*where, "name"))
    own = msgspec.structs.replace(
        spec,
        vcpus=_vcpus(table.vcpus, lines, where) or spec.vcpus,
        memory=_memory(table.memory, lines, where) or spec.memory,
        cache=table.cache or spec.cache,
        page_cache=table.page_cache or spec.page_cache,
        network=table.network or spec.network,
    )
    return Arm(
        name=first(table.name, _usual_name(table, own)),
        driver=table.driver,
        options=_driver_options(table, options, lines, number),
        spec=own,
    )


def _usual_name(table: ArmTable, own: Spec) -> str:
    """The driver, and what sets the arm apart from a plain one of it."""
    apart = ["cold"] if own.page_cache == "cold" else []
    apart += [table.network] if table.network in ("host", "user", "nat") else []
    return " ".join([table.driver, *apart])


def _on_a_bridge(arms: Sequence[Arm], file: PlanFile, *, named: bool) -> list[Arm]:
    """The arms of a plan whose workloads need a network and that names none: all have the same path."""
    said = [] if named else [number for number, table in enumerate(file.arm) if table.network is not None]
    return [
        arm
        if number in said
        else msgspec.structs.replace(arm, spec=msgspec.structs.replace(arm.spec, network="bridge"))
        for number, arm in enumerate(arms)
    ]


def _named(table: ArmTable, drivers: Iterable[str], at: Place) -> None:
    """Refuse a name that is none, or misleads: it stands in every table, and on a line of its own."""
    name = table.name or ""
    if not name.strip() or name != name.strip() or not name.isprintable() or "/" in name or len(name) > MAX_NAME:
        hint = f"1 to {MAX_NAME} letters, digits, signs and spaces; no slash, and no space at either end."
        raise UsageError(f"{at}`{cut(name)}` is no name for an arm.", hint=hint)
    if name in drivers and name != table.driver:
        raise UsageError(f"{at}An arm of the driver {table.driver} cannot be named after another driver, `{name}`.")


def _driver_options(table: ArmTable, options: Options, lines: Lines, number: int) -> dict[str, str]:
    """An arm's options, each one that its driver knows. Without options no driver is loaded."""
    given = dict(table.options)
    if options.libvirt_uri and table.driver == GUESTS:
        given = {"uri": options.libvirt_uri} | given
    if not given:
        return {}
    known = registry.driver(table.driver).OPTIONS
    for key, value in given.items():
        at = lines.at("arm", number, "options", key)
        if key not in known:
            hint = registry.nearest(key, known)
            raise UsageError(f"{at}The driver `{table.driver}` has no option `{cut(key)}`.", hint=hint)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise UsageError(f"{at}The option `{key}` must be text on one line.", hint=f'{key} = "..."')
        if key == "accelerator" and value not in _ACCELERATORS:
            hint = registry.nearest(value, _ACCELERATORS)
            raise UsageError(f"{at}accelerator cannot be `{cut(value)}`.", hint=hint)
    return given


def default_vcpus() -> int:
    """max(1, CPUs - 1) and at most 2: so that there is a CPU for engines and harness where there are two."""
    return min(2, max(1, len(os.sched_getaffinity(0)) - 1))


def _spec(table: InstanceTable, lines: Lines) -> Spec:
    where = ("instance",)
    return Spec(
        vcpus=_vcpus(table.vcpus, lines, where) or default_vcpus(),
        memory=_memory(table.memory, lines, where) or _memory(512 << 20, lines, where) or 0,
        disk=_disk(table.disk, lines) or 1 << 30,
        cache=table.cache or "auto",
        page_cache=table.page_cache or "warm",
        network=table.network or "none",
    )


def _vcpus(vcpus: int | None, lines: Lines, where: tuple[str | int, ...]) -> int | None:
    cpus = len(os.sched_getaffinity(0))
    if vcpus is not None and not 1 <= vcpus <= cpus:
        brief = f"{lines.at(*where, 'vcpus')}{figure(vcpus)} vCPUs are not possible: this host has {cpus} CPUs."
        raise UsageError(brief, hint=f"vcpus from 1 to {cpus}")
    return vcpus


def _memory(value: int | str | None, lines: Lines, where: tuple[str | int, ...]) -> int | None:
    if value is None:
        return None
    memory, at = _bytes("memory", value, lines, where), lines.at(*where, "memory")
    host = _host_memory()
    if memory < MIN_MEMORY:
        brief = f"{at}{figure(memory)} bytes of memory are too little to boot in."
        raise UsageError(brief, hint=f"At least {MIN_MEMORY >> 20} MiB.")
    if memory > host:
        brief = f"{at}An instance of {figure(memory >> 20)} MiB does not fit into this host's {host >> 20} MiB."
        raise UsageError(brief, hint='[instance] memory, for example "512 MiB"')
    return memory


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _fit_together(arms: Sequence[Arm], workloads: Sequence[WorkloadPlan]) -> None:
    """Refuse guests that the host cannot hold at once, where blocks of throughput would have them all up.

    A guest's memory is its size; a container's is a limit, and takes nothing by itself.
    """
    guests = sum(arm.spec.memory for arm in arms if arm.driver == GUESTS)
    if guests > _host_memory() and any(each.together for each in workloads):
        brief = f"The guests' {guests >> 20} MiB together do not fit into this host's {_host_memory() >> 20} MiB."
        raise UsageError(
            brief,
            details="In blocks of throughput all arms' instances are up at once.",
            hint="Less `memory`, fewer arms, or only what is measured one by one: --suite footprint",
        )


def _limits(options: Options, file: PlanFile, lines: Lines, arms: Sequence[Arm]) -> dict[str, int]:
    """How many instances a storm and a filling have at most: what was asked for, else what is usual and has room."""
    found = {PARALLEL: min(storm.USUAL_MOST, _guests_with_room(arms)), MAX_INSTANCES: density.USUAL_MOST}
    for key in found:
        for count, at in ((getattr(file.run, key), lines.at("run", key)), (getattr(options, key), NOWHERE)):
            if count is not None:
                _check_count(key, count, at)
                found[key] = count
    return found


def _check_count(key: str, count: int, at: Place = NOWHERE) -> None:
    if not 1 <= count <= MAX_CROWD:
        brief = f"{at}{figure(count)} instances at once are not possible ({key})."
        raise UsageError(brief, hint=f"From 1 to {MAX_CROWD}.")


def _guests_with_room(arms: Sequence[Arm]) -> int:
    """How many guests of the largest arm can be up at once with the floor of memory left alone; at least 1."""
    sizes = [arm.spec.memory for arm in arms if arm.driver == GUESTS]
    return max(1, headroom.read().spare // max(sizes)) if sizes else MAX_CROWD


def _fit_at_once(options: Options, arms: Sequence[Arm], workloads: Sequence[WorkloadPlan]) -> None:
    """Refuse more instances at once than there may be, or than the host's memory can spare, and options for nothing."""
    found = suites.limits_of(workloads)
    for key, workload in ((PARALLEL, storm.Storm), (MAX_INSTANCES, density.Density)):
        if getattr(options, key) is not None and key not in found:
            option = f"--{key.replace('_', '-')}"
            hint = f"Add it: -w {workload.name}"
            raise UsageError(f"{option} is for the workload {workload.name}, which this plan does not have.", hint=hint)
        if key in found:
            _check_count(key, found[key])
    asked, fit = found.get(PARALLEL, 1), _guests_with_room(arms)
    if asked > fit:
        raise UsageError(
            f"{asked} guests at once do not fit: the memory that this host can spare now is enough for {fit}.",
            details="15 % of its memory, and no less than 1 GiB, must stay available.",
            hint=f"--parallel {fit}, less `memory` for an instance, or -d without {GUESTS}.",
        )


def _disk(value: int | str | None, lines: Lines) -> int | None:
    if value is None:
        return None
    disk = _bytes("disk", value, lines, ("instance",))
    if not MIN_DISK <= disk <= MAX_DISK:
        brief = f"{lines.at('instance', 'disk')}A disk with {figure(disk)} bytes of room is not possible."
        raise UsageError(brief, hint=f"From {MIN_DISK >> 20} MiB to {MAX_DISK >> 30} GiB.")
    return disk


_SIZE = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*(|k|K|KiB|M|MiB|G|GiB)\s*", re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}


def _bytes(what: str, value: int | str, lines: Lines, where: tuple[str | int, ...]) -> int:
    if isinstance(value, int):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        brief = f"{lines.at(*where, what)}{what} = {cut(value)!r} is not a size."
        raise UsageError(brief, hint='Say it in bytes or as text: "512 MiB".')
    return round(float(found.group(1)) * _UNITS[found.group(2)])


# How long, in which order, and against what


def _rounds(options: Options, file: PlanFile, lines: Lines) -> tuple[int, int | None]:
    """The number of blocks that come whatever they show; and of those that come at most, None where that is all."""
    least, most = file.run.min_rounds, file.run.max_rounds
    for key, number in (("min_rounds", least), ("max_rounds", most)):
        _check_rounds(number, lines.at("run", key))
    if least is not None and most is not None and least > most:
        raise UsageError(f"{lines.at('run', 'min_rounds')}min_rounds is more than max_rounds: {least} and {most}.")
    _check_rounds(options.rounds, NOWHERE)
    if options.rounds is not None or options.quick:
        return options.rounds or DEFAULT_ROUNDS, None
    most = first(most, max(DEFAULT_MOST, least or 0))
    least = first(least, min(DEFAULT_ROUNDS, most))
    return least, most if most > least else None


def _check_rounds(rounds: int | None, at: Place) -> None:
    if rounds is not None and not MIN_ROUNDS <= rounds <= MAX_ROUNDS:
        hint = f"From {MIN_ROUNDS} to {MAX_ROUNDS}; {DEFAULT_ROUNDS} is usual."
        raise UsageError(f"{at}{figure(rounds)} rounds are not possible.", hint=hint)


def _max_time(options: Options, file: PlanFile, lines: Lines) -> float | None:
    for seconds, at in ((file.run.max_time, lines.at("run", "max_time")), (options.max_time, NOWHERE)):
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            brief = f"{at}A time limit of {figure(seconds)} s is not possible."
            raise UsageError(brief, hint=f"--max-time SECONDS: more than 0, at most {MAX_SECONDS}, which is a week.")
    found = first(options.max_time, file.run.max_time)
    return None if found is None else float(found)


def _seed(options: Options, file: PlanFile, lines: Lines) -> int | None:
    for seed, at in ((file.run.seed, lines.at("run", "seed")), (options.seed, NOWHERE)):
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise UsageError(f"{at}The seed {figure(seed)} is not possible.", hint=f"From 0 to {MAX_SEED}.")
    found = first(options.seed, file.run.seed)
    return None if found is None else int(found)


def _baseline(options: Options, file: PlanFile, lines: Lines, arms: Sequence[Arm]) -> str:
    if options.baseline is None and file.run.baseline is not None:
        return baseline(file.run.baseline, arms, lines.at("run", "baseline"))
    return baseline(options.baseline, arms)


TWIN = "{} A/A"
"""The name of an arm's twin: no arm of a plan can have one with a slash in it."""


def _twins(options: Options, file: PlanFile, lines: Lines, arms: Sequence[Arm], against: str) -> dict[str, str]:
    """The arms that are measured twice: the baseline, where none is named."""
    named = [(name, NOWHERE) for name in options.aa_arms]
    if not named:
        named = [(name, lines.at("run", "aa_arms", place)) for place, name in enumerate(file.run.aa_arms or [])]
    if options.aa is False and options.aa_arms:
        raise UsageError("--no-aa and --aa-arm say two different things.", hint="Leave one of them out.")
    wanted = first(options.aa, True if options.aa_arms else None, file.run.aa, True if named else None)
    if not first(wanted, not options.quick):
        return {}
    found = [baseline(name, arms, at, "A/A arm") for name, at in named] or [against]
    return {TWIN.format(name): name for name in found}


def baseline(name: str | None, arms: Sequence[Arm], at: Place = NOWHERE, what: str = "baseline") -> str:
    """The one that was named, else the first container, else native, else the first: never a guest by default."""
    names = [arm.name for arm in arms]
    if name is not None:
        if name not in names:
            hint = registry.nearest(name, names)
            raise UsageError(f"{at}The {what} `{cut(name)}` is no arm of this plan.", hint=hint)
        return name
    for driver in ("docker", "native"):
        for arm in arms:
            if arm.driver == driver:
                return arm.name
    return names[0]
