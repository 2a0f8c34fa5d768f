"""The installed program, called as a user calls it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import TARE
from program import Tare


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """What private engines keep between these runs: not the one that other tests may have open at this moment."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def tare(tmp_path: Path, state: Path) -> Tare:
    """Calls it in an empty folder and returns what it said. `TARE_RUN` is the session's own, or the test's."""

    def call(*words: str | Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TARE_STATE": str(state), "NO_COLOR": "1", "COLUMNS": "200"}
        environment.pop("LIBVIRT_LOG_OUTPUTS", None)  # that of a connection in the tests' own process
        return subprocess.run(
            [TARE, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
            stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip

    return call
