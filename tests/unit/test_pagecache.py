"""What is in memory of real files, and what a cold arm has there: nothing, or it is refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tare_bench import lifecycle, pagecache
from tare_bench.driver import Accounts, Instance
from tare_bench.drivers.fake import Behaviour, FakeDriver, FakeInstance, Reply
from tare_bench.errors import DriverUnavailable
from tare_bench.metrics import RESIDENT
from tare_bench.model import Accelerator, Spec
from tare_bench.pagecache import GUEST, INSTANCE, PageCache
from tare_bench.workloads import Skipped
from tare_bench.workloads.fio import FioRandRead

MIB = 1 << 20
WARM = Spec(vcpus=1, memory=1 << 29)
COLD = Spec(vcpus=1, memory=1 << 29, page_cache="cold")
FINCORE = "fincore *"


@pytest.fixture
def folder() -> Iterator[Path]:
    """On a disk, which pytest's own temporary folder need not be."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture
def read(folder: Path) -> Path:
    """A folder of files that have all been read."""
    (folder / "below").mkdir()
    for name in ("one", "below/two"):
        (folder / name).write_bytes(os.urandom(4 * MIB))
        (folder / name).read_bytes()
    (folder / "empty").touch()
    (folder / "link").symlink_to("/nowhere")
    os.mkfifo(folder / "pipe")
    return folder


class Imaged(FakeDriver):
    """One whose instances start from files."""

    def __init__(self, files: Sequence[Path], behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.files = files
        self.asked = 0

    def image_files(self) -> Sequence[Path]:
        self.asked += 1
        return self.files

    def create(self, spec: Spec, *, name: str) -> Instance:
        return Written(self, name, self.files, spec)


class Written(FakeInstance):
    def __init__(self, driver: FakeDriver, name: str, files: Sequence[Path], spec: Spec) -> None:
        super().__init__(driver, name, 0, spec)
        self.files = files

    def accounts(self) -> Accounts:
        return Accounts(files=tuple(self.files))


def test_what_was_read_is_resident_and_what_was_dropped_is_not(read: Path) -> None:
    seen = pagecache.residency([read])
    assert seen.resident == 8 * MIB
    assert seen.share == 1.0
    left = pagecache.dropped([read], what="it")
    assert left.resident == pagecache.residency([read]).resident == 0
    (read / "one").read_bytes()
    assert pagecache.residency([read]).share == pytest.approx(0.5, abs=0.01)


def test_dirty_pages_are_written_back_first(folder: Path) -> None:
    (folder / "new").write_bytes(os.urandom(MIB))
    assert pagecache.dropped([folder], what="it").resident == 0


def test_a_hole_that_was_read_is_no_more_than_all_of_it(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(64 * MIB)
    os.sync()
    (folder / "sparse").read_bytes()
    assert pagecache.residency([folder]).share == 1.0
    assert pagecache.Residency(0, 0).share == 0.0


def test_what_lies_in_memory_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        (Path(name) / "file").write_bytes(bytes(MIB))
        with pytest.raises(DriverUnavailable, match="The image stays in the page cache") as caught:
            pagecache.dropped([Path(name)], what="The image")
    assert "100.0%" in caught.value.details
    assert "tmpfs" in caught.value.hint


def test_another_users_files_tell_nothing(read: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(PermissionError):
        pagecache.residency([read])
    with pytest.raises(DriverUnavailable, match="cannot be seen to be cold") as caught:
        pagecache.dropped([read], what="It")
    assert "root" in caught.value.hint


def test_a_cold_arm_has_nothing_in_memory_before_each_of_its_instances(read: Path) -> None:
    pages, driver = PageCache(), Imaged([read])
    for _ in range(2):
        (read / "one").read_bytes()
        pages.before("a", driver, COLD, "warmup")
        assert pages.facts == {RESIDENT: "0.0% of 8.4 MB"}
        assert pagecache.residency([read]).resident == 0


def test_a_warm_arm_is_left_alone_and_read_once_when_it_is_measured(read: Path) -> None:
    pages, driver = PageCache(), Imaged([read])
    pages.before("a", driver, WARM, "warmup")
    assert (pages.facts, driver.asked) == ({}, 0)
    pages.before("a", driver, WARM, "measured")
    assert pages.facts == {RESIDENT: "100.0% of 8.4 MB"}
    pages.before("a", driver, WARM, "measured")
    assert (pages.facts, driver.asked) == ({}, 1)
    pages.before("b", driver, WARM, "measured")
    assert driver.asked == 2


def test_what_cannot_be_read_of_a_warm_arm_is_a_fact_and_no_error(read: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    pages = PageCache()
    pages.before("a", Imaged([read]), WARM, "measured")
    assert pages.facts[RESIDENT].startswith("not known: ")


def test_a_driver_that_names_no_files_cannot_be_cold() -> None:
    with pytest.raises(DriverUnavailable, match="The driver fake cannot start cold"):
        PageCache().before("a", FakeDriver(), COLD, "measured")
    pages = PageCache()
    pages.before("a", FakeDriver(), WARM, "measured")
    assert pages.facts == {}


def fio(**replies: Reply) -> Behaviour:
    stored = (Path(__file__).parents[1] / "data/tools/fio-randread.txt").read_bytes()
    return Behaviour(replies={"fio --name=layout*": Reply(), "fio --name=tare*": Reply(stored), **replies})


def facts(driver: FakeDriver, spec: Spec, accelerator: Accelerator = "none") -> Mapping[str, str]:
    """What a trial of fio on a fresh instance says."""
    with lifecycle.created(driver, spec, name="x", clock=driver.clock, seconds=60) as live:
        lifecycle.boot(live)
        live.accelerator = accelerator
        return FioRandRead().measure_work(live, {"block_size": 4096, "depth": 1}, 12000).facts


def test_cold_storage_is_dropped_on_the_host_between_setting_up_and_measuring(read: Path) -> None:
    assert facts(Imaged([read], fio()), WARM) == {"work": "12000"}
    assert pagecache.residency([read]).share == 1.0
    assert facts(Imaged([read], fio()), COLD) == {"work": "12000", INSTANCE: "0.0% of 8.4 MB"}
    assert pagecache.residency([read]).resident == 0


def in_guest(fincore: Reply) -> Behaviour:
    return fio(**{"sync; echo 3 >/proc/sys/vm/drop_caches": Reply(), FINCORE: fincore})


def test_a_guests_own_cache_goes_first_and_is_seen_to_be_gone(read: Path) -> None:
    found = facts(Imaged([read], in_guest(Reply(b"4096 67108864\n0 100\n"))), COLD, "tcg")
    assert found[GUEST] == "0.0% of 67.1 MB"
    assert found[INSTANCE] == "0.0% of 8.4 MB"


def test_a_guest_whose_pages_stay_is_an_error_and_one_that_cannot_tell_is_skipped(read: Path) -> None:
    with pytest.raises(DriverUnavailable, match="stays in its page cache"):
        facts(Imaged([read], in_guest(Reply(b"33554432 67108864\n"))), COLD, "kvm")
    with pytest.raises(Skipped, match="without `fincore`"):
        facts(Imaged([read], in_guest(Reply(b"sh: fincore: not found\n", status=127))), COLD, "kvm")
    assert pagecache.residency([read]).share == 1.0


def test_a_containers_kernel_is_the_hosts_and_is_never_told_to_drop_anything(read: Path) -> None:
    # the fake knows no drop_caches: a command that it wasn't taught fails
    assert GUEST not in facts(Imaged([read], fio()), COLD, "none")


def test_an_instance_without_known_files_is_skipped() -> None:
    with pytest.raises(Skipped, match="not known, or needs root"):
        facts(Imaged([], fio()), COLD)
