"""An instance's life, the same in every driver: milestones in order, and nothing left however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import cgroups, lifecycle, processes
from tare_bench.drivers.fake import FakeDriver, Reply
from tare_bench.errors import InstanceError
from tare_bench.lifecycle import Live
from tare_bench.wire import ConsoleLog, Wire, WireLost

pytestmark = pytest.mark.needs("root")

DIES = "sleep 7655"
GONE_SECONDS = 20.0


class Broken(Exception):
    """Something in the body went wrong."""


def test_milestones_come_in_their_order(host: Host) -> None:
    live = host.shared()
    at = live.milestones
    assert live.requested_at < at["created"] <= at["started"] < at["ready"] < at["first_command"]
    assert at["started"] <= at["start_returned"]
    assert all(seconds > 0 for seconds in live.since_request().values())


def test_only_a_guest_has_a_kernel_of_its_own_and_says_when_it_spoke(host: Host) -> None:
    live = host.shared()
    at = live.milestones
    if host.driver.kind != "vm":
        assert not {"kernel", "init"} & set(at)
        return
    assert at["started"] < at["kernel"] < at["init"] < at["ready"]
    assert b"Linux version" in live.console.text


def test_the_accelerator_is_read_back_and_is_the_resolved_one(host: Host) -> None:
    assert lifecycle.read_back(host.shared()) == host.accelerator


def test_created_is_not_started(host: Host) -> None:
    with host.created() as live:
        assert set(live.milestones) == {"created"}
        assert live.instance is not None
    assert host.traces(live.name) == []


def test_stop_is_seen_at_the_wires_end(host: Host) -> None:
    with host.booted() as live:
        assert lifecycle.stop(live) > 0
        assert live.wire is not None
        assert live.wire.ended_at is not None
        with pytest.raises(WireLost):
            live.run("true", seconds=10)
    assert host.traces(live.name) == []


@pytest.mark.parametrize("state", ["created", "attached", "started", "ready", "stopped"])
def test_stop_and_destroy_work_in_every_state_and_twice(host: Host, state: str) -> None:
    with host.created() as live:
        instance = live.instance
        assert instance is not None
        _bring(live, state)
        for _ in range(2):
            instance.stop()
        if live.wire is not None:
            live.wire.close()
            live.wire = None
        for _ in range(2):
            instance.destroy()
        assert host.traces(live.name) == []


def _bring(live: Live, state: str) -> None:
    instance = live.instance
    assert instance is not None
    if state == "attached":
        streams = instance.attach()
        live.wire = Wire(streams, live.clock, live.console)
    elif state == "started":
        streams = instance.attach()
        live.wire = Wire(streams, live.clock, live.console)
        instance.start()
    elif state in ("ready", "stopped"):
        lifecycle.boot(live)
        if state == "stopped":
            lifecycle.stop(live)


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_an_instance_is_destroyed_whatever_happens(host: Host, error: type[BaseException]) -> None:
    with pytest.raises(error), host.booted() as live:
        raise error
    assert live.instance is None
    assert host.traces(live.name) == []


def _burn(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the end of destroying it fail."""
    instance = live.instance
    assert instance is not None
    destroy = instance.destroy

    def fails() -> None:
        destroy()
        raise InstanceError("The engine is on fire.")

    monkeypatch.setattr(instance, "destroy", fails)


def _fail_twice(host: Host, monkeypatch: pytest.MonkeyPatch, names: list[str], error: type[BaseException]) -> None:
    with host.created() as live:
        names.append(live.name)
        _burn(live, monkeypatch)
        raise error


def test_both_errors_are_kept_where_it_cannot_be_destroyed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:
        _fail_twice(host, monkeypatch, names, Broken)
    assert [type(each) for each in caught.value.exceptions] == [Broken, InstanceError]
    assert host.traces(names[0]) == []


def test_an_interrupt_stays_one_and_says_what_could_not_be_destroyed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    with pytest.raises(KeyboardInterrupt) as caught:
        _fail_twice(host, monkeypatch, names, KeyboardInterrupt)
    assert caught.value.__notes__ == ["Its instance could not be destroyed: The engine is on fire."]
    assert host.traces(names[0]) == []


def test_an_instance_that_dies_while_it_works_is_a_lost_wire(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(host.driver, FakeDriver):
        monkeypatch.setitem(host.driver.behaviour.replies, DIES, Reply(dies=True))
    with host.created() as live:
        instance = live.instance
        assert instance is not None
        streams = instance.attach()
        monkeypatch.setattr(instance, "attach", lambda: streams)
        lifecycle.boot(live)
        send = streams.wire.send

        def send_and_pull_the_plug(data: bytes) -> int:
            sent = send(data)
            instance.stop()
            return sent

        monkeypatch.setattr(streams.wire, "send", send_and_pull_the_plug)
        with pytest.raises(WireLost):
            live.run(DIES, seconds=60)
    assert host.traces(live.name) == []


def test_the_agent_ends_with_the_wire_and_takes_its_command_along(host: Host) -> None:
    """With the harness gone nothing goes on working: the instance's processes end, a guest powers off."""
    with host.created() as live:
        instance, clock = live.instance, live.clock
        assert instance is not None
        streams = instance.attach()
        wire = Wire(streams, clock, ConsoleLog(b"tare: init"))
        starting = clock.begin(instance.start)
        wire.ready(live.deadline)
        clock.select([starting], live.deadline)
        starting.close()
        where = instance.accounts()
        there = {pid: processes.start_time(pid) for pid in (*where.pids, *cgroups.pids(where.cgroups))}
        streams.wire.send(b"RUN 1 100000 sleep\\0040 7656\n")
        wire.close()
        assert [pid for pid, born in there.items() if not processes.wait_gone(pid, born, GONE_SECONDS)] == []
        # what it had just started has been killed before the agent ended, and may take a moment to be gone
        assert [pid for pid in cgroups.pids(where.cgroups) if not processes.wait_gone(pid, None, GONE_SECONDS)] == []
    assert host.traces(live.name) == []


@REAL_ONLY
def test_accounts_name_what_exists_because_of_the_instance(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    where = live.instance.accounts()
    assert not where.unavailable
    pids = {*where.pids, *cgroups.pids(where.cgroups)}
    assert pids
    assert all(processes.start_time(pid) is not None for pid in pids)
    assert all(folder.is_dir() for folder in where.cgroups)
    assert all(file.exists() for file in where.files)
    assert where.files
    assert where.image_bytes
    assert where.image_bytes > 50 << 20


@REAL_ONLY
def test_limits_are_what_the_spec_says(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    where = live.instance.accounts()
    allowed = {cpu for pid in cgroups.pids(where.cgroups) for cpu in _allowed(pid)}
    assert allowed == set(host.context.cpus)
    limits = [int(file.read_text()) for file in _memory_limits(where.cgroups)]
    if host.driver.kind != "vm":  # a guest's memory is its machine's size
        assert limits == [host.spec.memory]


def _allowed(pid: int) -> set[int]:
    return {cpu for task in Path(f"/proc/{pid}/task").iterdir() for cpu in os.sched_getaffinity(int(task.name))}


def _memory_limits(folders: Iterable[Path]) -> list[Path]:
    names = ("memory.limit_in_bytes", "memory.max")
    return [folder / name for folder in folders for name in names if (folder / name).exists()]
