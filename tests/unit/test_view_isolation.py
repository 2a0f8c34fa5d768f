"""Which system calls the page says that an arm may not make."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from runs import METRICS, PRIMARY, Setting, build
from tare_bench.analysis import analyse
from tare_bench.model import Run
from tare_bench.reports.view_isolation import calls
from tare_bench.reports.view_tables import tables

MANY = ", ".join(f"call_{number}" for number in range(300))


def told(facts: Mapping[str, Mapping[str, str]]) -> Run:
    """A run whose trials of `isolation` have these facts, by arm."""
    run = build(Setting(workloads=("boot", "isolation")))
    trials = [
        msgspec.structs.replace(each, facts={**each.facts, **facts.get(each.cell.arm, {})})
        if each.cell.workload == "isolation"
        else each
        for each in run.trials
    ]
    return msgspec.structs.replace(run, trials=trials)


def test_each_arm_names_them_all_once_below_the_table() -> None:
    analysis = analyse(
        told({"docker": {"syscalls filtered": MANY, "syscalls refused": "acct, syslog"}}), METRICS, PRIMARY
    )
    said = [f"docker: its filter refuses {MANY}.", "docker: for want of a capability the kernel refuses acct, syslog."]
    assert calls(analysis) == said
    notes = {table.id: table.notes for table in tables(analysis)}
    assert [note for note in notes["isolation"] if note.startswith("docker: ")] == said
    assert not [note for note in notes["boot"] if note.startswith("docker: ")]


def test_why_it_cannot_be_told_is_said() -> None:
    found = calls(analyse(told({"kvm": {"syscalls unknown": "the host is under a filter itself"}}), METRICS, PRIMARY))
    assert found == ["kvm: which system calls are filtered cannot be told: the host is under a filter itself."]
    assert calls(analyse(told({}), METRICS, PRIMARY)) == []


def test_only_what_the_trials_of_isolation_say_counts() -> None:
    run = build(Setting(workloads=("boot", "isolation")))
    trials = [msgspec.structs.replace(run.trials[0], facts={"syscalls filtered": "mount"})]
    assert calls(analyse(msgspec.structs.replace(run, trials=trials), METRICS, PRIMARY)) == []
