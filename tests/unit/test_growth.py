"""What a disk grows by, and an image of an instance: on fake instances that have a real folder as their disk."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tare_bench import footprint
from tare_bench.crowd import Crowd
from tare_bench.driver import Accounts, Instance
from tare_bench.drivers.fake import Behaviour, FakeDriver, FakeInstance, Reply
from tare_bench.errors import InstanceError, InstanceTimeout
from tare_bench.model import Scalar, Spec
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.commit import Commit
from tare_bench.workloads.growth import SLACK, DiskChanged, DiskWritten

ROOMY = 10**9
LS = "-rw-r--r-- 1 0 0 {size} Jan  1  1980 {path}\n"


@dataclass
class Disked(Behaviour):
    """As an instance whose work folder is a folder here."""

    folder: Path = Path()
    room: int = ROOMY
    files: Sequence[tuple[int, str]] = ((9_000_000, "/usr/lib/it's large"),)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Paths that cannot be written to, and why."""
    loses: bool = False
    dropping: Callable[[], None] | None = None

    def reply(self, command: str) -> Reply | None:
        if command == "sync":
            return Reply()
        if command == "df -Pk .":
            return Reply(f"head\n/dev/x 1 2 {self.room // 1024} 5% /\n".encode())
        if command.startswith("find "):
            return Reply("".join(LS.format(size=size, path=path) for size, path in self.files).encode())
        if found := re.search(r"head -c (\d+) >(\S+);", command):
            (self.folder / found[2]).write_bytes(os.urandom(int(found[1])))
            return Reply()
        if command.startswith(("dd if=/usr/", "dd if='", "dd if=/bin/")):
            _, source, _, skip, *_, target, _, seek, _, _ = shlex.split(command)
            assert source.removeprefix("if=") == target.removeprefix("of=")
            assert skip.removeprefix("skip=") == seek.removeprefix("seek=")
            return self._changed(source.removeprefix("if="), int(skip.removeprefix("skip=")))
        if found := re.match(r"stat -c %s (\S+)", command):
            there = not self.loses and self.folder / found[1]
            return Reply(f"{there.stat().st_size}\n".encode()) if there else Reply(b"no such file", status=1)
        return super().reply(command)

    def _changed(self, path: str, at: int) -> Reply:
        if why := self.refused.get(path):
            return Reply(stderr=f"dd: {path}: {why}\n".encode(), status=1)
        assert at == {name: size for size, name in self.files}[path] // 2
        (self.folder / "copied-up").write_bytes(os.urandom(9_000_000))
        return Reply()


class OnDisk(FakeInstance):
    def accounts(self) -> Accounts:
        behaviour = self._driver.behaviour
        assert isinstance(behaviour, Disked)
        return Accounts(files=(behaviour.folder,))


class Disks(FakeDriver):
    """One that makes no image of an instance."""

    def __init__(self, behaviour: Disked) -> None:
        super().__init__(behaviour)
        self.disked = behaviour

    def create(self, spec: Spec, *, name: str) -> Instance:
        super().create(spec, name=name)
        made = self.alive[name] = OnDisk(self, name, self.made - 1, spec)
        return made


class Committing(Disks):
    """One that does."""

    def __init__(self, behaviour: Disked, images: Path) -> None:
        super().__init__(behaviour)
        self.images = images
        self.fails: BaseException | None = None

    def commit(self, instance: Instance, *, name: str) -> Image:
        assert instance.id in self.alive
        self.fake_clock.advance(2.5)
        if self.fails is not None:
            raise self.fails
        shutil.copytree(self.disked.folder, self.images / name)
        return Image(self, self.images / name)


class Image:
    def __init__(self, driver: Committing, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def create(self, spec: Spec, *, name: str) -> Instance:
        assert self.driver.alive == {}, "the first one is still there"
        assert self.folder.is_dir(), "it is gone before an instance started from it"
        return self.driver.create(spec, name=name)

    def files(self) -> Sequence[Path]:
        return (self.folder,)

    def describe(self) -> Mapping[str, str]:
        return {"paused": "yes"}

    def remove(self) -> None:
        shutil.rmtree(self.folder)


@pytest.fixture
def disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def crowd(driver: FakeDriver) -> Crowd:
    spec = Spec(vcpus=1, memory=1 << 29)
    return Crowd(driver=driver, spec=spec, accelerator="simulated", clock=driver.clock, seconds=60, prefix="b0p0w0")


def values(measured: Measured) -> dict[str, float]:
    return {each.metric: each.value for each in measured.samples}


@pytest.mark.parametrize("params", DiskWritten.variants)
def test_what_was_written_is_what_the_disk_grew_by(disk: Path, params: Mapping[str, Scalar]) -> None:
    (disk / "there-before").write_bytes(os.urandom(5_000_000))
    driver = Disks(Disked(folder=disk))
    measured = DiskWritten().measure_crowd(crowd(driver), params)
    size = int(params["written"])
    assert size <= values(measured)["disk.written"] <= size * 1.01 + 8192
    assert float(measured.facts["for each byte"]) == pytest.approx(values(measured)["disk.written"] / size, abs=0.001)
    assert driver.alive == {}


def test_a_file_that_does_not_fit_is_not_written(disk: Path) -> None:
    driver = Disks(Disked(folder=disk, room=SLACK + 99_000_000))
    with pytest.raises(Skipped, match="162 MB are free on its disk, and 164 MB are needed") as caught:
        DiskWritten().measure_crowd(crowd(driver), {"written": 100_000_000})
    assert "[instance] `disk`" in caught.value.brief
    assert list(disk.iterdir()) == []
    assert driver.alive == {}


def test_nor_is_one_that_the_hosts_disk_has_no_room_for(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(Skipped, match="1 MB are free on the host's disk"):
        DiskWritten().measure_crowd(crowd(Disks(Disked(folder=disk))), {"written": 1_000_000})


def test_one_byte_of_the_largest_file_that_can_be_written_to_is_changed(disk: Path) -> None:
    files = ((9_999_999, "/bin/running"), (9_000_000, "/usr/lib/it's large"), (5_000_000, "/usr/lib/other"))
    behaviour = Disked(folder=disk, files=files, refused={"/bin/running": "Text file busy"})
    measured = DiskChanged().measure_crowd(crowd(Disks(behaviour)), {})
    assert measured.facts == {"file": "/usr/lib/it's large", "its size": "9000000"}
    assert 9_000_000 <= values(measured)["disk.changed"] <= 9_100_000


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "no file of 1 MiB"),
        (((9_000_000, "/usr/lib/x"),), "Its image cannot be written to: dd: /usr/lib/x: Read-only file system"),
    ],
)
def test_an_image_that_has_nothing_to_change_is_skipped(
    disk: Path, files: Sequence[tuple[int, str]], words: str
) -> None:
    behaviour = Disked(folder=disk, files=files, refused={"/usr/lib/x": "Read-only file system"})
    with pytest.raises(Skipped, match=words):
        DiskChanged().measure_crowd(crowd(Disks(behaviour)), {})


def test_a_driver_that_makes_no_images_is_skipped_before_anything_starts(disk: Path) -> None:
    driver = Disks(Disked(folder=disk))
    with pytest.raises(Skipped, match="fake makes no image of an instance"):
        Commit().measure_crowd(crowd(driver), {"written": 1})
    assert driver.made == 0


@pytest.fixture
def committing(disk: Path) -> Committing:
    for name in ("work", "images"):
        (disk / name).mkdir()
    return Committing(Disked(folder=disk / "work"), disk / "images")


def left(driver: Committing) -> list[object]:
    return [*driver.images.iterdir(), *driver.alive]


def test_an_image_is_timed_weighed_started_from_and_removed(committing: Committing) -> None:
    measured = Commit().measure_crowd(crowd(committing), {"written": 10_000_000})
    found = values(measured)
    assert found["commit.time"] == pytest.approx(2.5)
    assert 10_000_000 <= found["commit.size"] <= 10_100_000
    assert 0.05 < found["commit.ready"] < 0.5
    assert measured.facts == {"paused": "yes"}
    assert committing.made == 2
    assert left(committing) == []


def test_an_image_without_what_was_written_is_a_failure_and_is_removed(committing: Committing) -> None:
    committing.disked.loses = True
    with pytest.raises(InstanceError, match="lacks what its instance had written"):
        Commit().measure_crowd(crowd(committing), {"written": 10_000_000})
    assert left(committing) == []


@pytest.mark.parametrize(("hang", "error"), [((1,), InstanceTimeout), ((), None)])
def test_an_image_that_nothing_starts_from_is_removed(
    committing: Committing, hang: Sequence[int], error: type[Exception] | None
) -> None:
    committing.disked.hang_boot = hang
    if error is None:
        committing.disked.die_boot, error = (1,), InstanceError
    with pytest.raises(error):
        Commit().measure_crowd(crowd(committing), {"written": 1_000_000})
    assert left(committing) == []


def test_what_the_engine_says_of_a_failed_commit_is_the_error(committing: Committing) -> None:
    committing.fails = InstanceError("no space left on device")
    with pytest.raises(InstanceError, match="no space left on device"):
        Commit().measure_crowd(crowd(committing), {"written": 1_000_000})
    assert left(committing) == []


def test_an_interrupt_leaves_no_image(committing: Committing, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tare_bench.workloads.commit.outcome", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Commit().measure_crowd(crowd(committing), {"written": 1_000_000})
    assert left(committing) == []


def test_an_image_of_a_folder_that_needs_root_has_no_size(
    committing: Committing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(paths: Sequence[Path]) -> int:
        raise PermissionError(13, "denied", "/layer")

    monkeypatch.setattr(footprint, "allocated", refused)
    measured = Commit().measure_crowd(crowd(committing), {"written": 1_000_000})
    assert "commit.size" not in values(measured)
    assert measured.facts["size"] == "/layer needs root"
