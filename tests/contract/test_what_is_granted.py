"""What an instance was really given is read back from its engine and from inside, the same words in every driver."""

from __future__ import annotations

import contextlib

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import lifecycle
from tare_bench.audit import FACTS, Side, compare, side
from tare_bench.driver import GRANTED
from tare_bench.errors import InstanceError
from tare_bench.lifecycle import Live
from tare_bench.model import INHERENT, Arm
from tare_bench.workloads.audit import Audit

pytestmark = pytest.mark.needs("root")

_NOT_INSIDE = {"inside.memory limit"}
"""What only an instance that sees its own control group can tell."""


def read(host: Host, live: Live) -> dict[str, str]:
    """What the workload reads of an instance."""
    lifecycle.read_back(live)
    return Audit().measure(live, {}).facts


def audited(host: Host, live: Live) -> Side:
    arm = Arm(name=live.name, driver=host.driver.name, spec=host.spec)
    kernel = host.driver.describe().get("kernel", "")
    return side(arm, host.spec, host.accelerator, kernel, read(host, live))


def test_it_is_what_the_spec_says(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    found = live.instance.granted()
    assert set(found) <= set(GRANTED)
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["kind"] == host.driver.kind
    assert found["vcpus"] == str(host.spec.vcpus)
    assert found["memory"] == str(host.spec.memory)
    assert found["network"] == ("host" if host.driver.kind == "process" else "none")
    assert (found["disk cache"] == INHERENT) == (host.driver.kind != "vm")


@REAL_ONLY
def test_everything_can_be_read(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    found = live.instance.granted()
    assert set(found) == set(GRANTED)
    assert found["cpus"] == ",".join(map(str, host.context.cpus))
    assert found["storage"].count(":") == 1
    facts = read(host, live)
    assert {fact.key for fact in FACTS} - set(facts) - _NOT_INSIDE == set()
    assert facts["inside.cpus"] == str(host.spec.vcpus)
    assert facts["engine.accelerator"] == host.accelerator


def test_an_instance_and_another_of_its_kind_differ_in_nothing(host: Host) -> None:
    with host.booted() as other:
        found = compare(audited(host, host.shared()), audited(host, other))
    assert found.differences == []
    assert found.grade == "A"


@pytest.mark.parametrize("state", ["created", "stopped"])
def test_one_that_does_not_run_says_so_or_says_less(host: Host, state: str) -> None:
    with host.created() as live:
        instance = live.instance
        assert instance is not None
        if state == "stopped":
            lifecycle.boot(live)
            lifecycle.stop(live)
        with contextlib.suppress(InstanceError):
            assert set(instance.granted()) <= set(GRANTED)
