"""Names to drivers, workloads and metrics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tare_bench import registry
from tare_bench.cli import ready
from tare_bench.cli.check import check
from tare_bench.driver import Driver
from tare_bench.errors import DriverUnavailable, UsageError
from tare_bench.model import Arm, Spec
from tare_bench.workloads import Workload


def test_everything_that_is_named_is_there() -> None:
    assert {"native", "docker", "kvm", "fake"} <= set(registry.names(registry.DRIVERS))
    for name in registry.names(registry.DRIVERS):
        driver = registry.driver(name)
        assert isinstance(driver, Driver)
        assert driver.name == name
    for name in registry.names(registry.WORKLOADS):
        workload = registry.workload(name)
        assert isinstance(workload, Workload)
        assert workload.name == name
        assert workload.title


def test_two_of_a_name_are_two() -> None:
    assert registry.driver("fake") is not registry.driver("fake")


@pytest.mark.parametrize("ask", [registry.driver, registry.workload])
def test_an_unknown_name_is_the_users_error(ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"There is no .* named `nothing`"):
        ask("nothing")


def test_the_nearest_word_or_all_of_them() -> None:
    assert registry.nearest("dokcer", ["docker", "kvm"]) == "Did you mean `docker`?"
    assert registry.nearest("xyz", ["docker", "kvm"]) == "There are: docker, kvm."


def test_a_driver_that_does_not_load_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.delitem(sys.modules, "tare_bench.drivers.docker_engine", raising=False)
    with pytest.raises(DriverUnavailable) as caught:
        registry.driver("docker")
    assert "docker" in caught.value.details
    assert caught.value.hint == "This installation of Tare is not whole: install it again."


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package of somebody else's, whose driver does not load."""
    (tmp_path / "tare_broken.py").write_text("raise ZeroDivisionError('by its author')\n")
    metadata = tmp_path / "tare_broken-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tare-broken\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[tare.drivers]\nbroken = tare_broken:Driver\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("broken")
def test_a_broken_driver_names_its_package() -> None:
    with pytest.raises(DriverUnavailable) as caught:
        registry.driver("broken")
    assert caught.value.details == "ZeroDivisionError: by its author"
    assert caught.value.hint.startswith("It comes with the package tare-broken, which is not whole: ")


@pytest.mark.usefixtures("broken")
def test_a_broken_driver_costs_the_others_nothing() -> None:
    result = CliRunner().invoke(check, [])
    assert result.exit_code == 0, result.output
    assert "broken: cannot run" in result.output
    assert "native: " in result.output
    assert CliRunner().invoke(check, ["broken"], standalone_mode=False).return_value == 3
    arms = [Arm(name=name, driver=name, spec=Spec(vcpus=1, memory=1 << 29)) for name in ("broken", "fake")]
    uses, notices = ready._uses(arms, frozenset())
    assert [use.driver.name for use in uses] == ["fake"]
    assert [notice.subject for notice in notices if notice.code == "left-out"] == ["broken"]
    with pytest.raises(DriverUnavailable):
        ready._uses(arms, frozenset({"broken"}))


def test_every_metric_is_defined_once_and_in_words() -> None:
    metrics = registry.metrics()
    for name, metric in metrics.items():
        assert metric.name == name
        assert "." in name
        assert metric.unit in ("s", "B", "1/s", "B/s", "1")
        assert len(metric.definition) > 20
        assert metric.title
    for workload, primary in registry.primaries().items():
        assert primary in metrics, workload
