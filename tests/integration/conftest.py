"""The installed program, called as a user calls it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needs import TARE

Tare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """What private engines keep between these runs: not the one that other tests may have open at this moment."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def tare(tmp_path: Path, state: Path) -> Tare:
    """Calls it in an empty folder and returns what it said. `TARE_RUN` is the session's own."""
    environment = {**os.environ, "TARE_STATE": str(state), "NO_COLOR": "1", "COLUMNS": "200"}
    environment.pop("LIBVIRT_LOG_OUTPUTS", None)  # that of a connection in the tests' own process

    def call(*words: str | Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TARE, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
            stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip

    return call
