"""A container without Tare: the plain script that a careful person would write with the SDK's low-level API.

Create, attach, start, read the first byte of the agent's READY, kill, remove. Whatever it is told about the container
comes from Tare's driver, so the engine does the same work for both.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import docker
import docker.errors

ATTACH = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
HEADER = 8
"""Bytes before each frame of an attach stream without a terminal."""


def client(run_folder: Path) -> docker.APIClient:
    """A client of the engine that serves the run: its private one, or the one that the environment names."""
    private = run_folder / "docker/docker.sock"
    if private.exists():
        return docker.APIClient(base_url=f"unix://{private}", version="auto", timeout=120)
    return docker.from_env(version="auto", timeout=120).api


def boot(api: docker.APIClient, body: dict[str, Any], name: str, seconds: float) -> dict[str, float]:
    """Boot a container and remove it. Returns its milestones, in seconds from the request.

    Raises TimeoutError when nothing comes, ConnectionError when the stream ends, and the SDK's own errors.
    """
    asked = time.monotonic_ns()
    container: str = api.create_container_from_config(body, name)["Id"]  # type: ignore[no-untyped-call]
    try:
        created = time.monotonic_ns()
        response = api.attach_socket(container, ATTACH)
        wire: socket.socket = response._sock  # over a UNIX socket the SDK hands out a SocketIO around it
        try:
            # READY is there before the start call returns: that call waits beside, or the stamp would come too late.
            starting = threading.Thread(target=api.start, args=(container,))
            started = time.monotonic_ns()
            starting.start()
            ready = first_byte(wire, seconds)
            starting.join()
        finally:
            wire.close()
            response.close()
        stamps = {"created": created, "started": started, "ready": ready}
        return {moment: (at - asked) / 1e9 for moment, at in stamps.items()}
    finally:
        remove(api, container)


def first_byte(wire: socket.socket, seconds: float) -> int:
    """When the first byte of READY was read, in nanoseconds of CLOCK_MONOTONIC."""
    wire.settimeout(seconds)
    data = b""
    while len(data) <= HEADER:
        more = wire.recv(4096)
        at = time.monotonic_ns()
        if not more:
            raise ConnectionError("the attach stream ended before READY")
        data += more
    if not data[HEADER:].startswith(b"R"):
        raise ConnectionError(f"not READY: {data!r}")
    return at


def remove(api: docker.APIClient, container: str) -> None:
    """Kill it and remove it, in any state."""
    with contextlib.suppress(docker.errors.APIError):  # not running: then there is nothing to kill
        api.kill(container)
    api.remove_container(container, force=True, v=True)
