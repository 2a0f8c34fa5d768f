"""The host's end of the wire: one protocol for every technology.

    agent -> host   READY <uptime>
    host  -> agent  RUN <id> <deadline> <command>
    agent -> host   DONE <id> <status> <cpu> <uptime> <bytes of stdout> <bytes of stderr>, then the raw bytes
    host  -> agent  BYE

Nothing here polls: every stamp is taken when bytes were read, and every wait has a deadline on the one clock.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from .clock import NS, Call, Clock, Source, outcome
from .driver import Channel, Streams
from .errors import InstanceError, InstanceTimeout

GRACE = 20 * NS
"""What the agent has beyond a command's own deadline to say that it killed it, before the wire counts as dead."""

MAX_COMMAND = 100_000
"""Bytes of an escaped command: the kernel takes 128 KiB for one argument."""

MAX_OUTPUT = 256 << 20
"""Bytes that one command may send back before it is refused."""

_CPU = re.compile(r"(\d+)m([\d.]+)s")


class WireLost(InstanceError):
    """The wire has come to its end: the instance died, or its agent did."""


class WireGarbled(InstanceError):
    """What came over the wire is not the agent's protocol."""


class SocketChannel:
    """A socket as a channel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv(self) -> bytes | None:
        try:
            return self._socket.recv(1 << 20)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""

    def send(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        # Shut down first: a copy of the descriptor elsewhere must not keep the agent from seeing the end.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in an instance came to. Times are nanoseconds on the host's clock."""

    command: str
    status: int
    """The exit status as the instance's shell saw it: 128 + n for signal n."""
    cpu: float
    """CPU seconds, user and system, by the instance's own accounting (a resolution of 10 ms)."""
    uptime: float
    """The instance's uptime in seconds at its end."""
    stdout: bytes
    stderr: bytes
    asked_at: int
    done_at: int
    """When the host had read the answer's first line."""
    timed_out: bool = False

    @property
    def seconds(self) -> float:
        """From RUN to DONE, by the host's clock."""
        return (self.done_at - self.asked_at) / NS

    def checked(self) -> Answer:
        """Itself, when the command ended well. Raises InstanceError, or InstanceTimeout, with its words if not."""
        words = (self.stderr or self.stdout)[-2000:].decode(errors="replace")
        if self.timed_out:
            raise InstanceTimeout(f"Killed at its deadline: {_shown(self.command)}", details=words)
        if self.status:
            raise InstanceError(f"Ended with status {self.status}: {_shown(self.command)}", details=words)
        return self


def _shown(command: str) -> str:
    line = command.strip().splitlines()[0] if command.strip() else command
    return line if len(line) <= 100 else line[:99] + "…"


@dataclass(slots=True)
class ConsoleLog:
    """What a guest wrote to its console, kept as evidence, and when its marks appeared."""

    marker: bytes
    text: bytearray = field(default_factory=bytearray)
    first_byte_at: int | None = None
    marker_at: int | None = None

    def add(self, data: bytes, now: int) -> None:
        """Append what was read at `now`; stamp the first byte and the marker line."""
        if self.first_byte_at is None:
            self.first_byte_at = now
        start = max(0, len(self.text) - len(self.marker))
        self.text += data
        if self.marker_at is None and self.text.find(self.marker, start) >= 0:
            self.marker_at = now


class Wire:
    """A conversation with one instance's agent. Not for several threads at once."""

    def __init__(self, streams: Streams, clock: Clock, console: ConsoleLog) -> None:
        self._wire: Channel = streams.wire
        self._console: Channel | None = streams.console
        self._clock = clock
        self._buffer = bytearray()
        self._next_id = 1
        self._stamp: int | None = None
        self.first_byte_at: int | None = None
        """When the first byte of all was read (ns); None before."""
        self._starting: Call[None] | None = None
        self.console = console
        self.ended_at: int | None = None
        """When the end of file was read; None while the wire lives."""

    def ready(self, deadline: int, starting: Call[None] | None = None) -> tuple[int, float]:
        """Wait for READY: when its first byte was read (ns), and the instance's uptime (s).

        Raises InstanceTimeout at the deadline, WireLost when the instance dies before, and at once what the call that
        starts it raises.
        """
        self._starting = starting
        try:
            words = self._line(deadline, "the agent's READY").split()
        finally:
            self._starting = None
        if len(words) != 2 or words[0] != "READY":
            raise WireGarbled("The agent's first line is not READY.", details=repr(words)[:500])
        assert self.first_byte_at is not None
        return self.first_byte_at, _number(words[1])

    def sources(self) -> list[Source]:
        """What to wait for where one loop reads several instances: `take` then reads what there is."""
        return [each for each in (self._wire, self._console) if each is not None]

    def take(self, readable: Sequence[Source]) -> None:
        """Read, without waiting, from those of its sources that are readable. Raises WireLost at the end."""
        if self._wire in readable:
            self._read_wire("the agent")
        if self._console in readable:
            self._read_console()

    def run(self, command: str, *, seconds: float) -> Answer:
        """Run a shell command in the instance, with a deadline of that many seconds there.

        Raises InstanceTimeout when the agent itself doesn't answer, WireLost when the instance dies.
        A command that fails or is killed at its deadline is an Answer: see `Answer.checked`.
        """
        request_id, self._next_id = self._next_id, self._next_id + 1
        whole = max(1, math.ceil(seconds))
        line = f"RUN {request_id} {whole} {escape(command)}\n".encode("ascii")
        if len(line) > MAX_COMMAND:
            raise InstanceError(f"The command is too long for one argument: {len(line)} bytes.")
        asked_at = self._clock.now()
        deadline = asked_at + whole * NS + GRACE
        self._send(line, deadline)
        words = self._line(deadline, f"the answer to `{_shown(command)}`").split()
        done_at = self._stamp or self._clock.now()
        status, cpu, uptime, sizes = _parse_done(words, request_id)
        body = self._bytes(sum(sizes), deadline, f"the output of `{_shown(command)}`")
        return Answer(
            command=command,
            status=status,
            cpu=cpu,
            uptime=uptime,
            stdout=body[: sizes[0]],
            stderr=body[sizes[0] :],
            asked_at=asked_at,
            done_at=done_at,
            timed_out=status in (124, 137) and done_at - asked_at >= whole * NS,
        )

    def bye(self) -> None:
        """Let the agent go; it may be gone already."""
        with contextlib.suppress(OSError):
            self._wire.send(b"BYE\n")

    def wait_end(self, deadline: int) -> int:
        """Wait for the end of file and return when it was read (ns). Raises InstanceTimeout."""
        while self.ended_at is None:
            with contextlib.suppress(WireLost):
                self._read_more(deadline, "the end of the wire")
                self._buffer.clear()
        return self.ended_at

    def close(self) -> None:
        """Close both channels, after what the console still holds has been read."""
        if self._console is not None:
            while self._clock.select([self._console], self._clock.now()) and self._read_console():
                pass
            if self._console is not None:
                self._console.close()
        self._wire.close()

    def _line(self, deadline: int, what: str) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > 4096:
                raise WireGarbled(f"Instead of {what} came no line at all.", details=repr(bytes(self._buffer[:200])))
            self._read_more(deadline, what)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.decode("ascii", errors="replace")

    def _bytes(self, count: int, deadline: int, what: str) -> bytes:
        if count > MAX_OUTPUT:
            raise WireGarbled(f"{count} bytes are announced for {what}; at most {MAX_OUTPUT} are taken.")
        while len(self._buffer) < count:
            self._read_more(deadline, what)
        body = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return body

    def _send(self, data: bytes, deadline: int) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._wire.send(bytes(view))
            except OSError as error:
                raise WireLost("The instance's end of the wire is gone.", details=str(error)) from error
            view = view[sent:]
            if view and not sent:
                self._read_more(deadline, "the agent to take a command")

    def _read_more(self, deadline: int, what: str) -> None:
        """Read what comes next on the wire, and on the way whatever the console says."""
        if self.ended_at is not None:
            raise WireLost(f"The wire ended while waiting for {what}.", details=self._tail())
        while True:
            sources: list[Source] = [self._wire]
            sources += [each for each in (self._console, self._starting) if each is not None]
            ready = self._clock.select(sources, deadline)
            if not ready:
                raise InstanceTimeout(f"The deadline came while waiting for {what}.", details=self._tail())
            if self._console in ready:
                self._read_console()
            if self._wire in ready and self._read_wire(what):
                return
            if self._starting is not None and self._starting in ready:
                starting, self._starting = self._starting, None
                outcome(starting)

    def _read_wire(self, what: str) -> bool:
        data = self._wire.recv()
        now = self._clock.now()
        if data is None:
            return False
        if not data:
            self.ended_at = now
            raise WireLost(f"The wire ended while waiting for {what}.", details=self._tail())
        self._buffer += data
        self._stamp = now
        self.first_byte_at = self.first_byte_at or now
        return True

    def _read_console(self) -> bool:
        assert self._console is not None
        data = self._console.recv()
        if data:
            self.console.add(data, self._clock.now())
        elif data == b"":
            self._console.close()
            self._console = None
        return bool(data) and self._console is not None

    def _tail(self) -> str:
        text = bytes(self.console.text[-1500:]).decode(errors="replace").replace("\r", "")
        return f"The console's end:\n{text}" if text else ""


def escape(command: str) -> str:
    """A command as one line of plain ASCII that printf's `%b` turns back into its bytes.

    Raises InstanceError for a NUL, which no argument can hold.
    """
    raw = command.encode()
    if b"\0" in raw:
        raise InstanceError("A command cannot hold a NUL byte.")
    plain = bytes(range(0x21, 0x7F)).replace(b"\\", b"")
    inner = "".join(chr(byte) if byte in plain or byte == 0x20 else f"\\0{byte:03o}" for byte in raw)
    # A space at either end would be lost between the words of the line.
    core = inner.strip(" ")
    before = len(inner) - len(inner.lstrip(" "))
    after = len(inner) - before - len(core)
    return "\\0040" * before + core + "\\0040" * after


def _parse_done(words: list[str], request_id: int) -> tuple[int, float, float, tuple[int, int]]:
    try:
        verb, answered, status, cpu, uptime, out, err = words
        if verb != "DONE" or int(answered) != request_id:
            raise ValueError
        seconds = sum(int(minutes) * 60 + float(rest) for minutes, rest in _CPU.findall(cpu))
        return int(status), seconds, float(uptime), (int(out), int(err))
    except ValueError:
        raise WireGarbled(
            f"The answer to RUN {request_id} is not DONE {request_id}.", details=repr(words)[:500]
        ) from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise WireGarbled("An uptime is not a number.", details=repr(word)) from None
