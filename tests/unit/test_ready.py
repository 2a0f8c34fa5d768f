"""One driver object for each driver and its options, and what is stored of each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from click.testing import CliRunner
from tare_bench import leases, registry
from tare_bench.cli import ready
from tare_bench.config import Configured
from tare_bench.driver import RunContext, Rung, Support
from tare_bench.drivers.fake import FakeDriver, Resolution
from tare_bench.errors import DriverUnavailable, TareError
from tare_bench.model import Arm, NetworkPath, Notice, Plan, Spec, WorkloadPlan
from tare_bench.paths import cache_dir
from tare_bench.rootfs import Rootfs

plan_command: Any = import_module("tare_bench.cli.plan").plan

SPEC = Spec(vcpus=1, memory=1 << 29)
ROOTFS = Rootfs(digest="sha256:" + "0" * 64, folder=cache_dir(), size=0, recipe="", packages={})


class Guests(FakeDriver):
    """As a driver for guests is: with options, one that breaks it, and a notice."""

    OPTIONS: ClassVar[Mapping[str, str]] = {"accelerator": "", "uri": ""}
    name = "guests"

    def check(self, *, fresh: bool = False) -> Support:
        fine = self.options.get("uri") != "gone"
        return Support((Rung("uri", fine, "seen", "fix it"),), notices=(Notice(code="x", subject="y", message="z"),))

    def open(self, context: RunContext) -> None:
        if self.options.get("uri") == "closed":
            raise TareError("It is closed.")

    def refuses(self, path: NetworkPath) -> str:
        return "it has no cable" if path == "nat" else ""

    def describe(self) -> Mapping[str, str]:
        return {"uri": self.options.get("uri", "own")}

    def resolve(self, asked: str, *, fresh: bool = False) -> Resolution:
        return Resolution("kvm" if asked == "kvm" else "tcg")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeDriver]:
    """The drivers that were made."""
    drivers: list[FakeDriver] = []

    def driver(name: str, options: Mapping[str, str] | None = None) -> FakeDriver:
        found = Guests() if name == "guests" else FakeDriver()
        found.options = dict(options or {})
        drivers.append(found)
        return found

    monkeypatch.setenv("TARE_RUN", str(tmp_path / "run"))
    monkeypatch.setattr(registry, "driver", driver)
    monkeypatch.setattr(ready, "move_elsewhere", lambda cpus: None)
    monkeypatch.setattr("tare_bench.rootfs.build", lambda *words, **more: ROOTFS)
    return drivers


def arm(name: str, driver: str = "guests", **options: str) -> Arm:
    return Arm(name=name, driver=driver, options=options, spec=SPEC)


def prepared(*arms: Arm, asked: bool = False) -> ready.Ready:
    plan = Plan(arms=list(arms), workloads=[WorkloadPlan(name="boot")], baseline=arms[0].name, rounds=1)
    configured = Configured(plan, frozenset(each.driver for each in arms) if asked else frozenset(), "")
    with contextlib.ExitStack() as stack:
        lease = leases.take("test")
        stack.callback(lease.release)
        return ready.make_ready(configured, "default", lease, stack, lambda text: None)


def test_arms_that_share_driver_and_options_share_one_object(made: list[FakeDriver]) -> None:
    found = prepared(arm("a", uri="x"), arm("b", uri="x"), arm("c", uri="y"), arm("d", driver="other"))
    assert len(made) == 3
    assert found.drivers["a"] is found.drivers["b"]
    assert found.drivers["a"] is not found.drivers["c"]
    assert list(found.drivers) == ["a", "b", "c", "d"]


def test_a_driver_is_described_by_its_name_or_where_it_has_several_sets_of_options_by_arm(
    made: list[FakeDriver],
) -> None:
    assert prepared(arm("a", uri="x"), arm("b", uri="x")).described == {"guests": {"uri": "x"}}
    found = prepared(arm("guests"), arm("b", uri="x"), arm("c", driver="other"))
    assert found.described == {
        "guests": {"uri": "own"},
        "b": {"uri": "x"},
        "fake": {"simulated": "yes", "kernel": "simulated"},
    }


def test_an_arms_accelerator_beats_the_plans(made: list[FakeDriver]) -> None:
    assert prepared(arm("a"), arm("b", accelerator="kvm")).accelerators == {"a": "tcg", "b": "kvm"}


def test_a_notice_is_said_once(made: list[FakeDriver]) -> None:
    assert [each.code for each in prepared(arm("a"), arm("b", uri="x")).notices] == ["x"]


@pytest.mark.parametrize("uri", ["gone", "closed"])
def test_only_the_arms_that_cannot_run_are_left_out_and_named(made: list[FakeDriver], uri: str) -> None:
    found = prepared(arm("a"), arm("b", uri=uri), arm("c", uri=uri))
    assert [each.name for each in found.arms] == ["a"]
    left = [each for each in found.notices if each.code == "left-out"]
    assert [each.subject for each in left] == ["b, c"]
    assert left[0].message.startswith("b, c are left out: ")
    with pytest.raises(TareError) as caught:
        prepared(arm("a"), arm("b", uri=uri), asked=True)
    if uri == "gone":
        assert isinstance(caught.value, DriverUnavailable)
        assert caught.value.brief == "The driver guests of b cannot run here."


def networked(name: str, path: NetworkPath, driver: str = "guests") -> Arm:
    found = arm(name, driver)
    return msgspec.structs.replace(found, spec=msgspec.structs.replace(SPEC, network=path))


def test_a_network_that_cannot_be_had_is_refused_before_anything_is_built(
    made: list[FakeDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*words: object, **more: object) -> Rootfs:
        raise AssertionError

    monkeypatch.setattr("tare_bench.rootfs.build", built)
    with pytest.raises(DriverUnavailable, match='b cannot have network = "nat"') as caught:
        prepared(networked("b", "nat"), asked=True)
    assert caught.value.details == "it has no cable"


def test_an_arm_whose_network_cannot_be_had_is_left_out_and_never_given_another(made: list[FakeDriver]) -> None:
    found = prepared(arm("a", driver="other"), networked("b", "nat"))
    assert list(found.drivers) == ["a"]
    [left] = [each for each in found.notices if each.code == "left-out"]
    assert left.subject == "guests"
    assert left.message == 'guests is left out: b cannot have network = "nat": it has no cable'


def test_a_plan_says_what_network_its_arms_cannot_have(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("[[arm]]\ndriver = 'native'\nnetwork = 'user'\n")
    refused = CliRunner().invoke(plan_command, [str(file)])
    assert isinstance(refused.exception, DriverUnavailable)
    assert refused.exception.brief == 'native user cannot have network = "user".'
    file.write_text("[instance]\nnetwork = 'user'\n")
    shown = CliRunner().invoke(plan_command, [str(file)])
    assert shown.exit_code == 0
    assert "native would be left out: native cannot have" in shown.output
    assert "kvm would be left out" not in shown.output or os.geteuid() != 0


def test_by_default_a_driver_gives_no_network() -> None:
    assert FakeDriver().refuses("none") == ""
    assert FakeDriver().refuses("bridge") == "the driver fake gives no instance a network"


def test_a_cold_arm_that_cannot_be_seen_to_be_cold_is_refused_before_the_first_trial(made: list[FakeDriver]) -> None:
    cold = msgspec.structs.replace(arm("cold"), spec=msgspec.structs.replace(SPEC, page_cache="cold"))
    with pytest.raises(DriverUnavailable, match="The driver guests cannot start cold"):
        prepared(arm("a"), cold, asked=True)
    assert list(prepared(arm("a")).drivers) == ["a"]
