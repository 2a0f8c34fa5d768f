"""Plans that are unfair on purpose, and engines that gave something else: found and graded on this host's engines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hosts import Host, Hosts
from program import Tare
from tare_bench import lifecycle, store
from tare_bench.audit import Audit, Difference, Side, compare, fairness, side
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.lifecycle import Live
from tare_bench.model import Arm, Run, Spec
from tare_bench.workloads import audit

pytestmark = [pytest.mark.needs(name) for name in ("root", "docker", "kvm")]

TWO_CPUS = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this host has one CPU only")
MIB = 1 << 20
PLAN = """\
[run]
baseline = "docker"
max_rounds = 1
workloads = ["audit"]

[instance]
vcpus = 1
memory = "512 MiB"
cache = "writeback"

[[arm]]
name = "docker"
driver = "docker"

[[arm]]
name = "wide"
driver = "docker"
vcpus = 2

[[arm]]
name = "small"
driver = "docker"
memory = "256 MiB"

[[arm]]
name = "kvm"
driver = "kvm"

[[arm]]
name = "direct"
driver = "kvm"
cache = "none"
"""


def of(found: Audit, axis: str) -> set[str]:
    return {each.what for each in found.differences if each.axis == axis and each.cause == "axis"}


def other(found: Audit) -> dict[str, Difference]:
    """What is nobody's axis; but for the clock that an emulated guest's kernel has given up on a busy host."""
    return {
        each.what: each
        for each in found.differences
        if each.cause in ("other", "unknown") and each.what != "Clock source"
    }


@TWO_CPUS
def test_each_planned_difference_is_found_and_graded(tare: Tare, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    done = tare("run", tmp_path / "plan.toml", "--seed", "1", "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    run = store.load(store.find("latest", tmp_path / "results"))
    found = fairness(run)
    assert found is not None
    assert msgspec.to_builtins(found) == document["fairness"]
    audits = {each.arm: each for each in found.audits}

    assert (audits["wide"].grade, other(audits["wide"])) == ("B", {})
    assert of(audits["wide"], "vcpus") == {"CPUs", "CPUs, inside", "Host CPUs"}
    assert (audits["small"].grade, other(audits["small"])) == ("B", {})
    assert of(audits["small"], "memory") == {"Memory", "Memory, inside"}

    emulated = run.manifest.accelerators["kvm"] == "tcg"
    kernels = {arm: _read(run, arm)["inside.kernel"] for arm in ("docker", "kvm")}
    assert kernels["docker"] == os.uname().release
    assert kernels["kvm"] == run.manifest.drivers["kvm"]["kernel"]
    assert ("Kernel" in of(audits["kvm"], "kernel")) == (kernels["kvm"] != kernels["docker"])
    assert audits["kvm"].emulated == emulated
    if emulated:
        assert audits["kvm"].grade == "C"
        assert "EMULATED" in audits["kvm"].because[0].why
    assert {"Memory", "CPUs", "Programs", "Environment", "Limits"}.isdisjoint(other(audits["kvm"]))

    guests = _against(run, "kvm")["direct"]
    gave_up = any(each.what == "Clock source" for each in guests.differences)
    assert (guests.grade, other(guests)) == ("C" if gave_up else "B", {})
    assert of(guests, "cache") == {"Cache mode of the disk", "Requests of the disk"}

    page = (Path(run.path) / "report.html").read_text(encoding="utf-8")
    for arm, graded in audits.items():
        assert f"fairness {graded.grade}: {arm}" in page
    text = tare("report", run.path, "--format", "text").stdout
    assert "Fairness against docker: " in text


def _read(run: Run, arm: str) -> dict[str, str]:
    return next(trial.facts for trial in run.trials if trial.cell.workload == "audit" and trial.cell.arm == arm)


def _against(run: Run, baseline: str) -> dict[str, Audit]:
    plan = msgspec.structs.replace(run.manifest.plan, baseline=baseline)
    found = fairness(msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, plan=plan)))
    assert found is not None
    return {each.arm: each for each in found.audits}


def _side(host: Host, live: Live) -> Side:
    """What was read of an instance, beside what the plan would have asked for."""
    lifecycle.read_back(live)
    facts = audit.Audit().measure(live, {}).facts
    kernel = host.driver.describe().get("kernel", os.uname().release)
    arm = Arm(name=live.name, driver=host.driver.name, spec=host.spec)
    return side(arm, host.spec, host.accelerator, kernel, facts)


def test_an_engine_that_changes_a_limit_behind_our_back_is_found(hosts: Hosts) -> None:
    host = hosts["docker"]
    assert isinstance(host.driver, DockerDriver)
    fair = _side(host, host.shared())
    with host.booted() as live:
        assert compare(fair, _side(host, live)).grade == "A"
        container = live.instance.container  # type: ignore[union-attr] # a container's
        host.driver.client.update_container(container, mem_limit=256 * MIB, memswap_limit=256 * MIB, cpu_quota=50_000)
        found = compare(fair, _side(host, live))
    assert found.grade == "C"
    assert set(other(found)) == {"Memory", "Memory, inside", "CPU quota"}
    assert f"{live.name} was to have {512 * MIB}" in other(found)["Memory"].why
    assert other(found)["CPU quota"].arm == "0.5"


@pytest.mark.parametrize("name", ["docker", "kvm"])
def test_an_engine_that_gives_less_than_was_asked_for_is_found(hosts: Hosts, name: str) -> None:
    host = hosts[name]
    less: Spec = msgspec.structs.replace(host.spec, memory=256 * MIB)
    made = lifecycle.created(host.driver, less, name=f"{name[0]}less", clock=host.driver.clock, seconds=180)
    with made as live:
        lifecycle.boot(live)
        found = compare(_side(host, host.shared()), _side(host, live))
    assert found.grade == "C"
    assert set(other(found)) == {"Memory", "Memory, inside"}


def test_a_guest_whose_disk_was_opened_in_another_mode_is_found(hosts: Hosts) -> None:
    host = hosts["kvm"]
    another: Spec = msgspec.structs.replace(host.spec, cache="none")
    made = lifecycle.created(host.driver, another, name="kdirect", clock=host.driver.clock, seconds=180)
    with made as live:
        lifecycle.boot(live)
        asked = msgspec.structs.replace(host.spec, cache="writeback")
        sides = [_side(host, each) for each in (host.shared(), live)]
    one, two = (
        side(Arm(name=each.name, driver="kvm", spec=asked), asked, each.accelerator, each.asked["kernel"], each.got)
        for each in sides
    )
    found = compare(one, two)
    assert found.grade == "C"
    assert set(other(found)) == {"Cache mode of the disk", "Requests of the disk"}


def test_without_a_look_into_its_namespace_the_engine_says_what_a_container_is_connected_to(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an ordinary user who may use the engine."""
    live = hosts["docker"].shared()
    assert live.instance is not None
    looked = live.instance.granted()["network"]
    monkeypatch.setattr("tare_bench.granted.network", lambda pid: "")
    assert live.instance.granted()["network"] == looked == "none"
