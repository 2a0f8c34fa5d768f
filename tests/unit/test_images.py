"""What the cache holds: listed, chosen and removed; never what is used, never what is not the cache's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import cache, footprint, images, paths, rootfs
from tare_bench.errors import TareError, UsageError


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TARE_STATE", str(tmp_path / "state"))
    yield tmp_path / "cache"
    cache.let_go()


def put(area: str, name: str, note: str, at: int = 1_800_000_000, **facts: str) -> Path:
    folder = paths.cache_dir() / area / name
    folder.mkdir(parents=True)
    (folder / "content").write_bytes(bytes(10_000))
    if note:
        (folder / note).write_text(json.dumps(facts))
        os.utime(folder / note, (at, at))
    return folder


def default(monkeypatch: pytest.MonkeyPatch) -> rootfs.Rootfs:
    folder = put("rootfs", "aaaa000011112222", "rootfs.json", digest="sha256:aaaa", recipe="the default")
    current = rootfs.Rootfs("sha256:aaaa", folder, 1, "the default", {})
    monkeypatch.setattr(rootfs, "current", lambda: current)
    return current


def ids(found: list[images.Image]) -> list[str]:
    return [image.id for image in found]


def test_each_thing_is_listed_with_what_is_known_of_it() -> None:
    folder = put("rootfs", "aaaa000011112222", "rootfs.json", digest="sha256:aaaa", recipe="the folder /x")
    put("guest", "bbbb", "image.json", digest="sha256:kkkk", how="mke2fs", rootfs="sha256:aaaa")
    put("kernel", "linux-6", "kernel.json", digest="sha256:kkkk", how="package linux")
    put("busybox", "static", "")
    (paths.state_dir() / "docker").mkdir(parents=True)
    found = images.found()
    kinds = ["rootfs", "guest disk", "kernel", "busybox", "private engine's data"]
    assert [image.kind for image in found] == kinds
    assert ids(found) == ["aaaa000011112222", "bbbb", "linux-6", "busybox", "private-engine"]
    assert [image.digest for image in found] == ["sha256:aaaa", "", "sha256:kkkk", "", ""]
    assert found[0].made_at == "2027-01-15T08:00:00Z"
    assert found[0].allocated == footprint.allocated([folder]) >= 10_000
    assert [image.how for image in found[:4]] == ["the folder /x", "mke2fs", "package linux", "package busybox-static"]


def test_what_is_half_built_or_a_link_is_not_listed(tmp_path: Path) -> None:
    put("rootfs", ".new-x", "rootfs.json")
    put("rootfs", "recipes", "")
    (paths.cache_dir() / "rootfs/link").symlink_to(tmp_path)
    assert images.found() == []


def test_a_torn_note_is_no_bug() -> None:
    (put("kernel", "linux-6", "") / "kernel.json").write_text('{"dig')
    assert images.found()[0].how == "unknown"


def test_ids_and_their_beginnings_are_understood() -> None:
    for name in ("abcd1", "abcd2", "ef"):
        put("guest", name, "image.json")
    found = images.found()
    assert ids(images.chosen(["e", "ef", "abcd1"], found)) == ["ef", "abcd1"]
    with pytest.raises(UsageError, match="several"):
        images.chosen(["abcd"], found)
    with pytest.raises(UsageError) as caught:
        images.chosen(["abdc1"], found)
    assert "Did you mean `abcd1`?" in caught.value.hint


def test_removed_is_removed_and_counted() -> None:
    put("kernel", "linux-6", "kernel.json")
    [image] = images.found()
    assert images.remove([image]) == image.allocated
    assert images.found() == []
    assert [path.name for path in (paths.cache_dir() / "kernel").iterdir()] == [".lock"]


def test_the_index_forgets_a_removed_rootfs() -> None:
    put("rootfs", "aaaa", "rootfs.json")
    put("rootfs", "bbbb", "rootfs.json")
    recipes = paths.cache_dir() / "rootfs/recipes"
    recipes.mkdir()
    for name in ("aaaa", "bbbb"):
        (recipes / f"{name}.json").write_text(json.dumps({"folder": name}))
    images.remove(images.chosen(["aaaa"], images.found()))
    assert [path.name for path in recipes.iterdir()] == ["bbbb.json"]


def test_what_is_held_or_built_beside_stays_and_the_rest_goes() -> None:
    cache.hold(put("guest", "held", "image.json"))
    put("guest", "free", "image.json")
    put("kernel", "linux-6", "kernel.json")
    with cache.area(paths.cache_dir() / "kernel", say=print), pytest.raises(TareError) as caught:
        images.remove(images.found())
    assert "guest disk held: a run" in caught.value.details
    assert "kernel linux-6: a run" in caught.value.details
    assert ids(images.found()) == ["held", "linux-6"]


def test_an_engine_that_runs_keeps_its_data() -> None:
    data = paths.state_dir() / "docker"
    data.mkdir(parents=True)
    (data / "file").touch()
    with (paths.state_dir() / "docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TareError):
            images.remove(images.found())
        assert (data / "file").exists()
    images.remove(images.found())
    assert not data.exists()


def test_unused_is_what_the_default_would_not_take_up(monkeypatch: pytest.MonkeyPatch) -> None:
    default(monkeypatch)
    put("rootfs", "other", "rootfs.json", digest="sha256:other")
    put("guest", "older", "image.json", at=1, digest="sha256:old", rootfs="sha256:aaaa")
    put("guest", "newer", "image.json", at=2, digest="sha256:kkkk", rootfs="sha256:aaaa")
    put("guest", "others", "image.json", at=3, digest="sha256:kkkk", rootfs="sha256:other")
    put("kernel", "linux-5", "kernel.json", at=9, digest="sha256:old")
    put("kernel", "linux-6", "kernel.json", at=1, digest="sha256:kkkk")
    put("busybox", "static", "")
    assert ids(images.unused(images.found())) == ["other", "older", "others", "linux-5"]


def test_without_a_default_the_newest_kernel_is_no_waste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "current", lambda: None)
    put("rootfs", "other", "rootfs.json")
    put("kernel", "linux-5", "kernel.json", at=1)
    put("kernel", "linux-6", "kernel.json", at=2)
    assert ids(images.unused(images.found())) == ["other", "linux-5"]
