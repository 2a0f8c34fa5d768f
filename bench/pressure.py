"""What the host's own counters say of a trial: totals that are read before and after it, and what is notable in them.

Reading them takes a fraction of a millisecond and lies outside of what is timed.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import cgroups
from .clock import NS, Clock
from .model import Notice, Trial

ROOT = Path("/")
PREFIX = "host."
"""Of the facts of a trial that are differences of these totals across it."""
SECONDS = f"{PREFIX}seconds"
"""The trial's own length, its untimed parts included."""

STALLS = ("cpu", "memory", "io")
_TICK = os.sysconf("SC_CLK_TCK")
_MOST_CORES = 64
"""Whose counters of heat are read: each takes some microseconds."""


def read(groups: Iterable[Path] = (), root: Path = ROOT) -> dict[str, float]:
    """The totals of now; one that this host doesn't have is not there.

    `busy` and `steal`: CPU seconds of all CPUs. `stalled.cpu`, `.memory`, `.io`: seconds in which some task waited for
    it. `throttled`: seconds for which a quota held up our own control groups, and those that are given. `overheated`:
    how often a CPU slowed down for its heat. `swapped`: pages, in and out.
    """
    found = cpu_times(root)
    for name in STALLS:
        if (stalled := _stalled(root / "proc/pressure" / name)) is not None:
            found[f"stalled.{name}"] = stalled
    throttled = [cgroups.throttled_seconds(folder) for folder in {*_own_groups(root), *groups}]
    if known := [each for each in throttled if each is not None]:
        found["throttled"] = sum(known)
    if heat := [_number(path) for path in _heat_counters(root)]:
        found["overheated"] = sum(heat)
    return found | _swapped(root)


def cpu_times(root: Path = ROOT) -> dict[str, float]:
    """CPU seconds of all CPUs so far, `busy` and `steal`; 10 ms resolution. Empty where /proc tells nothing."""
    try:
        fields = (root / "proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return {}
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return {"busy": (user + nice + system + irq + softirq) / _TICK, "steal": steal / _TICK}


def _stalled(path: Path) -> float | None:
    """The file is there and cannot be read where the kernel was started without PSI."""
    try:
        some = path.read_text().partition("\n")[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) / 1e6


@cache
def _own_groups(root: Path) -> tuple[Path, ...]:
    """Those above us, too: a container's quota is on the topmost one that it sees."""
    if root != ROOT:
        return ()
    found = cgroups.hierarchies()
    mounts = [each for each in (found.v1.get("cpu"), found.v2) if each is not None]
    own = [each for each in cgroups.of_process(os.getpid()) if any(each.is_relative_to(mount) for mount in mounts)]
    above = [each for folder in own for each in folder.parents if any(each.is_relative_to(m) for m in mounts)]
    return tuple(each for each in dict.fromkeys([*own, *above, *mounts]) if cgroups.throttled_seconds(each) is not None)


@cache
def _heat_counters(root: Path) -> tuple[Path, ...]:
    """Each package's, and the cores' as far as that stays quick: what one core does for heat its package notes, too."""
    cores = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*"))
    heated = [core for core in cores if (core / "thermal_throttle").is_dir()]
    packages = {_number(core / "topology/physical_package_id"): core for core in heated}
    wholes = [core / "thermal_throttle/package_throttle_count" for core in packages.values()]
    return (*wholes, *(core / "thermal_throttle/core_throttle_count" for core in heated[:_MOST_CORES]))


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _swapped(root: Path) -> dict[str, float]:
    try:
        text = (root / "proc/vmstat").read_text()
    except OSError:
        return {}
    counts = [int(line.split()[1]) for line in text.splitlines() if line.startswith(("pswpin ", "pswpout "))]
    return {"swapped": float(sum(counts))} if counts else {}


def stalls(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """The share of that time in which some task waited, for each of STALLS that the host tells."""
    names = [name for name in STALLS if f"stalled.{name}" in before and f"stalled.{name}" in after]
    return {name: max(0.0, after[f"stalled.{name}"] - before[f"stalled.{name}"]) / seconds for name in names}


class Watch:
    """The totals across one trial."""

    def __init__(self, clock: Clock, groups: Sequence[Path] = ()) -> None:
        self._clock = clock
        self._groups = groups
        self._before = clock.totals(groups)
        self._at = clock.now()

    def facts(self) -> dict[str, str]:
        """What has changed since, for the trial's record: only what has."""
        seconds = (self._clock.now() - self._at) / NS
        after = self._clock.totals(self._groups)
        grown = {name: after[name] - before for name, before in self._before.items() if after.get(name, 0) > before}
        if not grown:
            return {}
        return {SECONDS: f"{seconds:.6g}"} | {f"{PREFIX}{name}": f"{value:.6g}" for name, value in grown.items()}


# What is notable


@dataclass(frozen=True, slots=True)
class _Bound:
    """From where on a total is worth a notice."""

    total: str
    exceeded: Callable[[float, float], bool]
    """By its difference across a trial, and the trial's seconds."""
    words: str
    hint: str


_SHARE = 0.01
"""Of a trial's time: what may be stolen or waited for."""

_BOUNDS = (
    _Bound(
        "steal",
        lambda value, seconds: value > max(_SHARE * seconds, 1 / _TICK),  # one tick may be another's
        "another virtual machine had this host's CPUs for more than 1 % of the time",
        "Compare arms within this run only, with more rounds; or use a machine of your own.",
    ),
    _Bound(
        "throttled",
        lambda value, _: value > 0,
        "a CPU quota on a control group held up what was measured",
        "Lift the quota: docker run without --cpus, CPUQuota= of the unit, limits.cpu of the pod.",
    ),
    _Bound(
        "overheated",
        lambda value, _: value > 0,
        "a CPU slowed down because of its heat",
        "Let it cool: better air, or --tune, which turns turbo off.",
    ),
    _Bound("swapped", lambda value, _: value > 0, "the host swapped", "End what else runs, or give instances less."),
    _Bound(
        "stalled.memory",
        lambda value, seconds: value > _SHARE * seconds,
        "tasks waited for memory for more than 1 % of the time",
        "End what else runs, or give instances less.",
    ),
)


_WORDS = {
    "seconds": ("time", "{:.1f} s"),
    "busy": ("CPUs busy", "{:.1f} CPU seconds"),
    "steal": ("steal", "{:.2f} CPU seconds"),
    "stalled.cpu": ("some task waited for CPU", "{:.1f} s"),
    "stalled.memory": ("some task waited for memory", "{:.1f} s"),
    "stalled.io": ("some task waited for IO", "{:.1f} s"),
    "throttled": ("held up by a quota", "{:.2f} s"),
    "overheated": ("slowed down for heat", "{:.0f} times"),
    "swapped": ("swapped", "{:.0f} pages"),
}


def summary(trials: Iterable[Trial]) -> dict[str, str]:
    """The sums over all measured trials, in words; what never grew is not there. Pure."""
    sums = dict.fromkeys(_WORDS, 0.0)
    for trial in trials:
        for name in _WORDS if trial.role == "measured" else ():
            sums[name] += _fact(trial, name) or 0.0
    return {title: form.format(sums[name]) for name, (title, form) in _WORDS.items() if sums[name]}


def notices(trials: Iterable[Trial]) -> list[Notice]:
    """Which totals went beyond their bound in measured trials, and in how many. Pure."""
    measured = [trial for trial in trials if trial.role == "measured"]
    found = []
    for bound in _BOUNDS:
        those = [trial for trial in measured if _beyond(bound, trial)]
        if those:
            arms = ", ".join(dict.fromkeys(trial.cell.arm for trial in those))
            message = f"In {len(those)} of {len(measured)} measured trials ({arms}) {bound.words}."
            code = bound.total.replace(".", "-")
            found.append(Notice(code=f"host-{code}", subject="host", message=message, hint=bound.hint))
    unsettled = sum("not settled" in trial.facts for trial in measured)
    if unsettled:
        message = f"{unsettled} of {len(measured)} measured trials began on a host that had not become quiet in time."
        found.append(Notice(code="not-settled", subject="host", message=message, hint="End what else runs."))
    return found


def _beyond(bound: _Bound, trial: Trial) -> bool:
    value, seconds = _fact(trial, bound.total), _fact(trial, "seconds")
    return value is not None and seconds is not None and bound.exceeded(value, seconds)


def _fact(trial: Trial, name: str) -> float | None:
    """A finite number; None where the file holds something else."""
    with contextlib.suppress(KeyError, ValueError):
        value = float(trial.facts[f"{PREFIX}{name}"])
        return value if math.isfinite(value) else None
    return None
