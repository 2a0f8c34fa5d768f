"""Plan file and options to a Plan: every message about what is wrong with them lives here."""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from . import registry
from .errors import UsageError
from .model import Arm, Plan, Spec, WorkloadPlan
from .workloads.sized import SizedWorkload

T = TypeVar("T")

DEFAULT_DRIVERS = ("native", "docker", "kvm")
PLAN_FILE = "tare.toml"
MAX_PLAN_BYTES = 1 << 20
MIN_MEMORY = 64 << 20
MAX_ROUNDS = 10_000
MIN_ROUNDS = 1

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

Accelerator = Literal["auto", "kvm", "tcg"]


class Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of the plan file's tables."""


class RunTable(Table, kw_only=True):
    """`[run]`."""

    baseline: str | None = None
    min_rounds: int | None = None
    max_rounds: int | None = None
    max_time: float | None = None
    seed: int | None = None
    accelerator: Accelerator | None = None
    workloads: list[str] | None = None


class InstanceTable(Table, kw_only=True):
    """`[instance]`: the spec that every arm has."""

    vcpus: int | None = None
    memory: int | str | None = None
    disk: int | str | None = None


class ArmTable(Table, kw_only=True):
    """`[[arm]]`."""

    name: str | None = None
    driver: str
    vcpus: int | None = None
    memory: int | str | None = None


class PlanFile(Table, kw_only=True):
    """The whole file."""

    run: RunTable = msgspec.field(default_factory=RunTable)
    instance: InstanceTable = msgspec.field(default_factory=InstanceTable)
    arm: list[ArmTable] = []


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

    Raises UsageError that names what is wrong, where, and the nearest known word.
    """
    path = options.plan or (Path(PLAN_FILE) if Path(PLAN_FILE).is_file() else None)
    file = read(path) if path is not None else PlanFile()
    arms = _arms(options, file)
    asked = frozenset(options.drivers) or frozenset(arm.driver for arm in file.arm)
    suite, names = _workloads(options, file)
    asked_rounds = _rounds(options, file)
    rounds = asked_rounds or DEFAULT_ROUNDS
    workloads = _planned(names, rounds, quick=options.quick, full=suite == FULL)
    limit = None if asked_rounds or options.quick else DEFAULT_MAX_TIME
    plan = Plan(
        arms=arms,
        workloads=workloads,
        baseline=baseline(options.baseline or file.run.baseline, arms),
        rounds=rounds,
        throughput_rounds=rounds if any(each.together for each in workloads) else 0,
        seed=_first(options.seed, file.run.seed, secrets.randbelow(1 << 31)),
        max_time=_max_time(_first(options.max_time, file.run.max_time, limit)),
        accelerator=_first(options.accelerator, file.run.accelerator, "auto"),
    )
    return Configured(plan, asked, str(path) if path else "")


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def read(path: Path) -> PlanFile:
    """A plan file. Raises UsageError with the line, or the table and the nearest known key."""
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise UsageError(f"{path} is too large for a plan file: {path.stat().st_size} bytes.")
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; a plan is a TOML file.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", details=error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text.", hint="A plan file is TOML: tare plan --toml prints one.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML.", details=str(error), hint="tare plan --toml prints one.") from None
    try:
        return msgspec.convert(table, PlanFile)
    except msgspec.ValidationError as error:
        raise _invalid(path, text, str(error)) from None


_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_TABLES: dict[str, type[Table]] = {"": PlanFile, "run": RunTable, "instance": InstanceTable, "arm": ArmTable}


def _invalid(path: Path, text: str, message: str) -> UsageError:
    found = _UNKNOWN.search(message)
    if found is None:
        return UsageError(f"{path} is not a plan.", details=message)
    key, where = found.group(1), (found.group(2) or "").partition("[")[0]
    known = _TABLES.get(where, PlanFile).__struct_fields__
    line = next((n for n, words in enumerate(text.splitlines(), 1) if re.match(rf"\s*\[*{re.escape(key)}\b", words)), 0)
    at = f"{path}, line {line}" if line else str(path)
    table = f"[{where}]" if where else "a plan"
    return UsageError(f"{at}: {table} has no `{key}`.", hint=registry.nearest(key, known))


def _arms(options: Options, file: PlanFile) -> list[Arm]:
    spec = _spec(file.instance)
    if options.drivers:
        tables = [ArmTable(driver=name) for name in options.drivers]
    else:
        tables = file.arm or [ArmTable(driver=name) for name in DEFAULT_DRIVERS]
    known = registry.names(registry.DRIVERS)
    arms: list[Arm] = []
    for table in tables:
        if table.driver not in known:
            raise UsageError(f"There is no driver named `{table.driver}`.", hint=registry.nearest(table.driver, known))
        own = msgspec.structs.replace(
            spec,
            vcpus=_first(table.vcpus, spec.vcpus),
            memory=_bytes("memory", table.memory) if table.memory is not None else spec.memory,
        )
        arms.append(Arm(name=table.name or table.driver, driver=table.driver, spec=_possible(own)))
    names = [arm.name for arm in arms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Two arms are named `{twice}`.", hint="Give each [[arm]] a name of its own.")
    if {"fake"} & {arm.driver for arm in arms} and {arm.driver for arm in arms} != {"fake"}:
        raise UsageError("The fake driver lives on a clock of its own: it cannot be compared with a real one.")
    return arms


def default_vcpus() -> int:
    """max(1, CPUs - 1) and at most 2: so that there is a CPU for engines and harness where there are two."""
    return min(2, max(1, len(os.sched_getaffinity(0)) - 1))


def _spec(table: InstanceTable) -> Spec:
    return Spec(
        vcpus=_first(table.vcpus, default_vcpus()),
        memory=_bytes("memory", _first(table.memory, 512 << 20)),
        disk=_bytes("disk", _first(table.disk, 1 << 30)),
    )


def _possible(spec: Spec) -> Spec:
    cpus = len(os.sched_getaffinity(0))
    if not 1 <= spec.vcpus <= cpus:
        raise UsageError(f"{spec.vcpus} vCPUs are not possible: this host has {cpus} CPUs.", hint="[instance] vcpus")
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if spec.memory < MIN_MEMORY:
        raise UsageError(f"{spec.memory} bytes are too little to boot in: at least {MIN_MEMORY >> 20} MiB.")
    if spec.memory > host:
        raise UsageError(f"An instance of {spec.memory >> 20} MiB does not fit into this host's {host >> 20} MiB.")
    return spec


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(|k|K|KiB|M|MiB|G|GiB)\s*")
_UNITS = {"": 1, "k": 1 << 10, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}


def _bytes(what: str, value: int | str) -> int:
    if isinstance(value, int):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        raise UsageError(f"{what} = {value!r} is not a size.", hint='Say it in bytes or as text: "512 MiB".')
    return round(float(found.group(1)) * _UNITS[found.group(2)])


def _workloads(options: Options, file: PlanFile) -> tuple[str, list[str]]:
    """The suite that was asked for (empty: none), and the names of the workloads."""
    if options.suite is not None and options.suite not in SUITES:
        raise UsageError(f"There is no suite named `{options.suite}`.", hint=registry.nearest(options.suite, SUITES))
    suite = options.suite or ""
    usual = QUICK if options.quick else "default"
    names = list(options.workloads) or SUITES.get(suite) or file.run.workloads or SUITES[usual]
    known = registry.names(registry.WORKLOADS)
    for name in names:
        if name not in known:
            raise UsageError(f"There is no workload named `{name}`.", hint=registry.nearest(name, known))
    return suite, list(dict.fromkeys(["boot", *names]))


def _planned(names: list[str], rounds: int, *, quick: bool, full: bool) -> list[WorkloadPlan]:
    planned = []
    for name in names:
        workload = registry.workload(name)
        blocks = min(ONCE_BLOCKS, rounds) if name in ONCE else None
        if quick and name != "boot":
            blocks = min(blocks or QUICK_BLOCKS, rounds)
        for params in (*workload.variants, *(workload.full_variants if full else ())):
            planned.append(
                WorkloadPlan(
                    name=name,
                    params=dict(params),
                    blocks=blocks,
                    together=workload.together and not quick,
                    sized=isinstance(workload, SizedWorkload),
                )
            )
    return planned


def _rounds(options: Options, file: PlanFile) -> int | None:
    """The number of blocks that was asked for; None: the default."""
    in_file = () if options.quick else (file.run.max_rounds, file.run.min_rounds)
    rounds = _first(options.rounds, *in_file)
    if rounds is not None and not MIN_ROUNDS <= rounds <= MAX_ROUNDS:
        raise UsageError(f"{rounds} rounds are not possible: from {MIN_ROUNDS} to {MAX_ROUNDS}.")
    return None if rounds is None else int(rounds)


def _max_time(seconds: float | None) -> float | None:
    if seconds is not None and seconds <= 0:
        raise UsageError(f"A time limit of {seconds:g} s leaves no time to measure.", hint="--max-time SECONDS")
    return seconds


def baseline(name: str | None, arms: Sequence[Arm]) -> str:
    """The one that was named, else the first container, else native, else the first: never a guest by default."""
    names = [arm.name for arm in arms]
    if name is not None:
        if name not in names:
            raise UsageError(f"The baseline `{name}` is no arm of this plan.", hint=registry.nearest(name, names))
        return name
    for driver in ("docker", "native"):
        for arm in arms:
            if arm.driver == driver:
                return arm.name
    return names[0]


def as_toml(plan: Plan) -> str:
    """A plan as the file that asks for it."""
    lines = ["[run]", f'baseline = "{plan.baseline}"', f"max_rounds = {plan.rounds}", f"seed = {plan.seed}"]
    lines += [f'accelerator = "{plan.accelerator}"']
    lines += [f"max_time = {plan.max_time:g}"] if plan.max_time else []
    lines += [
        "workloads = [" + ", ".join(f'"{name}"' for name in dict.fromkeys(each.name for each in plan.workloads)) + "]"
    ]
    lines += ["", "[instance]", f"disk = {plan.arms[0].spec.disk}"]
    for arm in plan.arms:
        lines += ["", "[[arm]]", f'name = "{arm.name}"', f'driver = "{arm.driver}"']
        lines += [f"vcpus = {arm.spec.vcpus}", f"memory = {arm.spec.memory}"]
    return "\n".join(lines) + "\n"
