"""What every driver's instances do with commands: the wire and the agent, the same everywhere."""

from __future__ import annotations

import pytest
from fakes import (
    BOTH,
    BYTES,
    COUNT_CHILDREN,
    HANGS,
    LARGE,
    LEAVES_CHILDREN,
    PRINT_BYTES,
    PRINT_LARGE,
    PRINTED,
    READS,
    STATUSES,
)
from hosts import Host
from tare_bench.errors import InstanceError, InstanceTimeout

pytestmark = pytest.mark.needs("root")

SECONDS = 60.0


def test_output_comes_back_byte_by_byte(host: Host) -> None:
    answer = host.shared().run(PRINT_BYTES, seconds=SECONDS).checked()
    assert answer.stdout == BYTES
    assert answer.stderr == b""


def test_much_output_comes_back_whole(host: Host) -> None:
    answer = host.shared().run(PRINT_LARGE, seconds=SECONDS).checked()
    assert len(answer.stdout) == LARGE
    assert not any(answer.stdout[:: 1 << 16])


def test_stderr_is_apart_from_stdout(host: Host) -> None:
    answer = host.shared().run(BOTH, seconds=SECONDS).checked()
    assert (answer.stdout, answer.stderr) == (b"out\nmore\n", b"err\n")


@pytest.mark.parametrize("command", PRINTED, ids=range(len(PRINTED)))
def test_a_command_arrives_as_it_was_given(host: Host, command: str) -> None:
    answer = host.shared().run(command, seconds=SECONDS).checked()
    assert answer.stdout.decode() == PRINTED[command]


@pytest.mark.parametrize("command", STATUSES)
def test_a_status_is_the_shells_own_and_the_instance_lives_on(host: Host, command: str) -> None:
    answer = host.shared().run(command, seconds=SECONDS)
    assert answer.status == STATUSES[command]
    assert not answer.timed_out
    assert host.shared().run("true", seconds=SECONDS).checked().stdout == b""


def test_a_command_reads_nothing_of_the_wire(host: Host) -> None:
    assert host.shared().run(READS, seconds=SECONDS).checked().stdout == b""


def test_what_hangs_is_killed_at_its_deadline_and_the_instance_lives_on(host: Host) -> None:
    live = host.shared()
    answer = live.run(HANGS, seconds=1)
    assert answer.timed_out
    assert answer.seconds >= 1
    with pytest.raises(InstanceTimeout, match="Killed at its deadline: sleep"):
        answer.checked()
    assert live.run("true", seconds=SECONDS).checked().status == 0


def test_the_deadline_kills_what_the_command_started_too(host: Host) -> None:
    live = host.shared()
    assert live.run(LEAVES_CHILDREN, seconds=1).timed_out
    assert live.run(COUNT_CHILDREN, seconds=SECONDS).stdout == b"0\n"


def test_what_cannot_be_sent_is_refused_and_the_instance_lives_on(host: Host) -> None:
    live = host.shared()
    for command in ("a\0b", "x" * 200_000):
        with pytest.raises(InstanceError):
            live.run(command, seconds=SECONDS)
    assert live.run("true", seconds=SECONDS).checked().status == 0


def test_each_answer_carries_the_instances_clock(host: Host) -> None:
    live = host.shared()
    first, second = (live.run("true", seconds=SECONDS) for _ in range(2))
    assert 0 < first.uptime <= second.uptime
    assert first.asked_at < first.done_at <= second.asked_at < second.done_at
