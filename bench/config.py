"""Plan file and options to a Plan: what is wrong with their values is said here, and where in the file it stands."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from . import registry, wire
from .errors import UsageError, cut
from .model import Arm, OwnWorkload, Plan, Scalar, Spec, WorkloadPlan
from .planfile import NOWHERE, Accelerator, ArmTable, InstanceTable, Lines, Place, PlanFile, WorkloadTable, read
from .workloads.sized import SizedWorkload

T = TypeVar("T")

DEFAULT_DRIVERS = ("native", "docker", "kvm")
GUESTS = "kvm"
"""The driver that `--libvirt-uri` is for."""
PLAN_FILE = "tare.toml"
MIN_MEMORY = 64 << 20
MIN_DISK, MAX_DISK = 16 << 20, 1 << 40
"""Bytes: enough for a workload's own file, and what a file system can still be laid out for."""
MIN_ROUNDS, MAX_ROUNDS = 1, 10_000
MAX_SEED = (1 << 63) - 1
MAX_SECONDS = 7 * 24 * 3600
MAX_NAME = 40
MAX_CELLS = 100
MAX_PARAMETER = (1 << 31) - 1

_THROUGHPUT = ("sysbench-cpu", "sysbench-memory", "fio-randread", "fio-randwrite", "redis")
QUICK = "quick"
FULL = "full"
SUITES: dict[str, tuple[str, ...]] = {
    "default": ("boot", "memory", *_THROUGHPUT, "isolation", "disk"),
    QUICK: ("boot", "memory", "sysbench-cpu", "isolation", "disk"),
    FULL: ("boot", "memory", *_THROUGHPUT, "fio-read", "fio-write", "isolation", "disk"),
    "boot": ("boot",),
    "footprint": ("boot", "memory", "disk"),
    "throughput": _THROUGHPUT,
}
"""A named set of workloads; in `full` they have all of their parameters."""

DEFAULT_ROUNDS = 10
DEFAULT_MAX_TIME = 300.0
"""Seconds of measuring, where neither a number of rounds nor a time was asked for."""
QUICK_BLOCKS = 6
"""With --quick the instances of this many of its blocks go on from boot to the other workloads."""

ONCE = ("isolation", "disk")
"""What doesn't vary from boot to boot is read this often."""
ONCE_BLOCKS = 1

_ACCELERATORS = ("auto", "kvm", "tcg")
_TAKEN = ("stop", "floor")
"""Names that stand in the results beside those of workloads."""


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
    quick: bool = False


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
    asked_rounds = _rounds(options, file, lines)
    rounds = asked_rounds or DEFAULT_ROUNDS
    workloads = _workloads(options, file, lines, rounds)
    limit = None if asked_rounds or options.quick else DEFAULT_MAX_TIME
    plan = Plan(
        arms=arms,
        workloads=workloads,
        baseline=_baseline(options, file, lines, arms),
        rounds=rounds,
        throughput_rounds=rounds if any(each.together for each in workloads) else 0,
        seed=_first(_seed(options, file, lines), secrets.randbelow(1 << 31)),
        max_time=_first(_max_time(options, file, lines), limit),
        accelerator=_first(options.accelerator, file.run.accelerator, "auto"),
    )
    return Configured(plan, asked, str(path) if path else "")


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


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
    )
    return Arm(
        name=_first(table.name, table.driver),
        driver=table.driver,
        options=_driver_options(table, options, lines, number),
        spec=own,
    )


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
    )


def _vcpus(vcpus: int | None, lines: Lines, where: tuple[str | int, ...]) -> int | None:
    cpus = len(os.sched_getaffinity(0))
    if vcpus is not None and not 1 <= vcpus <= cpus:
        brief = f"{lines.at(*where, 'vcpus')}{_shown(vcpus)} vCPUs are not possible: this host has {cpus} CPUs."
        raise UsageError(brief, hint=f"vcpus from 1 to {cpus}")
    return vcpus


def _memory(value: int | str | None, lines: Lines, where: tuple[str | int, ...]) -> int | None:
    if value is None:
        return None
    memory, at = _bytes("memory", value, lines, where), lines.at(*where, "memory")
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory < MIN_MEMORY:
        brief = f"{at}{_shown(memory)} bytes of memory are too little to boot in."
        raise UsageError(brief, hint=f"At least {MIN_MEMORY >> 20} MiB.")
    if memory > host:
        brief = f"{at}An instance of {_shown(memory >> 20)} MiB does not fit into this host's {host >> 20} MiB."
        raise UsageError(brief, hint='[instance] memory, for example "512 MiB"')
    return memory


def _disk(value: int | str | None, lines: Lines) -> int | None:
    if value is None:
        return None
    disk = _bytes("disk", value, lines, ("instance",))
    if not MIN_DISK <= disk <= MAX_DISK:
        brief = f"{lines.at('instance', 'disk')}A disk with {_shown(disk)} bytes of room is not possible."
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


def _shown(number: float) -> str:
    """A number of the user's, which may be one of thousands of digits."""
    if not isinstance(number, int):
        return f"{number:g}"
    return str(number) if abs(number) < 10**20 else f"{'less than -' if number < 0 else 'more than '}10^20"


# Workloads


def _workloads(options: Options, file: PlanFile, lines: Lines, rounds: int) -> list[WorkloadPlan]:
    _check_tables(file, lines)
    names, full = _names(options, file, lines)
    tables: dict[str, list[tuple[int, WorkloadTable]]] = {}
    for number, table in enumerate(file.workload):
        tables.setdefault(table.name, []).append((number, table))
    planned = _planned(names, tables, lines, rounds, quick=options.quick, full=full)
    if len(planned) > MAX_CELLS:
        raise UsageError(f"{len(planned)} workloads, each with its parameters, are too many: at most {MAX_CELLS}.")
    keys = [each.key for each in planned]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"{lines.at('workload')}The workload `{cut(twice)}` is there twice.")
    return planned


def _names(options: Options, file: PlanFile, lines: Lines) -> tuple[list[str], bool]:
    """The names of the workloads, and whether the built-in ones have all of their parameters."""
    suite = _first(options.suite, None if options.workloads else file.run.suite)
    if suite is not None and suite not in SUITES:
        at = NOWHERE if options.suite is not None else lines.at("run", "suite")
        hint = registry.nearest(suite, SUITES)
        raise UsageError(f"{at}There is no suite named `{cut(suite)}`.", hint=hint)
    named = [(name, NOWHERE) for name in options.workloads]
    if not named and options.suite is None:
        listed = enumerate(file.run.workloads or [])
        named = [(name, lines.at("run", "workloads", number)) for number, name in listed]
    known = list(dict.fromkeys([*registry.names(registry.WORKLOADS), *(table.name for table in file.workload)]))
    for name, at in named:
        if name not in known:
            hint = registry.nearest(name, known)
            raise UsageError(f"{at}There is no workload named `{cut(name)}`.", hint=hint)
    names = [name for name, _ in named]
    if not options.workloads:
        names = [*SUITES.get(suite or "", ()), *names]
    if not options.workloads and options.suite is None:
        names += [table.name for table in file.workload]
    names = names or list(SUITES[QUICK if options.quick else "default"])
    return list(dict.fromkeys(["boot", *names])), suite == FULL


def _check_tables(file: PlanFile, lines: Lines) -> None:
    """Also those that are not chosen: a file is right or wrong as a whole."""
    known = registry.names(registry.WORKLOADS)
    own: set[str] = set()
    for number, table in enumerate(file.workload):
        at = lines.at("workload", number, "name")
        if table.command is None:
            if table.name not in known and table.name not in own:
                raise UsageError(
                    f"{at}There is no workload named `{cut(table.name)}`.",
                    hint=f"{registry.nearest(table.name, known)} One of your own needs a `command`.",
                )
            continue
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", table.name) or len(table.name) > MAX_NAME:
            hint = f"1 to {MAX_NAME} letters, digits, - and _."
            raise UsageError(f"{at}`{cut(table.name)}` is no name for a workload.", hint=hint)
        if table.name in known or table.name in _TAKEN:
            hint = "Give your own another name."
            raise UsageError(f"{at}Tare has a `{table.name}` already.", hint=hint)
        if table.name in own:
            raise UsageError(f"{at}Two workloads are named `{table.name}`.", hint="Give each a name of its own.")
        own.add(table.name)


def _planned(
    names: Iterable[str],
    tables: Mapping[str, Sequence[tuple[int, WorkloadTable]]],
    lines: Lines,
    rounds: int,
    *,
    quick: bool = False,
    full: bool = False,
) -> list[WorkloadPlan]:
    planned = []
    for name in names:
        for number, table in tables.get(name) or [(-1, WorkloadTable(name=name))]:
            blocks = _blocks(table, lines, number, rounds, quick=quick)
            if table.command is not None:
                own = _own(table, lines, number)
                together = not quick and _first(table.together, True)
                planned.append(WorkloadPlan(name=name, blocks=blocks, together=together, own=own))
            else:
                together = not quick and _together(table, lines, number)
                planned += _built_in(table, lines, number, blocks, together=together, full=full)
    return planned


def _blocks(table: WorkloadTable, lines: Lines, number: int, rounds: int, *, quick: bool) -> int | None:
    if table.blocks is not None and not MIN_ROUNDS <= table.blocks <= MAX_ROUNDS:
        at = lines.at("workload", number, "blocks")
        raise UsageError(f"{at}{_shown(table.blocks)} blocks are not possible: from {MIN_ROUNDS} to {MAX_ROUNDS}.")
    blocks = _first(table.blocks, ONCE_BLOCKS if table.name in ONCE else None)
    if quick and table.name != "boot":
        return min(blocks or QUICK_BLOCKS, QUICK_BLOCKS, rounds)
    return None if blocks is None else int(blocks)


def _together(table: WorkloadTable, lines: Lines, number: int) -> bool:
    usual = registry.workload(table.name).together
    if table.together and not usual:
        at = lines.at("workload", number, "together")
        raise UsageError(
            f"{at}`{table.name}` is read on an instance that has just booted, not in blocks of throughput."
        )
    return usual if table.together is None else table.together


_OWN_KEYS = ("setup", "packages", "pattern", "unit", "better", "deadline")


def _built_in(
    table: WorkloadTable, lines: Lines, number: int, blocks: int | None, *, together: bool, full: bool
) -> list[WorkloadPlan]:
    for key in _OWN_KEYS:
        if getattr(table, key) is not None:
            at = lines.at("workload", number, key)
            raise UsageError(f"{at}`{key}` is for a workload of your own, which has a `command`.")
    if table.name == "boot" and (table.blocks or table.params):
        raise UsageError(f"{lines.at('workload', number)}`boot` is in every block, and has no parameters.")
    workload = registry.workload(table.name)
    variants: Iterable[Mapping[str, Scalar]] = (*workload.variants, *(workload.full_variants if full else ()))
    if table.params:
        variants = _sweep(table, lines, number)
    sized = isinstance(workload, SizedWorkload)
    return [
        WorkloadPlan(name=table.name, params=dict(params), blocks=blocks, together=together, sized=sized)
        for params in variants
    ]


def _sweep(table: WorkloadTable, lines: Lines, number: int) -> list[dict[str, Scalar]]:
    """Every combination of what was given; what was not given is as the workload usually has it first."""
    workload = registry.workload(table.name)
    known: dict[str, set[Scalar]] = {}
    for variant in (*workload.variants, *workload.full_variants):
        for key, value in variant.items():
            known.setdefault(key, set()).add(value)
    given: dict[str, list[Scalar]] = {}
    for key, value in (table.params or {}).items():
        at = lines.at("workload", number, "params", key)
        if key not in known:
            hint = registry.nearest(key, known)
            raise UsageError(f"{at}The workload `{table.name}` has no parameter `{cut(key)}`.", hint=hint)
        values = value if isinstance(value, list) else [value]
        for each in values or [None]:
            _parameter(key, each, known[key], at)
        given[key] = values
    if math.prod(map(len, given.values())) > MAX_CELLS:
        raise UsageError(f"{lines.at('workload', number, 'params')}These are too many cells: at most {MAX_CELLS}.")
    return [
        dict(workload.variants[0]) | dict(zip(given, values, strict=True))
        for values in itertools.product(*given.values())
    ]


def _parameter(key: str, value: Any, known: set[Scalar], at: Place) -> None:
    """Refuse a value of another kind than those that the workload itself uses."""
    words = [each for each in known if isinstance(each, str)]
    counts = any(isinstance(each, int) for each in known)
    if isinstance(value, str) and words:
        if value not in words:
            raise UsageError(f"{at}{key} cannot be `{cut(value)}`.", hint=registry.nearest(value, sorted(words)))
    elif not (counts and type(value) is int and 1 <= value <= MAX_PARAMETER):
        possible = [*(["a whole number from 1"] if counts else []), *(f'"{word}"' for word in sorted(words))]
        raise UsageError(f"{at}{key} must be {' or '.join(possible)}, or a list of such.")


def _own(table: WorkloadTable, lines: Lines, number: int) -> OwnWorkload:
    def wrong(key: str, brief: str, hint: str = "") -> UsageError:
        return UsageError(f"{lines.at('workload', number, key) or lines.at('workload', number)}{brief}", hint=hint)

    if table.params is not None:
        raise wrong("params", "A workload of your own has no `params`.", "Say them in its `command`.")
    for key in ("command", "setup"):
        text = getattr(table, key) or ""
        if "\0" in text or len(wire.escape(text)) > wire.MAX_COMMAND - 100:
            raise wrong(key, f"{key} is too long, or holds a NUL: at most about 100,000 bytes.")
    if not (table.command or "").strip():
        raise wrong("command", "`command` is empty.", "A line for the instance's shell.")
    for name in table.packages or []:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]{1,80}", name):
            raise wrong("packages", f"`{cut(name)}` is no name of a package.")
    if table.deadline is not None and not 0 < table.deadline <= MAX_SECONDS:
        raise wrong("deadline", f"A deadline of {_shown(table.deadline)} s is not possible.", "Seconds, more than 0.")
    _check_pattern(table, wrong)
    given = {key: getattr(table, key) for key in ("command", *_OWN_KEYS)}
    return OwnWorkload(**{key: value for key, value in given.items() if value is not None})


def _check_pattern(table: WorkloadTable, wrong: Any) -> None:
    if table.pattern is None:
        if key := next((key for key in ("unit", "better") if getattr(table, key) is not None), None):
            raise wrong(key, f"`{key}` needs a `pattern`: without one the wall time is measured, in seconds.")
        return
    try:
        groups = re.compile(table.pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise wrong("pattern", f"`pattern` is no regular expression: {error}") from None
    if not groups:
        raise wrong("pattern", "`pattern` has no group: its first one is the value.", r"pattern = 'score: ([\d.]+)'")
    if table.unit is None or table.better is None:
        raise wrong("pattern", "A value needs its `unit`, and which is `better`.", 'unit = "1/s", better = "higher"')
    if not 0 < len(table.unit.strip()) <= MAX_NAME // 2 or not table.unit.isprintable():
        raise wrong("unit", f"`{cut(table.unit)}` is no unit.", 'For example "s", "B", "1/s" or "1".')


# How long, in which order, and against what


def _rounds(options: Options, file: PlanFile, lines: Lines) -> int | None:
    """The number of blocks that was asked for; None: the default."""
    least, most = file.run.min_rounds, file.run.max_rounds
    for key, number in (("min_rounds", least), ("max_rounds", most)):
        _check_rounds(number, lines.at("run", key))
    if least is not None and most is not None and least > most:
        raise UsageError(f"{lines.at('run', 'min_rounds')}min_rounds is more than max_rounds: {least} and {most}.")
    _check_rounds(options.rounds, NOWHERE)
    found = _first(options.rounds, *(() if options.quick else (most, least)))
    return None if found is None else int(found)


def _check_rounds(rounds: int | None, at: Place) -> None:
    if rounds is not None and not MIN_ROUNDS <= rounds <= MAX_ROUNDS:
        hint = f"From {MIN_ROUNDS} to {MAX_ROUNDS}; {DEFAULT_ROUNDS} is usual."
        raise UsageError(f"{at}{_shown(rounds)} rounds are not possible.", hint=hint)


def _max_time(options: Options, file: PlanFile, lines: Lines) -> float | None:
    for seconds, at in ((file.run.max_time, lines.at("run", "max_time")), (options.max_time, NOWHERE)):
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            brief = f"{at}A time limit of {_shown(seconds)} s is not possible."
            raise UsageError(brief, hint=f"--max-time SECONDS: more than 0, at most {MAX_SECONDS}, which is a week.")
    found = _first(options.max_time, file.run.max_time)
    return None if found is None else float(found)


def _seed(options: Options, file: PlanFile, lines: Lines) -> int | None:
    for seed, at in ((file.run.seed, lines.at("run", "seed")), (options.seed, NOWHERE)):
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise UsageError(f"{at}The seed {_shown(seed)} is not possible.", hint=f"From 0 to {MAX_SEED}.")
    found = _first(options.seed, file.run.seed)
    return None if found is None else int(found)


def _baseline(options: Options, file: PlanFile, lines: Lines, arms: Sequence[Arm]) -> str:
    if options.baseline is None and file.run.baseline is not None:
        return baseline(file.run.baseline, arms, lines.at("run", "baseline"))
    return baseline(options.baseline, arms)


def baseline(name: str | None, arms: Sequence[Arm], at: Place = NOWHERE) -> str:
    """The one that was named, else the first container, else native, else the first: never a guest by default."""
    names = [arm.name for arm in arms]
    if name is not None:
        if name not in names:
            hint = registry.nearest(name, names)
            raise UsageError(f"{at}The baseline `{cut(name)}` is no arm of this plan.", hint=hint)
        return name
    for driver in ("docker", "native"):
        for arm in arms:
            if arm.driver == driver:
                return arm.name
    return names[0]


# A plan as a file


def as_toml(plan: Plan) -> str:
    """A plan as the file that asks for it: reading it gives the same plan."""
    run: dict[str, Any] = {"baseline": plan.baseline, "max_rounds": plan.rounds, "seed": plan.seed}
    run["accelerator"] = plan.accelerator
    run |= {"max_time": plan.max_time} if plan.max_time else {}
    named = _as_names(plan)
    specs = [_as_spec(arm.spec) for arm in plan.arms]
    alike = all(spec == specs[0] for spec in specs)
    parts = [_table("[run]", run | (named or {}))]
    parts.append(_table("[instance]", (specs[0] if alike else {}) | {"disk": plan.arms[0].spec.disk}))
    for arm, spec in zip(plan.arms, specs, strict=True):
        options = {"options": arm.options} if arm.options else {}
        parts.append(_table("[[arm]]", {"name": arm.name, "driver": arm.driver} | ({} if alike else spec) | options))
    if named is None:
        parts += [_table("[[workload]]", _as_workload(each)) for each in plan.workloads if each.name != "boot"]
    return "\n".join(parts)


def _as_spec(spec: Spec) -> dict[str, Any]:
    return {"vcpus": spec.vcpus, "memory": spec.memory, "cache": spec.cache}


def _as_names(plan: Plan) -> dict[str, Any] | None:
    """The workloads by a suite's or their own names; None where these wouldn't say all about them."""
    if any(each.own for each in plan.workloads):
        return None
    names = list(dict.fromkeys(each.name for each in plan.workloads))
    if _planned(names, {}, Lines(), plan.rounds) == plan.workloads:
        return {"workloads": names}
    if _planned(SUITES[FULL], {}, Lines(), plan.rounds, full=True) == plan.workloads:
        return {"suite": FULL}
    return None


def _as_workload(workload: WorkloadPlan) -> dict[str, Any]:
    table: dict[str, Any] = {"name": workload.name}
    usual = registry.planned(workload).together
    if workload.own:
        table |= {
            key: value for key, value in msgspec.structs.asdict(workload.own).items() if value or key == "command"
        }
        if not workload.own.pattern:
            table = {key: value for key, value in table.items() if key not in ("unit", "better")}
    table |= {"params": workload.params} if workload.params else {}
    table |= {"blocks": workload.blocks} if workload.blocks is not None else {}
    return table | ({"together": workload.together} if workload.together != usual else {})


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_literal(value)}" for key, value in values.items()), ""])


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_literal(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    # JSON's text is TOML's, but for the one character that TOML wants escaped and JSON does not
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)
