"""Where Tare keeps things: what can be made again, what must survive, and what lives as long as a run."""

from __future__ import annotations

import os
from pathlib import Path


def _folder(override: str, system: str, xdg: str, fallback: str) -> Path:
    if chosen := os.environ.get(override):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path(system)
    return Path(os.environ.get(xdg) or Path.home() / fallback) / "tare"


def cache_dir() -> Path:
    """What can be made again: rootfs, disks, kernels. `TARE_CACHE` changes it."""
    return _folder("TARE_CACHE", "/var/cache/tare", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What a private engine keeps between runs. `TARE_STATE` changes it."""
    return _folder("TARE_STATE", "/var/lib/tare", "XDG_STATE_HOME", ".local/state")


def runtime_dir() -> Path:
    """The runs that are alive, and what killed ones left: a folder each. `TARE_RUN` changes it.

    Short, since a socket's path has 108 bytes.
    """
    if chosen := os.environ.get("TARE_RUN"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/tare")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/tare-{os.geteuid()}") / "tare"
