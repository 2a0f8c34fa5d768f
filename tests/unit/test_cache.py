"""The cache: what is used is not removed, what does not fit is refused, and a full disk is said to be full."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import cache
from tare_bench.errors import ImageError

GIB = 1 << 30


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    cache.let_go()


def thing(area: Path) -> Path:
    (area / "thing").mkdir(parents=True)
    (area / "thing/file").write_text("content")
    return area / "thing"


def names(area: Path) -> list[str]:
    return sorted(path.name for path in area.iterdir())


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    assert cache.discard(thing(tmp_path))
    assert names(tmp_path) == []


def test_what_is_held_stays(tmp_path: Path) -> None:
    held = thing(tmp_path)
    cache.hold(held)
    cache.hold(held)
    assert not cache.discard(held)
    assert (held / "file").read_text() == "content"
    cache.let_go()
    assert cache.discard(held)


def test_what_a_dead_process_held_is_free(tmp_path: Path) -> None:
    held = thing(tmp_path)
    code = "import sys; from pathlib import Path; from tare_bench import cache; cache.hold(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(held)], check=True)
    assert cache.discard(held)


def test_a_folder_that_came_again_is_held_anew(tmp_path: Path) -> None:
    cache.hold(thing(tmp_path))
    shutil.rmtree(tmp_path / "thing")
    again = thing(tmp_path)
    cache.hold(again)
    assert not cache.discard(again)


def test_its_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was half removed is never taken for the whole, and the next build removes the rest."""

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.discard(thing(tmp_path))
    assert names(tmp_path) == [".new-thing"]
    monkeypatch.undo()
    with cache.area(tmp_path, say=print):
        assert names(tmp_path) == [".lock"]


def test_nobody_waits_who_does_not_want_to(tmp_path: Path) -> None:
    with cache.area(tmp_path, say=print), pytest.raises(BlockingIOError), cache.area(tmp_path, say=print, wait=False):
        pass


def test_room_is_asked_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    cache.require_room(tmp_path / "not/yet", 1, "a thing")
    with pytest.raises(ImageError, match="not enough space for a thing") as caught:
        cache.require_room(tmp_path / "not/yet", free + 100 * GIB, "a thing")
    assert f"free in {tmp_path}/not/yet" in caught.value.details
    assert "TARE_CACHE" in caught.value.hint
    assert "tare images remove" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ImageError("tar: exit status 2", details="tar: x: Cannot write: No space left on device"),
    ],
)
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(ImageError, match="is full") as caught, cache.staged(tmp_path):
        raise error
    assert "No space left on device" in caught.value.details
    assert "tare images remove" in caught.value.hint
    assert names(tmp_path) == []


def test_a_program_that_does_not_say_why_failed_for_want_of_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage._replace(free=0))  # type: ignore[attr-defined]
    with pytest.raises(ImageError, match="is full"), cache.staged(tmp_path):
        raise ImageError("mke2fs: exit status 1")


def test_other_failures_keep_their_words(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="exit status 1"), cache.staged(tmp_path):
        raise ImageError("mke2fs: exit status 1")


def test_a_cache_that_cannot_be_written_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot build"), cache.area(tmp_path / "file/area", say=print):
        pass
