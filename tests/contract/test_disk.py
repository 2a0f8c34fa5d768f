"""What instances do on real disks: what they grow by, images made of them, and what is in memory of their files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hosts import REAL_ONLY, SYSTEM, Host, Hosts
from tare_bench import footprint, pagecache, paths, registry
from tare_bench.crowd import Crowd
from tare_bench.driver import Commits, Imaged
from tare_bench.drivers.docker_commit import REPOSITORY
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.errors import InstanceError
from tare_bench.lifecycle import Live
from tare_bench.model import Scalar
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.commit import Commit, committed
from tare_bench.workloads.fio import FioRandRead
from tare_bench.workloads.growth import DiskChanged, DiskWritten, write

pytestmark = pytest.mark.needs("root")

MAKE_IMAGES = pytest.mark.parametrize(
    "host", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("docker", "kvm", SYSTEM)], indirect=True
)
_numbers = itertools.count()


def crowd(host: Host) -> Crowd:
    return Crowd(
        driver=host.driver,
        spec=host.spec,
        accelerator=host.accelerator,
        clock=host.driver.clock,
        seconds=180,
        prefix=f"g{next(_numbers)}{'s' if host.driver.options else host.name[0]}",
    )


def values(measured: Measured) -> Mapping[str, float]:
    return {each.metric: each.value for each in measured.samples}


def images(host: Host) -> list[str]:
    """What of the run's images is left; the instances that tests share have names of their own."""
    found = [str(each) for each in (paths.cache_dir() / "overlays").glob(f"{host.context.run}-g*")]
    if isinstance(host.driver, DockerDriver):
        found += [each["Id"] for each in host.driver.client.images() if host.context.run in str(each["RepoTags"])]
    return found


@REAL_ONLY
def test_a_disk_grows_by_what_is_written_and_a_little(host: Host) -> None:
    host.close()
    params: Mapping[str, Scalar] = {"written": 10_000_000}
    found = values(DiskWritten().measure_crowd(crowd(host), params))["disk.written"]
    # a guest's own file system notes a lot beside it, in clusters of 64 KiB
    assert 10_000_000 <= found <= 10_000_000 * 1.01 + (4_000_000 if host.driver.kind == "vm" else 16_384)
    assert images(host) == []


@REAL_ONLY
def test_one_changed_byte_copies_a_file_or_a_cluster_and_nothing_where_the_image_is_read_only(host: Host) -> None:
    host.close()
    if host.name == "native":
        with pytest.raises(Skipped, match="Read-only file system"):
            DiskChanged().measure_crowd(crowd(host), {})
        return
    measured = DiskChanged().measure_crowd(crowd(host), {})
    size, grown = int(measured.facts["its size"]), values(measured)["disk.changed"]
    assert size > 1 << 20
    if host.driver.kind == "vm":
        assert 65536 <= grown < 4_000_000
    else:
        assert size <= grown < size * 1.01 + 65536


@MAKE_IMAGES
def test_an_instance_starts_from_an_image_of_another_and_nothing_is_left(host: Host) -> None:
    host.close()
    found = values(Commit().measure_crowd(crowd(host), {"written": 3_000_000}))
    assert set(found) == {"commit.time", "commit.size", "commit.ready"}
    assert 3_000_000 <= found["commit.size"] <= 20_000_000
    assert images(host) == []


@MAKE_IMAGES
def test_an_image_holds_what_was_written_before_it_was_made_and_its_instance_goes_on(host: Host) -> None:
    host.close()
    assert isinstance(host.driver, Commits)
    these = crowd(host)
    with these.created() as live:
        these.boot(live)
        write(live, 1_000_000, "before")
        live.run("sync", seconds=60).checked()
        with committed(host.driver, live) as (image, seconds):
            assert seconds > 0
            weighed = footprint.allocated(image.files())
            write(live, 5_000_000, "after")
            live.run("sync", seconds=60).checked()
            os.sync()
            assert footprint.allocated(image.files()) == weighed
            with these.created(source=image) as second, these.created(source=image) as third:
                for each in (second, third):
                    these.boot(each)
                    assert each.run("ls", seconds=60).checked().stdout == b"before\n"
        image.remove()
        assert live.run("ls", seconds=60).checked().stdout == b"after\nbefore\n"
    assert images(host) == []


@pytest.mark.needs("docker")
@pytest.mark.parametrize("host", ["docker"], indirect=True)
def test_an_image_of_a_container_is_what_the_engine_says_and_is_found_by_label(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver, these = host.driver, crowd(host)
    assert isinstance(driver, DockerDriver)
    assert isinstance(driver, Commits)
    if driver._engine is not None:
        monkeypatch.setenv("DOCKER_HOST", driver._engine.url)
    with these.created() as live:
        these.boot(live)
        write(live, 1_000_000)
        [seen] = driver.client.containers(size=True, filters={"label": f"tare.instance={live.name}"})
        with committed(driver, live) as (image, _):
            assert image.describe()["size by the engine"] == str(seen["SizeRw"])
            name = f"{REPOSITORY}:{host.context.run}-{live.name}i"
            sweeper = registry.driver("docker")
            assert name not in [each.name for each in sweeper.leftovers([host.context.run])]
            with monkeypatch.context() as elsewhere:
                elsewhere.setenv("TARE_RUN", str(tmp_path))
                assert sweeper.leftovers([]) == []
            [found] = [each for each in sweeper.leftovers(["another"]) if each.name == name]
            assert found.kind == "image"
            found.remove()
            found.remove()
            assert images(host) == []


@MAKE_IMAGES
def test_what_cannot_be_made_an_image_of_says_why_and_leaves_nothing(host: Host) -> None:
    these = crowd(host)
    assert isinstance(host.driver, Commits)
    with these.created() as live:
        assert live.instance is not None
        live.instance.destroy()
        with pytest.raises(InstanceError) as caught, committed(host.driver, live):
            pass
        assert caught.value.details
    assert images(host) == []


@REAL_ONLY
def test_a_cold_image_is_read_again_by_the_next_boot(host: Host, hosts: Hosts) -> None:
    hosts.quiet()
    assert isinstance(host.driver, Imaged)
    left = pagecache.cold_image(host.driver)
    assert left.allocated > 50_000_000
    assert left.share <= pagecache.COLD_SHARE
    with host.booted():
        pass
    seen = pagecache.residency(host.driver.image_files())
    assert seen.resident > left.resident + 1_000_000
    assert seen.share < 1


@REAL_ONLY
def test_a_file_is_cold_in_the_guest_and_on_the_host_before_fio_reads_it(host: Host) -> None:
    with host.booted() as live:
        live.cold = True
        live.accelerator = host.accelerator
        facts = FioRandRead().measure_work(live, {"block_size": 4096, "depth": 1}, 200).facts
        guest = host.driver.kind == "vm"
        assert facts[pagecache.INSTANCE].partition("%")[0] < "2"
        assert (pagecache.GUEST in facts) is guest
        _read_by_program(live)
        again = pagecache.cold_storage(live)
        assert set(again) == set(facts) - {"work"}


def _read_by_program(live: Live) -> None:
    """Have the file in every page cache there is."""
    live.run("cat tare-fio.dat >/dev/null", seconds=60).checked()
