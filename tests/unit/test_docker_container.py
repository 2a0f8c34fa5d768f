"""The attach stream, frame by frame; what the engine says of memory."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
from tare_bench.drivers.docker_container import FramedChannel, stats


@pytest.fixture
def engine() -> Iterator[tuple[socket.socket, FramedChannel]]:
    """The engine's end, and ours."""
    theirs, ours = socket.socketpair()
    channel = FramedChannel(ours)
    with theirs:
        yield theirs, channel
        channel.close()


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def test_frames_are_taken_apart_however_they_come(engine: tuple[socket.socket, FramedChannel]) -> None:
    theirs, channel = engine
    assert channel.recv() is None
    whole = frame(1, b"one") + frame(2, b"complaint") + frame(1, b"two")
    got = b""
    for byte in whole:
        theirs.send(bytes([byte]))
        got += channel.recv() or b""
    assert got == b"onetwo"
    assert channel.stderr == b"complaint"
    theirs.send(whole + frame(1, b"rest")[:9])
    assert channel.recv() == b"onetwo"
    assert channel.recv() is None
    theirs.shutdown(socket.SHUT_WR)
    assert channel.recv() == b""


class Halfway(socket.socket):
    """A TLS stream in the midst of a record."""

    def recv(self, *words: object) -> bytes:
        raise ssl.SSLWantReadError

    def send(self, *words: object) -> int:
        raise ssl.SSLWantWriteError


def test_half_a_tls_record_is_nothing_yet() -> None:
    channel = FramedChannel(Halfway())
    assert channel.recv() is None
    assert channel.send(b"x") == 0
    channel.close()


@pytest.mark.parametrize("split", [{"total_inactive_file": 30, "inactive_file": 7}, {"inactive_file": 30}])
def test_docker_stats_is_the_charge_less_the_page_cache_that_was_not_used_lately(split: dict[str, int]) -> None:
    found = stats({"usage": 100, "max_usage": 200, "stats": split})
    assert found == {"docker stats": 70, "charged": 100, "inactive": 30}


def test_an_engine_that_accounts_for_nothing_says_nothing() -> None:
    assert stats({}) == {}
    assert stats({"usage": 0, "stats": {}}) == {}
    assert stats({"usage": 10, "stats": {"inactive_file": 20}})["docker stats"] == 10
