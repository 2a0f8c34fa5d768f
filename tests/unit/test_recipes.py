"""Where a rootfs comes from: which recipe on which host, what an engine is asked for, and what names none."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tare_bench import apt, cache, recipes, rootfs, system, tool
from tare_bench.errors import ImageError, UsageError

DEBIAN = system.Distribution("debian", "trixie", "13", "Debian 13")
FEDORA = system.Distribution("fedora", "", "42", "Fedora 42")


class Shelf:
    """An engine that holds images: each a root filesystem with only a shell in it."""

    def __init__(self) -> None:
        self.images = {"mine": "sha256:1"}
        self.asked: list[str] = []
        self.script = ""
        self.files: Mapping[str, bytes] = {}

    def find(self, reference: str) -> recipes.Held:
        return recipes.Held(self.images.setdefault(reference, f"sha256:{reference}"), 1000)

    def flatten(self, image: str, target: Path, *, script: str = "", files: Mapping[str, bytes] | None = None) -> None:
        self.asked.append(image)
        self.script, self.files = script, files or {}
        with tarfile.open(target, "w") as tar:
            for name, content in (("bin/sh", b"#!shell"), ("image", image.encode())):
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o755
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache.let_go()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Debian with apt, without mmdebstrap."""
    real = tool.find
    monkeypatch.setattr(tool, "find", lambda name: None if name == "mmdebstrap" else real(name) or f"/usr/bin/{name}")
    monkeypatch.setattr(system, "distribution", lambda: DEBIAN)
    monkeypatch.setattr(apt, "sources", lambda codename: f"Types: deb\nSuites: {codename}\n")
    monkeypatch.setattr(apt, "proxies", lambda: 'Acquire::http::Proxy "http://proxy.invalid";\n')
    return monkeypatch


def test_an_image_is_flattened_once() -> None:
    shelf = Shelf()
    first = rootfs.build("docker:mine", engine=shelf)
    assert first.recipe == "docker:mine (sha256:1)"
    assert rootfs.build("docker:mine", engine=shelf) == first
    assert shelf.asked == ["sha256:1"]
    assert not shelf.script


def test_a_tag_that_moved_is_built_anew() -> None:
    shelf = Shelf()
    first = rootfs.build("docker:mine", engine=shelf)
    shelf.images["mine"] = "sha256:2"
    assert rootfs.build("docker:mine", engine=shelf).digest != first.digest
    assert shelf.asked == ["sha256:1", "sha256:2"]


def test_an_image_takes_an_engine() -> None:
    assert rootfs.why_engine("docker:mine")
    with pytest.raises(ImageError, match="no container engine"):
        rootfs.build("docker:mine")


def test_without_mmdebstrap_the_packages_are_installed_in_a_container(bare: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    assert rootfs.why_engine("default") == "mmdebstrap is not installed"
    built = rootfs.build(engine=shelf)
    assert shelf.asked == ["sha256:debian:trixie-slim"]
    assert f" install {' '.join(recipes.WORKLOAD_PACKAGES)}\n" in shelf.script
    assert shelf.files["etc/apt/tare/tare.sources"] == b"Types: deb\nSuites: trixie\n"
    assert b"proxy.invalid" in shelf.files["etc/apt/apt.conf.d/99tare"]
    assert "the host's sources, in a container of debian:trixie-slim" in built.recipe
    assert "proxy" not in built.recipe
    assert rootfs.why_engine("default") == "", "what is in the cache takes no engine"
    assert rootfs.build() == built


def test_a_plans_own_packages_are_installed_too_and_are_another_recipe(bare: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    usual = rootfs.build(engine=shelf)
    built = rootfs.build(packages=["xz-utils"], engine=shelf)
    assert f" install {' '.join(sorted([*recipes.WORKLOAD_PACKAGES, 'xz-utils']))}\n" in shelf.script
    assert "xz-utils" in built.recipe
    assert built.recipe != usual.recipe
    bare.setattr(tool, "find", lambda name: f"/usr/bin/{name}")
    assert "--include=fio,redis-server,redis-tools,sysbench,xz-utils" in recipes.of("default", None, ["xz-utils"]).line


def test_another_recipe_is_another_rootfs(bare: pytest.MonkeyPatch) -> None:
    by_engine = recipes.of("default").digest
    bare.setattr(tool, "find", lambda name: f"/usr/bin/{name}")
    assert recipes.of("default").digest != by_engine
    assert recipes.of("default").line.startswith("mmdebstrap ")


def test_a_host_without_apt_takes_the_images_own_sources(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(system, "distribution", lambda: FEDORA)
    shelf = Shelf()
    built = rootfs.build(engine=shelf)
    assert shelf.asked == ["sha256:debian:stable-slim"]
    assert shelf.files == {}
    assert "from the image's sources" in built.recipe


def test_without_mmdebstrap_and_engine_the_way_out_is_named(bare: pytest.MonkeyPatch, own_cache: Path) -> None:
    with pytest.raises(ImageError, match="mmdebstrap is not installed") as caught:
        rootfs.build()
    assert "tare setup" in caught.value.hint
    assert "--rootfs" in caught.value.hint
    assert [path.name for path in (own_cache / "rootfs").iterdir()] == [".lock"]


def test_an_ordinary_user_without_namespaces_takes_the_engine(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(tool, "find", lambda name: f"/usr/bin/{name}")
    bare.setattr(system, "is_root", lambda: False)
    bare.setattr(tool, "AS_MAPPED_ROOT", ("/bin/false",))
    bare.setattr(system, "restricts_namespaces", lambda: True)
    why = rootfs.why_engine("default")
    assert "no user namespace" in why
    assert f"sysctl -w {system.APPARMOR_SWITCH}=0" in why


def test_an_empty_folder_is_no_rootfs(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is empty"):
        rootfs.build(str(tmp_path / "empty"))
    assert not own_cache.exists()


def test_what_does_not_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_kept_twice", lambda size: 1 << 60)
    shelf = Shelf()
    with pytest.raises(ImageError, match="not enough space for the rootfs"):
        rootfs.build("docker:mine", engine=shelf)
    assert shelf.asked == []


def test_what_is_built_needs_no_space(bare: pytest.MonkeyPatch) -> None:
    assert rootfs.needed() == recipes.DEFAULT_BYTES
    rootfs.build(engine=Shelf())
    assert rootfs.needed() == 0
