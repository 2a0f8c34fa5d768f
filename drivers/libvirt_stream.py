"""A guest's end of a stream from libvirt's daemon, as a channel.

A daemon's QEMU need not be able to reach our sockets (another user's, confined by AppArmor or SELinux). So the daemon
opens the guest's port for us, and its bytes come over our connection to it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

WOULD_BLOCK = -2
_CHUNK = 1 << 18


class StreamChannel:
    """A virStream whose bytes libvirt's event loop collects, so that we can wait for it as for a socket."""

    def __init__(self, lv: Any, connection: Any) -> None:
        self._lv = lv
        self.stream = connection.newStream(lv.VIR_STREAM_NONBLOCK)
        self._arrived = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._ended = self._closed = self._listening = False

    def listen(self) -> None:
        """Have bytes collected from now on: once the stream has been opened."""
        events = self._lv.VIR_STREAM_EVENT_READABLE | self._lv.VIR_STREAM_EVENT_ERROR
        self.stream.eventAddCallback(events | self._lv.VIR_STREAM_EVENT_HANGUP, self._collect, None)
        self._listening = True

    def _collect(self, stream: Any, events: int, opaque: object) -> None:
        """In libvirt's event loop: take what there is. An error is the stream's end."""
        try:
            data = stream.recv(_CHUNK)
        except self._lv.libvirtError:
            data = b""
        if data == WOULD_BLOCK:
            return
        with self._lock:
            if self._closed:
                return
            self._buffer += data
            self._ended = self._ended or not data
            os.eventfd_write(self._arrived, 1)
        if not data:
            self._deafen()

    def _deafen(self) -> None:
        with self._lock:
            listening, self._listening = self._listening, False
        if listening:
            with contextlib.suppress(self._lv.libvirtError):  # the connection is gone, and the callback with it
                self.stream.eventRemoveCallback()

    def fileno(self) -> int:
        return self._arrived

    def recv(self) -> bytes | None:
        with self._lock:
            data = bytes(self._buffer)
            self._buffer.clear()
            if not self._ended:  # else it stays readable, as a socket does at its end
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._arrived)
            return data if data or self._ended else None

    def send(self, data: bytes) -> int:
        try:
            sent = self.stream.send(data[:_CHUNK])
        except self._lv.libvirtError as error:
            raise OSError(str(error)) from error
        return 0 if sent == WOULD_BLOCK else int(sent)

    def close(self) -> None:
        """Let the guest's end see the end. Twice too."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._deafen()
        with contextlib.suppress(self._lv.libvirtError):  # never opened, or ended already
            self.stream.abort()
        os.close(self._arrived)
