"""The protocol between host and agent: commands as one line, answers, deadlines, and an agent that leaves nothing."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import leftovers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tare_bench import processes
from tare_bench.clock import NS, MonotonicClock
from tare_bench.driver import Streams
from tare_bench.drivers.fake import FakeChannel, FakeClock
from tare_bench.errors import InstanceError, InstanceTimeout
from tare_bench.guest import AGENT_NAME, agent
from tare_bench.wire import ConsoleLog, SocketChannel, Wire, WireGarbled, WireLost, escape

commands = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@pytest.fixture(scope="module")
def unescape() -> Iterator[object]:
    """What the instance's shell makes of an escaped command: its own `read` and `printf %b`, as in the agent."""
    script = "while IFS= read -r line; do x=$(printf '%b.' \"${line#* }\"); x=${x%.}; printf '%s\\0' \"$x\"; done"
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert shell.stdin is not None
    assert shell.stdout is not None
    source, sink = shell.stdin, shell.stdout

    def ask(escaped: str) -> bytes:
        source.write(f"RUN {escaped}\n".encode("ascii"))
        source.flush()
        found = b""
        while not found.endswith(b"\0"):
            found += os.read(sink.fileno(), 1 << 16)
        return found[:-1]

    with shell:
        yield ask


@given(command=commands)
@example(command="")
@example(command=" ")
@example(command="  a  ")
@example(command="\\")
@example(command="\\0101\\n\\c")
@example(command="a\nb\\\n")
@example(command="\x7f\x80é%d%%$`'\"")
def test_a_shell_gets_the_bytes_that_were_given(unescape: object, command: str) -> None:
    escaped = escape(command)
    assert escaped.isascii()
    assert "\n" not in escaped
    assert escaped == escaped.strip(" ")
    assert unescape(escaped) == command.encode()  # type: ignore[operator]


def test_a_nul_is_refused() -> None:
    with pytest.raises(InstanceError, match="NUL"):
        escape("a\0b")


def _wire(*arriving: tuple[float, bytes]) -> Wire:
    """A wire on which these bytes come, each so many seconds from now."""
    clock = FakeClock()
    channel = FakeChannel(clock, lambda data: None)
    for seconds, data in arriving:
        channel.arrive(clock.now() + round(seconds * NS), data)
    return Wire(Streams(channel), clock, ConsoleLog(b"tare: init"))


def _deadline(wire: Wire, seconds: float = 60) -> int:
    return wire._clock.now() + round(seconds * NS)


def test_ready_is_stamped_at_its_first_byte() -> None:
    wire = _wire((1.0, b"R"), (2.0, b"EADY 0.5"), (3.0, b"7\n"))
    start = wire._clock.now()
    assert wire.ready(_deadline(wire)) == (start + NS, 0.57)


def test_one_loop_reads_several_and_stamps_each_at_its_first_byte() -> None:
    clock, came = FakeClock(), ((1.0, 2.5), (0.5, 3.0))
    start, wires = clock.now(), []
    for first, rest in came:
        channel, console = FakeChannel(clock, lambda data: None), FakeChannel(clock, lambda data: None)
        for seconds, data in ((first, b"REA"), (rest, b"DY 0.57\n")):
            channel.arrive(start + round(seconds * NS), data)
        console.arrive(start + 2 * NS, b"Linux version")
        wires.append(Wire(Streams(channel, console), clock, ConsoleLog(b"tare: init")))
    end = start + 10 * NS
    while readable := clock.select([each for wire in wires for each in wire.sources()], end):
        for wire in wires:
            wire.take(readable)
    for wire, (first, _) in zip(wires, came, strict=True):
        assert wire.first_byte_at == start + round(first * NS)
        assert wire.console.first_byte_at == start + 2 * NS
        assert wire.ready(end) == (wire.first_byte_at, 0.57)


def test_a_wire_that_ends_says_so_in_such_a_loop_too() -> None:
    wire = _wire((1.0, b""))
    readable = wire._clock.select(wire.sources(), _deadline(wire))
    with pytest.raises(WireLost):
        wire.take(readable)


@pytest.mark.parametrize("line", [b"HELLO 1.0\n", b"READY\n", b"READY x\n", b"READY 1 2\n", b"\n", b"\xff\xfe\n"])
def test_another_first_line_is_garbled(line: bytes) -> None:
    wire = _wire((1.0, line))
    with pytest.raises(WireGarbled):
        wire.ready(_deadline(wire))


def test_a_line_without_an_end_is_garbled() -> None:
    wire = _wire((1.0, b"x" * 5000))
    with pytest.raises(WireGarbled):
        wire.ready(_deadline(wire))


def test_nothing_until_the_deadline_is_a_timeout() -> None:
    wire = _wire((61.0, b"READY 1\n"))
    with pytest.raises(InstanceTimeout, match="READY"):
        wire.ready(_deadline(wire))


def test_an_end_instead_of_ready_is_a_lost_wire_and_its_moment_is_kept() -> None:
    wire = _wire((1.0, b""))
    end = wire._clock.now() + NS
    with pytest.raises(WireLost):
        wire.ready(_deadline(wire))
    assert wire.ended_at == end == wire.wait_end(_deadline(wire))


def test_an_answer_in_pieces_is_put_together() -> None:
    pieces = [b"DO", b"NE 1 3 0m0.01", b"0s+0m1.500s 12.3", b"4 5 3\nhel", b"lo", b"err"]
    wire = _wire(*((0.1 * number, piece) for number, piece in enumerate(pieces, 1)))
    answer = wire.run("x", seconds=10)
    assert (answer.status, answer.stdout, answer.stderr, answer.uptime) == (3, b"hello", b"err", 12.34)
    assert answer.cpu == pytest.approx(1.51)
    assert not answer.timed_out
    with pytest.raises(InstanceError, match="status 3"):
        answer.checked()


@pytest.mark.parametrize(
    "line",
    [
        b"DONE 2 0 0m0s+0m0s 1.0 0 0\n",
        b"DONE 1 0 0m0s+0m0s 1.0 0\n",
        b"DONE 1 x 0m0s+0m0s 1.0 0 0\n",
        b"READY 1.0\n",
        b"DONE 1 0 0m0s+0m0s 1.0 999999999999 0\n",
    ],
)
def test_another_answer_is_garbled(line: bytes) -> None:
    with pytest.raises(WireGarbled):
        _wire((0.1, line)).run("x", seconds=10)


def test_an_agent_that_does_not_answer_is_a_timeout() -> None:
    with pytest.raises(InstanceTimeout, match="the answer to `x`"):
        _wire().run("x", seconds=10)


def test_a_status_of_137_before_the_deadline_is_no_timeout() -> None:
    answer = _wire((1.0, b"DONE 1 137 0m0s+0m0s 1.0 0 0\n")).run("x", seconds=10)
    assert not answer.timed_out
    late = _wire((10.0, b"DONE 1 137 0m0s+0m0s 1.0 0 0\n")).run("x", seconds=10)
    assert late.timed_out


def test_a_console_is_stamped_at_its_first_byte_and_at_the_marker() -> None:
    console = ConsoleLog(b"tare: init")
    for now, data in ((10, b"Linux version"), (20, b" 6.1\ntare: i"), (30, b"nit\n"), (40, b"tare: init again")):
        console.add(data, now)
    assert (console.first_byte_at, console.marker_at) == (10, 30)
    assert console.text.startswith(b"Linux version 6.1\ntare: init\n")


def test_closing_ends_the_wire_although_somebody_else_holds_a_copy() -> None:
    here, there = socket.socketpair()
    with there, socket.socket(fileno=os.dup(here.fileno())):
        SocketChannel(here).close()
        assert select.select([there], [], [], 10)[0]
        assert there.recv(1) == b""


def test_the_agent_is_plain_posix_text() -> None:
    done = subprocess.run(["/bin/sh", "-n", "-c", agent()], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert agent().isascii()


@pytest.mark.parametrize("delay", [number / 4000 for number in range(40)])
def test_an_agent_that_ends_takes_along_what_it_was_just_asked_for(tmp_path: Path, delay: float) -> None:
    """At whatever moment of starting a command the wire ends, nothing of the command goes on."""
    mark = f"7654.{os.getpid()}{round(delay * 1e6)}"
    here, there = socket.socketpair()
    text = agent().replace("spool=/run/tare", f"spool={tmp_path}")
    with contextlib.closing(SocketChannel(here)) as channel:
        with there:
            process = subprocess.Popen(
                ["/bin/sh", "-c", text, AGENT_NAME, "stdio", "exit"],
                stdin=there, stdout=there, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        clock = MonotonicClock()
        wire = Wire(Streams(channel), clock, ConsoleLog(b""))
        wire.ready(clock.now() + 30 * NS)
        channel.send(f"RUN 1 100000 {escape(f'sleep {mark}')}\n".encode())
        select.select([], [], [], delay)
    assert process.wait(30) == 0
    left = [pid for pid in processes.all_pids() if f"sleep {mark}" in leftovers.command_of(pid)]
    stays = [pid for pid in left if not processes.wait_gone(pid, None, 1.0)]
    for pid in stays:
        processes.kill(pid)
    assert stays == []


class Refused:
    """A start call that has failed."""

    began = True
    returned_at = 1

    def fileno(self) -> int:
        return -1

    def result(self) -> None:
        raise InstanceError("the engine refused")

    def close(self) -> None:
        pass


def test_a_start_that_fails_is_said_at_once_and_not_at_the_deadline() -> None:
    clock = FakeClock()
    silent = FakeChannel(clock, lambda data: None)
    wire = Wire(Streams(silent), clock, ConsoleLog(b""))
    before = clock.now()
    with pytest.raises(InstanceError, match="refused"):
        wire.ready(before + 60 * NS, Refused())
    assert clock.now() == before
