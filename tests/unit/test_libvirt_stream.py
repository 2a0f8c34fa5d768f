"""A stream of libvirt's as a channel: what it hands on, and how it ends."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import pytest
from tare_bench.drivers.libvirt_stream import WOULD_BLOCK, StreamChannel


class Library:
    """libvirt's names."""

    VIR_STREAM_NONBLOCK = VIR_STREAM_EVENT_READABLE = VIR_STREAM_EVENT_ERROR = VIR_STREAM_EVENT_HANGUP = 1

    class libvirtError(Exception):  # noqa: N801 - its own name
        pass


class Stream:
    """One whose events a test makes itself."""

    def __init__(self) -> None:
        self.call: Callable[..., None] | None = None
        self.comes: list[Any] = []
        self.sent: list[bytes] = []
        self.takes: Any = None
        self.aborted = 0

    def newStream(self, flags: int) -> Stream:  # noqa: N802 - libvirt's name
        return self

    def eventAddCallback(self, events: int, call: Callable[..., None], opaque: object) -> None:  # noqa: N802
        self.call = call

    def eventRemoveCallback(self) -> None:  # noqa: N802
        assert self.call is not None, "removed twice"
        self.call = None

    def recv(self, size: int) -> Any:
        return self._or_raise(self.comes.pop(0))

    def send(self, data: bytes) -> Any:
        self.sent.append(data)
        return len(data) if self.takes is None else self._or_raise(self.takes)

    def abort(self) -> None:
        self.aborted += 1
        raise Library.libvirtError("it has ended already")

    def _or_raise(self, value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    def comes_in(self, value: Any) -> None:
        self.comes.append(value)
        assert self.call is not None
        self.call(self, 1, None)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def channel(stream: Stream) -> StreamChannel:
    made = StreamChannel(Library, stream)
    made.listen()
    return made


def readable(channel: StreamChannel) -> bool:
    return bool(select.select([channel.fileno()], [], [], 0)[0])


def test_it_is_readable_as_long_as_there_is_something(channel: StreamChannel, stream: Stream) -> None:
    assert not readable(channel)
    assert channel.recv() is None
    stream.comes_in(b"READY ")
    stream.comes_in(b"1.00\n")
    stream.comes_in(WOULD_BLOCK)
    assert readable(channel)
    assert channel.recv() == b"READY 1.00\n"
    assert not readable(channel)
    channel.close()


@pytest.mark.parametrize("end", [b"", Library.libvirtError("the connection is gone")])
def test_at_its_end_it_stays_readable_after_the_last_bytes(channel: StreamChannel, stream: Stream, end: object) -> None:
    stream.comes_in(b"last")
    stream.comes_in(end)
    assert stream.call is None
    assert channel.recv() == b"last"
    for _ in range(2):
        assert readable(channel)
        assert channel.recv() == b""
    channel.close()


def test_what_does_not_fit_is_not_sent_and_what_cannot_is_an_oserror(channel: StreamChannel, stream: Stream) -> None:
    assert channel.send(b"RUN") == 3
    stream.takes = WOULD_BLOCK
    assert channel.send(b"RUN") == 0
    stream.takes = Library.libvirtError("gone")
    with pytest.raises(OSError, match="gone"):
        channel.send(b"RUN")
    channel.close()


def test_it_is_closed_once(channel: StreamChannel, stream: Stream) -> None:
    call = stream.call
    channel.close()
    channel.close()
    assert stream.aborted == 1
    assert stream.call is None
    assert call is not None
    stream.comes.append(b"late")
    call(stream, 1, None)  # in flight in the event loop while it was closed
