"""The workloads of a plan: suites, the plan file's tables, sweeps of parameters, and those of the user's own."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from . import registry, wire
from .crowd import CrowdWorkload
from .errors import UsageError, cut, figure
from .model import OwnWorkload, Scalar, WorkloadPlan
from .planfile import (
    MAX_NAME,
    MAX_ROUNDS,
    MAX_SECONDS,
    MIN_ROUNDS,
    NOWHERE,
    Lines,
    Place,
    PlanFile,
    WorkloadTable,
    first,
)
from .workloads.sized import SizedWorkload

MAX_CELLS = 100
MAX_PARAMETER = (1 << 31) - 1

_THROUGHPUT = ("sysbench-cpu", "sysbench-memory", "fio-randread", "fio-randwrite", "redis")
_IDLE = ("boot", "memory", "memory-load")
_GROWTH = ("disk-written", "disk-changed")
_CROWDS = (*_GROWTH, "commit", "storm", "neighbour")
QUICK = "quick"
FULL = "full"
SUITES: dict[str, tuple[str, ...]] = {
    "default": ("boot", "memory", *_THROUGHPUT, "isolation", "audit", "disk"),
    QUICK: ("boot", "memory", "sysbench-cpu", "isolation", "audit", "disk"),
    FULL: (*_IDLE, *_THROUGHPUT, "fio-read", "fio-write", "isolation", "audit", "disk", *_CROWDS),
    "boot": ("boot",),
    "footprint": ("boot", "memory", "disk", *_GROWTH),
    "throughput": _THROUGHPUT,
    "network": ("boot", "net-stream", "net-request"),
}
"""A named set of workloads; in `full` they have all of their parameters."""

QUICK_BLOCKS = 6
"""With --quick the instances of this many of its blocks go on from boot to the other workloads."""

ONCE = ("isolation", "audit", "disk")
"""What doesn't vary from boot to boot is read this often."""
ONCE_BLOCKS = 1

_TAKEN = ("stop", "floor")
"""Names that stand in the results beside those of workloads."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of workloads; empty or None where it doesn't."""

    workloads: Sequence[str] = ()
    suite: str | None = None
    quick: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    """How many instances there may be at once, by the parameter of the workload that this is for."""


def choose(asked: Asked, file: PlanFile, lines: Lines, rounds: int) -> list[WorkloadPlan]:
    """The workloads of a plan, each with each of its sets of parameters. Raises UsageError."""
    _check_tables(file, lines)
    names, full = _names(asked, file, lines)
    tables: dict[str, list[tuple[int, WorkloadTable]]] = {}
    for number, table in enumerate(file.workload):
        tables.setdefault(table.name, []).append((number, table))
    found = planned(names, tables, lines, rounds, quick=asked.quick, full=full, limits=asked.limits)
    if len(found) > MAX_CELLS:
        raise UsageError(f"{len(found)} workloads, each with its parameters, are too many: at most {MAX_CELLS}.")
    keys = [each.key for each in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"{lines.at('workload')}The workload `{cut(twice)}` is there twice.")
    return found


def _names(asked: Asked, file: PlanFile, lines: Lines) -> tuple[list[str], bool]:
    """The names of the workloads, and whether the built-in ones have all of their parameters."""
    suite = first(asked.suite, None if asked.workloads else file.run.suite)
    if suite is not None and suite not in SUITES:
        at = NOWHERE if asked.suite is not None else lines.at("run", "suite")
        hint = registry.nearest(suite, SUITES)
        raise UsageError(f"{at}There is no suite named `{cut(suite)}`.", hint=hint)
    named = [(name, NOWHERE) for name in asked.workloads]
    if not named and asked.suite is None:
        listed = enumerate(file.run.workloads or [])
        named = [(name, lines.at("run", "workloads", number)) for number, name in listed]
    known = list(dict.fromkeys([*registry.names(registry.WORKLOADS), *(table.name for table in file.workload)]))
    for name, at in named:
        if name not in known:
            hint = registry.nearest(name, known)
            raise UsageError(f"{at}There is no workload named `{cut(name)}`.", hint=hint)
    names = [name for name, _ in named]
    if not asked.workloads:
        names = [*SUITES.get(suite or "", ()), *names]
    if not asked.workloads and asked.suite is None:
        names += [table.name for table in file.workload]
    names = names or list(SUITES[QUICK if asked.quick else "default"])
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


def planned(
    names: Iterable[str],
    tables: Mapping[str, Sequence[tuple[int, WorkloadTable]]],
    lines: Lines,
    rounds: int,
    *,
    quick: bool = False,
    full: bool = False,
    limits: Mapping[str, int] | None = None,
) -> list[WorkloadPlan]:
    """These workloads with the tables that the file has of them, and all that it does not say as it usually is."""
    found = []
    for name in names:
        for number, table in tables.get(name) or [(-1, WorkloadTable(name=name))]:
            blocks = _blocks(table, lines, number, rounds, quick=quick)
            if table.command is not None:
                own = _own(table, lines, number)
                together = not quick and first(table.together, True)
                found.append(WorkloadPlan(name=name, blocks=blocks, together=together, own=own))
            else:
                together = not quick and _together(table, lines, number)
                built_in = _built_in(table, lines, number, blocks, together=together, full=full)
                found += built_in if table.params else _limited(built_in, limits or {})
    return found


def _limited(plans: list[WorkloadPlan], limits: Mapping[str, int]) -> list[WorkloadPlan]:
    """One of crowds with as many instances as the limit says, where there is one for it."""
    workload = registry.planned(plans[0])
    if not isinstance(workload, CrowdWorkload) or workload.limit not in limits:
        return plans
    return [msgspec.structs.replace(plans[0], params=dict(params)) for params in workload.up_to(limits[workload.limit])]


def limits_of(plans: Iterable[WorkloadPlan]) -> dict[str, int]:
    """The most instances that these workloads start at once, by the parameter that says so."""
    found: dict[str, int] = {}
    for each in plans:
        workload = registry.planned(each)
        if isinstance(workload, CrowdWorkload) and workload.limit in each.params:
            found[workload.limit] = max(found.get(workload.limit, 0), int(each.params[workload.limit]))
    return found


def _blocks(table: WorkloadTable, lines: Lines, number: int, rounds: int, *, quick: bool) -> int | None:
    if table.blocks is not None and not MIN_ROUNDS <= table.blocks <= MAX_ROUNDS:
        at = lines.at("workload", number, "blocks")
        raise UsageError(f"{at}{figure(table.blocks)} blocks are not possible: from {MIN_ROUNDS} to {MAX_ROUNDS}.")
    usual = None if table.command else _usual_blocks(table.name)
    blocks = first(table.blocks, usual)
    if quick and table.name != "boot":
        return min(blocks or QUICK_BLOCKS, QUICK_BLOCKS, rounds)
    return None if blocks is None else int(blocks)


def _usual_blocks(name: str) -> int | None:
    if name in ONCE:
        return ONCE_BLOCKS
    workload = registry.workload(name)
    return workload.usual_blocks if isinstance(workload, CrowdWorkload) else None


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
        WorkloadPlan(
            name=table.name,
            params=dict(params),
            blocks=blocks,
            together=together,
            crowd=workload.crowd,
            sized=sized,
            packages=list(workload.packages),
        )
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
        raise wrong("deadline", f"A deadline of {figure(table.deadline)} s is not possible.", "Seconds, more than 0.")
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
