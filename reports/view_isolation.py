"""Isolation: which system calls an arm's instances may not make."""

from __future__ import annotations

from tare_bench.analysis import Analysis

from .language import N_, _
from .view_format import one_line
from .view_reasons import worded

_SAID = {
    "syscalls filtered": N_("{arm}: its filter refuses {names}."),
    "syscalls refused": N_("{arm}: for want of a capability the kernel refuses {names}."),
    "syscalls unknown": N_("{arm}: which system calls are filtered cannot be told: {names}."),
}


def calls(analysis: Analysis) -> list[str]:
    """A sentence for each arm and kind, by the trial that counted them last."""
    found: dict[tuple[str, str], str] = {}
    for trial in analysis.run.trials:
        for key in _SAID:
            if trial.cell.workload == "isolation" and (names := trial.facts.get(key)):
                # each by itself, since a line of them all would be cut
                found[trial.cell.arm, key] = ", ".join(worded(one_line(name)) for name in names.split(", "))
    return [_(_SAID[key], arm=one_line(arm), names=names) for (arm, key), names in found.items()]
