"""What a driver says and does beside making instances."""

from __future__ import annotations

from pathlib import Path

import pytest
from hosts import EVERY, Host, Hosts, built, made
from tare_bench import registry
from tare_bench.drivers.docker_engine import DockerDriver

pytestmark = pytest.mark.needs("root")


@pytest.mark.parametrize("name", EVERY)
def test_checking_needs_nothing_and_changes_nothing(name: str) -> None:
    driver = made(name)
    first, second = driver.check(), driver.check()
    assert [rung.name for rung in first.rungs] == [rung.name for rung in second.rungs]
    assert all(rung.seen for rung in first.rungs)
    assert all(rung.fix for rung in first.rungs if not rung.ok)


@pytest.mark.parametrize("name", EVERY)
def test_what_was_never_opened_is_closed_twice(name: str) -> None:
    driver = made(name)
    driver.close()
    driver.close()


def test_it_describes_itself_in_words(host: Host) -> None:
    facts = host.driver.describe()
    assert facts
    assert all(isinstance(value, str) for value in facts.values())


def test_preparing_again_does_nothing(host: Host) -> None:
    live = host.shared()
    host.driver.prepare(built())
    assert live.run("true", seconds=60).checked().status == 0


def test_two_instances_live_side_by_side(host: Host) -> None:
    with host.booted() as one, host.booted() as other:
        for live in (one, other):
            assert live.run("true", seconds=60).checked().status == 0
        if host.name != "fake":
            one.run("echo 1 >/work/x", seconds=60).checked()
            assert other.run("ls /work", seconds=60).checked().stdout == b""
    assert host.traces(one.name) == host.traces(other.name) == []


@pytest.mark.needs("docker")
def test_containers_of_dead_runs_are_found_by_label(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = hosts["docker"]
    assert isinstance(host.driver, DockerDriver)
    assert host.driver._client is not None
    if host.driver._engine is not None:
        monkeypatch.setenv("DOCKER_HOST", host.driver._engine.url)
    with host.created() as live:
        name = f"tare-{host.context.run}-{live.name}"
        sweeper = registry.driver("docker")
        assert name not in [each.name for each in sweeper.leftovers([host.context.run])]
        [found] = [each for each in sweeper.leftovers(["another"]) if each.name == name]
        with monkeypatch.context() as elsewhere:
            # another user's runs, alive or dead, are that user's: we cannot tell which they are
            elsewhere.setenv("TARE_RUN", str(tmp_path))
            assert sweeper.leftovers([]) == []
        found.remove()
        found.remove()
        assert host.traces(live.name) == []
