"""The workload `storm`: what a storm's numbers are, how many instances it has, and when it is not let loose."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from tare_bench import as_toml, config, headroom, suites
from tare_bench.config import Options
from tare_bench.crowd import Crowd
from tare_bench.driver import Kind, RunContext
from tare_bench.drivers.fake import Behaviour, FakeDriver
from tare_bench.errors import InstanceError, UsageError
from tare_bench.headroom import Headroom
from tare_bench.model import Sample, Spec
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.storm import Storm

GIB = 1 << 30
SPEC = Spec(vcpus=1, memory=GIB)


def crowd(driver: FakeDriver, memory: Headroom | None = None, idle: float | None = 0.0) -> Crowd:
    room = memory or Headroom(100 * GIB, 90 * GIB)
    return Crowd(
        driver, SPEC, "simulated", driver.clock, seconds=60.0, prefix="b1p0w0", idle_rate=idle, memory=lambda: room
    )


def measured(driver: FakeDriver, count: int, idle: float | None = 0.0) -> Measured:
    return Storm().measure_crowd(crowd(driver, idle=idle), {"parallel": count})


def of(found: Measured, metric: str) -> list[Sample]:
    return [each for each in found.samples if each.metric == metric]


def test_a_storm_has_its_rate_every_start_the_slowest_and_the_cpu_time_of_one() -> None:
    driver = FakeDriver(Behaviour(create=0.1, boot=0.3, drift=0.5, spread=0.0, cpu=0.2))
    found = measured(driver, 4)
    # On the simulated clock each is made after the other: 0.1 s apart, and each boots half as long again as the first.
    ready = [each.value for each in of(found, "storm.ready")]
    assert ready == pytest.approx([0.4, 0.55, 0.7, 0.85])
    assert [each.value for each in of(found, "storm.slowest")] == pytest.approx([max(ready)])
    assert [each.value for each in of(found, "storm.rate")] == pytest.approx([4 / (0.3 + 0.85)])
    assert [each.value for each in of(found, "storm.cpu")] == pytest.approx([0.2])
    assert {"harness_cpu", "read_late", "asked_within"} <= set(found.facts)
    assert driver.alive == {}


def test_every_start_is_kept_and_their_median_is_the_storms_value() -> None:
    found = measured(FakeDriver(Behaviour(spread=0.3)), 5)
    values = [each.value for each in of(found, "storm.ready")]
    assert len(values) == 5
    assert statistics.median(values) < max(values)
    assert all(each.error is not None for each in of(found, "storm.ready"))


def test_what_the_host_did_anyway_is_not_the_storms_and_a_host_that_was_busy_gives_no_cpu_time() -> None:
    behaviour = Behaviour(create=0.1, boot=0.3, spread=0.0, cpu=1.0)
    assert of(measured(FakeDriver(behaviour), 2, idle=1.0), "storm.cpu")[0].value == pytest.approx((2.0 - 0.5) / 2)
    assert of(measured(FakeDriver(behaviour), 2, idle=None), "storm.cpu") == []
    assert of(measured(FakeDriver(behaviour), 2, idle=100.0), "storm.cpu") == []


def test_a_storm_in_which_one_fails_is_no_storm_and_leaves_nothing() -> None:
    driver = FakeDriver(Behaviour(fail_create=(2,), die_boot=(1,)))
    with pytest.raises(InstanceError, match="1 of 4 instances failed"):
        measured(driver, 4)
    assert driver.made == 4
    assert driver.alive == {}


def test_one_that_reports_another_accelerator_fails_it() -> None:
    driver = FakeDriver(Behaviour())
    other = Crowd(driver, SPEC, "kvm", driver.clock, seconds=60.0, prefix="b1p0w0")
    with pytest.raises(InstanceError, match="the plan says kvm"):
        Storm().measure_crowd(other, {"parallel": 2})
    assert driver.alive == {}


@pytest.mark.parametrize(("kind", "fits"), [(Kind.VM, 4), (Kind.CONTAINER, 4 * 32)])
def test_no_more_are_asked_for_than_the_hosts_memory_can_spare(
    kind: Kind, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver(Behaviour())
    monkeypatch.setattr(driver, "kind", kind)
    room = Headroom(20 * GIB, 3 * GIB + 4 * GIB)
    Storm().measure_crowd(crowd(driver, room), {"parallel": fits})
    driver.made = 0
    with pytest.raises(Skipped, match=rf"{fits + 1} instances may take \d+ MiB, and only 4096 MiB can be spared"):
        Storm().measure_crowd(crowd(driver, room), {"parallel": fits + 1})
    assert driver.made == 0


# The plan


@pytest.fixture(autouse=True)
def _much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "read", lambda: Headroom(100 * GIB, 90 * GIB))


def counts(options: Options) -> list[int]:
    plan = config.configure(options).plan
    storms = [each for each in plan.workloads if each.name == "storm"]
    assert all(each.crowd and each.blocks == 3 for each in storms)
    return [int(each.params["parallel"]) for each in storms]


@pytest.mark.parametrize(
    ("most", "found"),
    [(None, [1, 2, 4, 8]), (1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (32, [1, 2, 4, 8, 16, 32])],
)
def test_storms_double_up_to_what_was_asked_for(most: int | None, found: Sequence[int]) -> None:
    assert counts(Options(workloads=["storm"], parallel=most)) == found


def test_the_full_suite_has_storms_and_the_default_has_none() -> None:
    assert counts(Options(suite="full")) == [1, 2, 4, 8]
    assert counts(Options(suite="full", parallel=2)) == [1, 2]
    assert counts(Options()) == []
    assert "density" not in {name for suite in suites.SUITES.values() for name in suite}


def test_by_default_there_are_no_more_guests_at_once_than_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "read", lambda: Headroom(8 * GIB, 8 * GIB - (5 << 29) - 1))
    guests = Options(drivers=["docker", "kvm"], workloads=["storm"])
    spare = 8 * GIB - (5 << 29) - 1 - int(0.15 * 8 * GIB)
    assert counts(guests)[-1] == min(8, spare // (512 << 20))
    assert counts(Options(drivers=["docker"], workloads=["storm"])) == [1, 2, 4, 8]
    monkeypatch.setattr(headroom, "read", lambda: Headroom(8 * GIB, GIB))
    assert counts(guests) == [1]


@pytest.mark.parametrize(
    ("options", "words", "hint"),
    [
        ({"workloads": ["storm"], "parallel": 0}, "0 instances at once are not possible (parallel)", "From 1 to 1024."),
        ({"workloads": ["storm"], "parallel": -1}, "-1 instances at once", "From 1 to 1024."),
        ({"workloads": ["storm"], "parallel": 1025}, "1025 instances at once", "From 1 to 1024."),
        (
            {"workloads": ["density"], "max_instances": 0},
            "0 instances at once are not possible (max_instances)",
            "1024",
        ),
        ({"workloads": ["boot"], "parallel": 2}, "--parallel is for the workload storm", "-w storm"),
        ({"workloads": ["storm"], "max_instances": 2}, "--max-instances is for the workload density", "-w density"),
        ({"workloads": ["storm"], "parallel": 200}, "200 guests at once do not fit", "--parallel 150"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], words: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.configure(Options(**options))  # type: ignore[arg-type]
    assert words in caught.value.brief
    assert hint in caught.value.hint


def file(tmp_path: Path, text: str) -> Options:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return Options(plan=path)


def test_a_plan_file_says_how_many_and_where_it_is_wrong(tmp_path: Path) -> None:
    assert counts(file(tmp_path, '[run]\nworkloads = ["storm"]\nparallel = 4\n')) == [1, 2, 4]
    only = '[[workload]]\nname = "storm"\nblocks = 3\nparams = { parallel = [3, 5] }\n'
    assert counts(file(tmp_path, only)) == [3, 5]
    for text, words in (
        ("[run]\nparallel = 2000\n", "line 2: 2000 instances at once are not possible"),
        ("[run]\nmax_instances = 0\n", "line 2: 0 instances at once are not possible"),
        ('[[workload]]\nname = "storm"\nparams = { parallel = 1025 }\n', "1025 instances at once"),
        ('[[workload]]\nname = "density"\nparams = { max_instances = 1025 }\n', "1025 instances at once"),
        ("[run]\nparalel = 2\n", "has no `paralel`"),
    ):
        with pytest.raises(UsageError) as caught:
            config.configure(file(tmp_path, text))
        assert words in caught.value.brief


@pytest.mark.parametrize(
    "options",
    [
        Options(workloads=["storm", "density"]),
        Options(workloads=["storm"], parallel=6),
        Options(workloads=["density"], max_instances=3),
        Options(suite="full", parallel=2),
    ],
)
def test_a_plan_with_them_as_text_is_the_same_plan(options: Options, tmp_path: Path) -> None:
    plan = config.configure(options).plan
    text = as_toml.text(plan)
    assert "[[workload]]" not in text
    assert config.configure(file(tmp_path, text)).plan == plan


# Their CPUs


def context(cpus: tuple[int, ...], among: tuple[int, ...]) -> RunContext:
    return RunContext("r", Path(), None, cpus, crowd_cpus=among)  # type: ignore[arg-type]


def on(cpus: RunContext, vcpus: int, count: int) -> list[tuple[int, ...]]:
    return [cpus.cpus_of(Spec(vcpus=vcpus, memory=1, turn=turn)) for turn in range(count)]


def test_instances_of_a_crowd_take_turns_on_the_hosts_cpus() -> None:
    eight = context((6, 7), (1, 2, 3, 4, 5, 6, 7))
    assert on(eight, 2, 5) == [(6, 7), (4, 5), (2, 3), (1, 7), (5, 6)]
    assert on(eight, 1, 8) == [(7,), (6,), (5,), (4,), (3,), (2,), (1,), (7,)]


def test_where_there_are_no_other_cpus_all_have_the_same() -> None:
    assert on(context((1,), (1,)), 1, 3) == [(1,)] * 3
    assert on(context((0, 1), (0, 1)), 2, 3) == [(0, 1)] * 3
    assert on(context((2, 3), ()), 2, 2) == [(2, 3)] * 2
