"""A run that is killed while an image of its instance is there: a sweep finds the image, and nothing is left."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import Foreign, foreign, furnish
from needs import TARE
from program import Tare
from tare_bench import paths
from tare_bench.drivers.docker_commit import REPOSITORY

pytestmark = [pytest.mark.needs("root")]

DEADLINE = 240.0


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    """A user's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, foreign(Path(name)) as running:
        Path(name).chmod(0o711)
        furnish(running.client)
        monkeypatch.setenv("DOCKER_HOST", running.url)
        yield running


def killed_when(driver: str, there: Callable[[], bool], folder: Path) -> None:
    """Run `commit` in that driver's instance, and kill the run once that is so."""
    words = [TARE, "run", "-d", driver, "-w", "commit", "--rounds", "1", "--results", folder / "results"]
    log = folder / "log"
    with log.open("wb") as file:
        run = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder)
    try:
        until = time.monotonic() + DEADLINE
        while not there():
            assert run.poll() is None, f"it ended before that: {log.read_text()}"
            assert time.monotonic() < until, log.read_text()
            threading.Event().wait(0.002)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()


@pytest.mark.needs("docker")
def test_an_image_in_a_users_engine_is_found_by_its_label(engine: Foreign, tare: Tare, tmp_path: Path) -> None:
    def ours() -> list[str]:
        tags = [tag for each in engine.client.images() for tag in each["RepoTags"] or []]
        return [tag for tag in tags if tag.startswith(REPOSITORY)]

    before = engine.belongings()
    killed_when("docker", lambda: bool(ours()), tmp_path)
    [name] = ours()
    swept = tare("sweep")
    assert swept.returncode == 0, swept.stderr
    assert f"image {name}" in swept.stdout
    assert ours() == []
    assert engine.belongings() == before
    assert len(engine.our_images()) == 1, "the rootfs's own stays"


@pytest.mark.needs("kvm")
def test_a_guests_snapshot_stands_in_the_lease(tare: Tare, tmp_path: Path) -> None:
    others = _runs()

    def ours() -> list[Path]:
        overlays = paths.cache_dir() / "overlays"
        return [each for run in _runs() - others for each in overlays.glob(f"{run}-*")]

    killed_when("kvm", lambda: len(ours()) > 1, tmp_path)
    left = ours()
    assert len(left) == 2
    swept = tare("sweep")
    assert swept.returncode == 0, swept.stderr
    assert all(f"file {each}" in swept.stdout for each in left)
    assert not [each for each in left if each.exists()]
    assert _runs() == others


def _runs() -> set[str]:
    return {each.name for each in paths.runtime_dir().iterdir() if each.is_dir()}
