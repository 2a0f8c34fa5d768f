"""Images as a user meets them: built beforehand and without a network, listed, removed; and out of a real engine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Tare
from tare_bench import apt, cache, leases, recipes, rootfs, system, tool
from tare_bench.driver import LABEL_RUN, RunContext
from tare_bench.drivers import docker_endpoint, guest_image
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.drivers.docker_images import NO_NETWORK, DockerImages
from tare_bench.errors import ImageError

REPOSITORY = "Types: deb\nURIs: file:/repository\nSuites: ./\nTrusted: yes\n"
CONTROL = """\
Package: tare-hello
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@invalid>
Description: nothing
"""
BASE = "debian:tare-test"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache.let_go()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A root filesystem with a busybox and nothing else."""
    busybox = guest_image._static_busybox(print)
    (tmp_path / "small/bin").mkdir(parents=True)
    (tmp_path / "small/bin/busybox").write_bytes(busybox.read_bytes())
    (tmp_path / "small/bin/busybox").chmod(0o755)
    (tmp_path / "small/bin/sh").symlink_to("busybox")
    return tmp_path / "small"


@pytest.fixture
def plan(tmp_path: Path) -> None:
    """In the folder that the program is called in: no guests, whose kernel would be downloaded for this one test."""
    (tmp_path / "tare.toml").write_text('[[arm]]\ndriver = "native"\n[[arm]]\ndriver = "docker"\n')


@pytest.mark.needs("root")
@pytest.mark.needs("docker")
@pytest.mark.usefixtures("plan")
def test_built_listed_held_and_removed(tare: Tare, own_cache: Path, small: Path) -> None:
    done = tare("images", "build", "--rootfs", small, "--json")
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)
    assert built["ready"] == ["docker", "native"]
    digest = built["rootfs"]["digest"]
    listed = json.loads(tare("images", "list", "--json").stdout)
    assert listed["total_bytes"] == sum(each["allocated_bytes"] for each in listed["images"])
    [mine] = [each for each in listed["images"] if each["kind"] == "rootfs"]
    assert (mine["digest"], mine["how"]) == (digest, f"the folder {small}")
    code = "import sys; from tare_bench import rootfs; rootfs.build(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(small)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdout.readline()
        held = tare("images", "remove", mine["id"])
        user.stdin.close()
    assert held.returncode == 1
    assert "using it" in held.stderr
    assert mine["id"] in tare("images", "list").stdout
    removed = json.loads(tare("images", "remove", mine["id"][:6], "--json").stdout)
    assert removed == {"removed": [mine["id"]], "freed_bytes": mine["allocated_bytes"]}
    assert mine["id"] not in tare("images", "list").stdout


@pytest.mark.needs("root")
@pytest.mark.needs("native")
def test_what_is_built_needs_no_network(own_cache: Path, small: Path, tmp_path: Path) -> None:
    """Not even the host's: the second time, in a network namespace in which not even the loopback is up."""
    packed = tmp_path / "small.tar"
    subprocess.run(["tar", "-cf", packed, "-C", small, "."], check=True)
    tare = [sys.executable, "-c", "from tare_bench.cli import main; main()"]
    words = [*tare, "images", "build", "--json", "--rootfs", str(packed)]
    plain = {**os.environ, "TARE_RUN": str(tmp_path / "run"), "TARE_STATE": str(tmp_path / "state")}
    (tmp_path / "tare.toml").write_text('[[arm]]\ndriver = "native"\n')
    for within in ([], ["unshare", "-n"]):
        done = subprocess.run([*within, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=plain)
        assert done.returncode == 0, done.stderr
        assert ("building the rootfs" in done.stderr) == (not within)


@pytest.mark.needs("root", "docker", "private-engine")
@pytest.mark.usefixtures("plan", "own_cache")
def test_a_private_engine_says_that_it_cannot_pull(tare: Tare) -> None:
    done = tare("images", "build", "--rootfs", "docker:tare-test/none")
    assert done.returncode == 1
    assert "opening the docker engine: the rootfs is an image of the engine" in done.stderr
    assert "There is no image tare-test/none" in done.stderr
    assert NO_NETWORK in done.stderr


@pytest.mark.parametrize("words", [("list", "x"), ("remove",), ("remove", "--all", "--unused"), ("remove", "nosuch")])
@pytest.mark.usefixtures("own_cache")
def test_what_makes_no_sense_is_refused(tare: Tare, words: tuple[str, ...]) -> None:
    done = tare("images", *words)
    assert done.returncode == 2
    assert "what to do" in done.stderr


@pytest.mark.needs("root")
def test_a_small_disk_is_refused_beforehand_and_said_to_be_full_when_it_fills(tmp_path: Path, small: Path) -> None:
    """On a file system of 8 MiB, seen in a mount namespace only."""
    room = tmp_path / "room"
    room.mkdir()
    (small / "bulk").write_bytes(os.urandom(5 << 20))
    code = """
import sys
from tare_bench import recipes, rootfs
from tare_bench.errors import ImageError
for estimate in (lambda size: 2 * size, lambda size: 0):
    recipes._kept_twice = estimate
    try:
        rootfs.build(sys.argv[1])
    except ImageError as error:
        print(error.brief)
"""
    script = 'mount -t tmpfs -o size=8m tmpfs "$TARE_CACHE" && "$@" && ls -A "$TARE_CACHE/rootfs"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-c", code, str(small)],
        capture_output=True, text=True, check=True, env={**os.environ, "TARE_CACHE": str(room)},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "not enough space for the rootfs",
        f"the disk of {room}/rootfs is full",
        ".lock",
    ]


def _nobody(options: object) -> None:
    raise docker_endpoint.NoEngine("No Docker engine answers.")


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerImages]:
    """A private engine, which has no network."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(docker_endpoint, "find", _nobody)  # a user's own is left alone
        patch.setenv("TARE_STATE", os.environ["TARE_STATE"] + "-images")
        stack.callback(tool.run, ["rm", "-rf", os.environ["TARE_STATE"]])
        lease = leases.take(f"images-{os.getpid()}")
        stack.callback(lease.release)
        driver = stack.enter_context(contextlib.closing(DockerDriver()))
        driver.open(RunContext(lease.folder.name, lease.folder, lease, (0,)))
        yield DockerImages(driver.client, {LABEL_RUN: lease.folder.name}, no_network=NO_NETWORK)
        assert driver.client.containers(all=True) == []


@pytest.mark.needs("root")
@pytest.mark.needs("docker")
@pytest.mark.usefixtures("own_cache")
def test_a_rootfs_out_of_an_image(engine: DockerImages, small: Path, tmp_path: Path) -> None:
    assert "error" not in imported(engine, rootfs.build(str(small)).tar, "tare-test/small:one")
    first = rootfs.build("docker:tare-test/small:one", engine=engine)
    assert first.digest == rootfs.build(str(small)).digest, "all that an engine adds is cleaned away"
    (small / "more").touch()
    imported(engine, rootfs.build(str(small)).tar, "tare-test/small:one")
    moved = rootfs.build("docker:tare-test/small:one", engine=engine)
    assert moved.digest != first.digest
    assert moved.recipe.startswith("docker:tare-test/small:one (sha256:")


@pytest.mark.needs("root")
@pytest.mark.needs("docker")
@pytest.mark.usefixtures("own_cache")
def test_an_image_that_cannot_be_used_is_named(engine: DockerImages, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no image tare-test/none") as caught:
        rootfs.build("docker:tare-test/none", engine=engine)
    assert NO_NETWORK in caught.value.details
    with pytest.raises(ImageError, match="Not//valid"):
        rootfs.build("docker:Not//valid", engine=engine)
    engine._client.load_image(foreign_image("tare-test/foreign:latest"))
    with pytest.raises(ImageError, match="is not for this machine") as caught:
        rootfs.build("docker:tare-test/foreign", engine=engine)
    assert "linux/s390x" in caught.value.details


@pytest.mark.needs("root")
@pytest.mark.needs("docker")
@pytest.mark.usefixtures("own_cache")
def test_without_mmdebstrap_packages_are_installed_in_a_container(
    engine: DockerImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a repository that lies in the base image, since this engine has no network."""
    base = tmp_path / "base.tar"
    tool.run(["mmdebstrap", "--quiet", "--variant=apt", system.distribution().codename, str(base)], seconds=tool.LARGE)
    add_repository(base, tmp_path)
    assert "error" not in imported(engine, base, BASE)
    real = tool.find
    monkeypatch.setattr(tool, "find", lambda name: None if name == "mmdebstrap" else real(name))
    monkeypatch.setattr(recipes, "_KNOWN", {system.distribution().id: BASE})
    monkeypatch.setattr(recipes, "WORKLOAD_PACKAGES", ("tare-hello",))
    monkeypatch.setattr(
        apt, "sources", lambda codename: "Types: deb\nURIs: file:/repository\nSuites: ./\nTrusted: yes\n"
    )
    built = rootfs.build(engine=engine)
    assert built.packages["tare-hello"] == "1.0"
    assert (built.tree / "usr/share/tare-hello").is_file()
    assert not list((built.tree / "etc/apt").glob("*")), "the host's sources and proxies are no part of it"
    monkeypatch.setattr(recipes, "WORKLOAD_PACKAGES", ("tare-none",))
    with pytest.raises(ImageError, match="could not be installed") as caught:
        rootfs.build(engine=engine)
    assert "Unable to locate package tare-none" in caught.value.details
    assert NO_NETWORK in caught.value.details


def imported(engine: DockerImages, tar: Path, name: str) -> str:
    repository, tag = name.split(":")
    return engine._client.import_image_from_file(str(tar), repository=repository, tag=tag)


def foreign_image(name: str) -> bytes:
    """An image as `docker save` writes it, without a file in it, for another machine."""
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    diff = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {"architecture": "s390x", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": config, "manifest.json": manifest}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in [
            ("layer.tar", layer.getvalue()),
            *((path, json.dumps(each).encode()) for path, each in files.items()),
        ]:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def add_repository(base: Path, scratch: Path) -> None:
    """Put a package repository with one tiny package into a root filesystem's tar file."""
    package = scratch / "package"
    (package / "usr/share").mkdir(parents=True)
    (package / "usr/share/tare-hello").touch()
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text(CONTROL)
    deb = scratch / "repository/tare-hello.deb"
    deb.parent.mkdir()
    tool.run(["dpkg-deb", "--build", package, deb])
    content = deb.read_bytes()
    index = f"{CONTROL}Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (deb.parent / "Packages").write_text(index)
    tool.run(["tar", "--append", "--file", base, "--directory", scratch, "./repository"])
