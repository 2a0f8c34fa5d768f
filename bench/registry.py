"""Names to drivers and workloads, by entry points: nothing is imported before it is named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from . import environment
from .errors import DriverUnavailable, UsageError
from .metrics import DISK, LIFECYCLE, MEMORY, Metric

if TYPE_CHECKING:
    from .driver import Driver
    from .model import WorkloadPlan
    from .workloads import Workload

DRIVERS = "tare.drivers"
WORKLOADS = "tare.workloads"


def names(group: str) -> list[str]:
    """What is installed in a group, sorted. Loads nothing."""
    return sorted({point.name for point in entry_points(group=group)})


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or all of them."""
    known = list(known)
    if not known:
        return "There are none."
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean `{close[0]}`?" if close else f"There are: {', '.join(known)}."


def _find(group: str, kind: str, name: str) -> EntryPoint:
    for point in entry_points(group=group):
        if point.name == name:
            return point
    raise UsageError(f"There is no {kind} named `{name}`.", hint=nearest(name, names(group)))


def driver(name: str, options: Mapping[str, str] | None = None) -> Driver:
    """A new driver of that name with these options.

    Raises UsageError for an unknown name or option, DriverUnavailable when it does not load, as where something that
    it imports is not installed.
    """
    point = _find(DRIVERS, "driver", name)
    try:
        made: Driver = point.load()()
    except Exception as error:  # any package may bring a driver, and one that is broken must not cost the others
        raise _unloadable(name, point, error) from error
    for key in options or {}:
        if key not in made.OPTIONS:
            raise UsageError(f"The driver `{name}` has no option `{key}`.", hint=nearest(key, made.OPTIONS))
    made.options = dict(options or {})
    return made


def _unloadable(name: str, point: EntryPoint, error: Exception) -> DriverUnavailable:
    package = point.dist.name if point.dist is not None else environment.PACKAGE
    if package == environment.PACKAGE:
        hint = "This installation of Tare is not whole: install it again."
    else:
        hint = f"It comes with the package {package}, which is not whole: {environment.add(package)}"
    words = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
    return DriverUnavailable(f"The driver `{name}` does not load.", details=words, hint=hint)


def workload(name: str) -> Workload:
    """The workload of that name. Raises UsageError for an unknown one."""
    made: Workload = _find(WORKLOADS, "workload", name).load()()
    return made


def planned(plan: WorkloadPlan) -> Workload:
    """What a plan's workload does: the plan's own, or the one of that name. Raises UsageError for an unknown one."""
    if plan.own is None:
        return workload(plan.name)
    from .workloads.own import make

    return make(plan.name, plan.own)


def _every(plans: Iterable[WorkloadPlan]) -> dict[str, Workload]:
    installed = {name: workload(name) for name in names(WORKLOADS)}
    return installed | {each.name: planned(each) for each in plans if each.own}


def metrics(plans: Iterable[WorkloadPlan] = ()) -> dict[str, Metric]:
    """Every metric that is known, by name: the lifecycle's, the footprint's, and those that workloads declare.

    `plans` are a plan's workloads: those of its own are among them.
    """
    known = {metric.name: metric for metric in (*LIFECYCLE, *MEMORY, *DISK)}
    for each in _every(plans).values():
        known |= {metric.name: metric for metric in each.metrics}
    return known


def primaries(plans: Iterable[WorkloadPlan] = ()) -> dict[str, str]:
    """Workload to its one primary metric, where it has one.

    A plan's workload whose parameters do not yield it is there too, by its key, with no name.
    """
    plans = list(plans)
    found = {name: each.primary for name, each in _every(plans).items() if each.primary}
    return found | {each.key: "" for each in plans if each.name in found and not planned(each).leads(each.params)}
