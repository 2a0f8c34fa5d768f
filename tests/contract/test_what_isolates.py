"""What the workload `isolation` finds in real instances, and that a neighbour misbehaves in each and then is gone."""

from __future__ import annotations

import itertools

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import syscalls
from tare_bench.crowd import Crowd
from tare_bench.driver import Kind
from tare_bench.workloads import neighbour
from tare_bench.workloads.isolation import Isolation

pytestmark = pytest.mark.needs("root")

_numbers = itertools.count()


@REAL_ONLY
def test_every_call_is_let_through_filtered_refused_or_missing(host: Host) -> None:
    live = host.shared()
    found = Isolation().measure(live, {})
    values = {each.metric.removeprefix("isolation."): each.value for each in found.samples}
    assert "syscalls unknown" not in found.facts
    tried = int(found.facts["syscalls"].split()[0])
    assert tried >= len(set(syscalls.numbers("aarch64").values()) & set(syscalls.numbers("x86_64").values()))
    kinds = ("syscalls", "syscalls_filtered", "syscalls_refused", "syscalls_missing")
    assert sum(values[name] for name in kinds) == tried
    assert (values["syscalls_filtered"] > 0) == (values["seccomp"] == 2)
    assert values["same_kernel"] == (host.driver.kind != Kind.VM)
    assert ("vmm_seccomp" in values) == (host.driver.kind == Kind.VM)
    if host.driver.kind == Kind.CONTAINER:
        assert {"mount", "bpf"} <= set(found.facts["syscalls filtered"].split(", "))
    # it still works after that
    assert live.run("echo it runs", seconds=60).checked().stdout == b"it runs\n"


@REAL_ONLY
@pytest.mark.parametrize("kind", ["cpu", "memory", "forks", "disk"])
def test_a_neighbour_misbehaves_and_nothing_of_it_stays(host: Host, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour, "PROBE_RUNS", 3)
    prefix = f"q{next(_numbers)}"
    clock = host.driver.clock
    crowd = Crowd(host.driver, host.spec, host.accelerator, clock, seconds=180.0, prefix=prefix)
    found = neighbour.Neighbour().measure_crowd(crowd, {"neighbour": kind})
    values = {each.metric: each.value for each in found.samples}
    assert set(values) == {"neighbour.slowdown", "neighbour.alone"}
    assert all(value > 0 for value in values.values())
    assert found.facts["probes"] == "6"
    assert [each for name in ("n0", "n1") for each in host.traces(f"{prefix}{name}")] == []
