"""A whole plan on the fake driver's clock: events, records, failures, and the time left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from tare_bench import pagecache, registry
from tare_bench.clock import NS
from tare_bench.crowd import Crowd, CrowdWorkload
from tare_bench.driver import Instance
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, Reply
from tare_bench.errors import InstanceError
from tare_bench.lifecycle import Settled
from tare_bench.metrics import BOOT, RESIDENT
from tare_bench.model import Accelerator, Arm, Plan, Scalar, Spec, Trial, WorkloadPlan
from tare_bench.plan import Block
from tare_bench.runner import IDLE_MOMENTS, BlocksSkipped, Event, Runner, SessionStarted, TrialFinished
from tare_bench.schedule import Estimate, Fixed
from tare_bench.workloads import Measured
from tare_bench.workloads.sized import SizedWorkload, Sizing

SPEC = Spec(vcpus=1, memory=1 << 29)
CPU, MEMORY = "sysbench cpu *", "sysbench memory *"


def runner(
    behaviours: Mapping[str, Behaviour],
    *,
    rounds: int = 6,
    seed: int = 1,
    workloads: Sequence[str] = ("sysbench-cpu",),
    max_time: float | None = None,
    accelerator: Accelerator = "simulated",
    together: int = 0,
) -> Runner:
    clock = FakeClock()
    arms = [Arm(name=name, driver="fake", spec=SPEC) for name in behaviours]
    known = {name: registry.workload(name) for name in ("boot", *workloads)}
    planned = [
        WorkloadPlan(name=name, sized=isinstance(each, SizedWorkload), together=bool(together) and each.together)
        for name, each in known.items()
    ]
    plan = Plan(
        arms=arms,
        workloads=planned,
        baseline=arms[0].name,
        rounds=rounds,
        throughput_rounds=together,
        seed=seed,
        max_time=max_time,
    )
    priors = {name: each.seconds for name, each in known.items()}
    return Runner(
        drivers={name: FakeDriver(each, clock=clock, seed=3) for name, each in behaviours.items()},
        accelerators=dict.fromkeys(behaviours, accelerator),
        workloads=known,
        schedule=Fixed(plan, Estimate(priors)),
        clock=clock,
        boot_seconds=dict.fromkeys(behaviours, 60.0),
    )


def trials(run: Runner) -> list[Trial]:
    return [event.trial for event in run.events() if isinstance(event, TrialFinished)]


def outcome(found: Sequence[Trial], block: int) -> dict[str, str]:
    return {each.cell.workload: each.status for each in found if each.block == block}


def test_every_session_has_its_trials_in_their_order() -> None:
    found = trials(runner({"a": Behaviour(), "b": Behaviour()}, rounds=3))
    assert [each.trial for each in found] == [f"t{number:04}" for number in range(1, len(found) + 1)]
    by_session: dict[tuple[int, int], list[str]] = {}
    for each in found:
        by_session.setdefault((each.block, each.position), []).append(each.cell.workload)
    for (block, _), names in by_session.items():
        assert names == ["boot", "sysbench-cpu", "stop"], block
    assert all(each.status == "ok" and each.samples and not each.reason for each in found)
    assert {each.role for each in found if each.block == 0} == {"warmup"}
    assert {each.role for each in found if each.block > 0} == {"measured"}


def test_trials_of_one_instance_say_so() -> None:
    found = trials(runner({"a": Behaviour(), "b": Behaviour()}, rounds=2))
    for each in found:
        assert each.instance == f"b{each.block}p{each.position}"
        assert (each.age_s is None) == (each.cell.workload == "boot")


def test_a_trial_keeps_what_the_host_did_meanwhile_and_nothing_of_what_came_between() -> None:
    run = runner({"a": Behaviour(hang_boot=(2,))}, rounds=3)
    clock, between = run.clock, 0.0
    began = clock.now()

    def totals(groups: Sequence[Path] = ()) -> Mapping[str, float]:
        return {"swapped": between, "busy": (clock.now() - began) / NS}

    run.clock.totals = totals  # type: ignore[method-assign]
    found = []
    for event in run.events():
        between += 1.0  # while an event is handled
        if isinstance(event, TrialFinished):
            found.append(event.trial)
    assert "timeout" in [each.status for each in found]
    made = [each for each in found if each.instance]
    assert len(made) > 6
    for each in made:
        assert float(each.facts["host.busy"]) == pytest.approx(float(each.facts["host.seconds"]), abs=0.001)
    assert not any("host.swapped" in each.facts for each in found)


def test_the_order_is_the_seeds() -> None:
    def order(seed: int) -> list[str]:
        return [each.cell.arm for each in trials(runner({"a": Behaviour(), "b": Behaviour()}, seed=seed, rounds=10))]

    assert order(4) == order(4)
    assert order(4) != order(5)


def test_an_instance_that_cannot_be_made_fails_its_session_and_the_next_goes_on() -> None:
    run = runner({"a": Behaviour(fail_create=(2,))})
    found = trials(run)
    assert outcome(found, 2) == {"boot": "failed", "sysbench-cpu": "failed", "stop": "failed"}
    assert set(outcome(found, 3).values()) == {"ok"}
    failed = [each for each in found if each.status == "failed"]
    assert all(each.samples == [] and each.reason and each.instance == "" for each in failed)
    assert failed[0].reason == "The fake refuses to create this instance."
    assert failed[1].reason == f"No instance: {failed[0].reason}"


def test_a_boot_that_hangs_ends_at_its_deadline_and_leaves_nothing() -> None:
    run = runner({"a": Behaviour(hang_boot=(2,))})
    found, at = [], {}
    for event in run.events():
        if isinstance(event, SessionStarted):
            at[event.session.block] = run.clock.now()
        elif isinstance(event, TrialFinished):
            found.append(event.trial)
    assert outcome(found, 2) == {"boot": "timeout", "sysbench-cpu": "failed", "stop": "failed"}
    assert 60 <= (at[3] - at[2]) / 1e9 < 75
    assert set(outcome(found, 3).values()) == {"ok"}
    assert all(each.alive == {} for each in run.drivers.values() if isinstance(each, FakeDriver))


def test_an_instance_that_dies_while_it_boots_fails() -> None:
    found = trials(runner({"a": Behaviour(die_boot=(2,))}))
    assert outcome(found, 2) == {"boot": "failed", "sysbench-cpu": "failed", "stop": "failed"}
    assert set(outcome(found, 3).values()) == {"ok"}


def test_a_dead_instance_fails_the_rest_of_its_session_only() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(dies=True)})}, workloads=("sysbench-cpu", "isolation")))
    assert outcome(found, 0) == {"boot": "ok", "sysbench-cpu": "failed", "stop": "failed"}
    assert outcome(found, 1) == {"boot": "ok", "sysbench-cpu": "failed", "isolation": "failed", "stop": "failed"}


def test_a_workload_that_fails_spoils_nothing_else() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(status=3, stderr=b"broken")})}))
    assert outcome(found, 0) == {"boot": "ok", "sysbench-cpu": "failed", "stop": "ok"}
    failed = next(each for each in found if each.status == "failed")
    assert f"artifacts/{failed.trial}/error.txt" in failed.artifacts
    assert f"artifacts/{failed.trial}/fake.txt" in failed.artifacts


def test_a_program_that_is_not_there_is_a_skipped_cell_with_that_reason() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(status=127)})}))
    skipped = [each for each in found if each.status == "skipped"]
    assert len(skipped) == 7
    assert {each.reason for each in skipped} == {"The rootfs has no `sysbench`."}
    assert all(not each.samples and not each.artifacts for each in skipped)


def test_a_workload_that_hangs_is_a_timeout() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(seconds=1000)})}, rounds=1))
    assert outcome(found, 0) == {"boot": "ok", "sysbench-cpu": "timeout", "stop": "ok"}


def test_another_accelerator_than_the_plans_is_a_failed_trial() -> None:
    found = trials(runner({"a": Behaviour()}, accelerator="kvm", rounds=1))
    assert outcome(found, 1) == {"boot": "failed", "sysbench-cpu": "failed", "stop": "failed"}
    assert found[0].reason == "The instance is accelerated by simulated; the plan says kvm."


def test_who_stops_listening_leaves_no_instance() -> None:
    run = runner({"a": Behaviour()})
    events = run.events()
    for event in events:
        if isinstance(event, TrialFinished):
            break
    driver = run.drivers["a"]
    assert isinstance(driver, FakeDriver)
    assert driver.alive
    events.close()  # type: ignore[attr-defined]
    assert driver.alive == {}


def test_both_errors_reach_the_caller_and_the_trial_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner({"a": Behaviour(hang_boot=(0,))})

    def destroy(self: object) -> None:
        raise InstanceError("It does not go away.")

    monkeypatch.setattr("tare_bench.drivers.fake.FakeInstance.destroy", destroy)
    events = run.events()
    told: list[Trial] = []
    with pytest.raises(ExceptionGroup):
        told.extend(event.trial for event in events if isinstance(event, TrialFinished))
    assert told[0].status == "timeout"


def test_no_block_starts_that_would_not_fit_into_the_time() -> None:
    run = runner({"a": Behaviour(), "b": Behaviour(boot=2.0)}, rounds=50, max_time=60.0)
    events = list(run.events())
    assert run.elapsed() <= 60.0
    skipped = [event for event in events if isinstance(event, BlocksSkipped)]
    assert len(skipped) == 1
    done = {event.trial.block for event in events if isinstance(event, TrialFinished)}
    assert {block.index for block in skipped[0].blocks} == set(range(51)) - done
    assert len(done) > 10


@pytest.mark.parametrize("seed", range(5))
def test_the_time_left_is_within_a_quarter_of_the_truth_after_the_first_block(seed: int) -> None:
    quick, slow = Behaviour(boot=0.15, spread=0.1), Behaviour(boot=2.5, stop=0.2, create=0.3, spread=0.1)
    run = runner({"quick": quick, "slow": slow}, rounds=20, seed=seed, workloads=("sysbench-cpu",))
    told = []
    for event in run.events():
        if isinstance(event, SessionStarted) and event.session.block >= 1:
            told.append((run.clock.now(), event.seconds_left))
    end = run.clock.now()
    assert len(told) == 40
    for at, left in told:
        truth = (end - at) / 1e9
        assert abs(left - truth) <= 0.25 * truth + 0.05, f"{left:.1f} s told, {truth:.1f} s taken"


def together(behaviours: Mapping[str, Behaviour], *, blocks: int = 3, **more: object) -> Runner:
    return runner(behaviours, rounds=1, together=blocks, workloads=("sysbench-cpu", "sysbench-memory"), **more)  # type: ignore[arg-type] # the helper's own


MEMORY = "sysbench memory *"


def test_in_blocks_of_throughput_all_instances_are_up_and_arms_take_turns_back_to_back() -> None:
    run = together({"a": Behaviour(), "b": Behaviour(), "c": Behaviour()})
    order: list[tuple[int, str, str]] = []
    for event in run.events():
        if isinstance(event, SessionStarted) and event.workload:
            up = [name for driver in run.drivers.values() if isinstance(driver, FakeDriver) for name in driver.alive]
            assert len(up) == 3, up
        elif isinstance(event, TrialFinished) and event.trial.block > 1:
            order.append((event.trial.block, event.trial.cell.workload, event.trial.cell.arm))
    for turn in zip(*[iter(order)] * 3, strict=True):
        assert len({(block, workload) for block, workload, _ in turn}) == 1
        assert {arm for _, _, arm in turn} == {"a", "b", "c"}
    assert len(order) == (1 + 3) * 2 * 3
    assert len({tuple(arm for _, _, arm in turn) for turn in zip(*[iter(order)] * 3, strict=True)}) > 1
    assert all(driver.alive == {} for driver in run.drivers.values() if isinstance(driver, FakeDriver))


def test_every_arm_is_given_the_same_work_and_the_warm_up_finds_out_how_much() -> None:
    run = together({"quick": Behaviour(events=5000.0, spread=0.0), "slow": Behaviour(events=1500.0, spread=0.0)})
    found = [each for each in trials(run) if each.cell.workload == "sysbench-cpu"]
    assert {each.facts["work"] for each in found if each.role == "measured"} == {"1100"}
    assert {each.role for each in found if each.block == 2} == {"warmup"}
    assert all(sample.error for each in found for sample in each.samples if sample.unit == "1/s")


def test_the_work_is_bounded_by_the_slowest_arm_and_by_the_tools_clock() -> None:
    def work(*rates: float, step: float = 1e-4) -> int | None:
        sizing = Sizing()
        for rate in rates:
            sizing.add("w", rate)
        return sizing.work("w", step)

    assert work(1000.0, 990.0) == 500  # half a second on the fastest
    assert work(10_000.0, 1234.0) == 930  # three quarters of a second on the slowest
    assert work(10_000.0, 10.0) == 100  # but a hundred steps of the clock on the fastest
    assert work(10_000.0, 10.0, step=1e-3) == 1000
    assert work(0.3) == 1
    assert work() is None


def test_an_instance_that_dies_fails_the_rest_of_its_own_trials_in_that_block_only() -> None:
    dying = Behaviour(replies={MEMORY: Reply(dies=True)})
    found = trials(together({"a": dying, "b": Behaviour(replies={MEMORY: Reply(status=127)})}, seed=2))
    for block in range(2, 6):
        mine = [each for each in found if each.block == block and each.cell.arm == "a"]
        names = [each.cell.workload for each in mine]
        died = names.index("sysbench-memory")
        assert [each.status for each in mine] == ["ok"] * died + ["failed"] * (len(mine) - died)
        assert all(each.reason.startswith("No instance:") for each in mine[died + 1 :])
        others = {each.cell.workload: each.status for each in found if each.block == block and each.cell.arm == "b"}
        assert others == {"sysbench-cpu": "ok", "sysbench-memory": "skipped"}


def test_an_instance_that_does_not_come_up_fails_its_trials_once_with_the_evidence() -> None:
    run = together({"a": Behaviour(hang_boot=(3,)), "b": Behaviour()}, blocks=2)
    found = trials(run)
    mine = [each for each in found if each.block == 3 and each.cell.arm == "a"]
    assert [each.status for each in mine] == ["failed", "failed"]
    assert [bool(each.artifacts) for each in mine] == [True, False]
    assert {each.status for each in found if each.block == 4 and each.cell.workload == "sysbench-cpu"} == {"ok"}
    assert {each.status for each in found if each.block == 3 and each.cell.arm == "b"} == {"ok", "skipped"}


def test_what_is_left_in_blocks_of_throughput_is_told_within_a_quarter() -> None:
    replies = {MEMORY: Reply(status=1, seconds=0.5)}
    run = together({"a": Behaviour(), "b": Behaviour(boot=2.0)}, blocks=8)
    for driver in run.drivers.values():
        assert isinstance(driver, FakeDriver)
        driver.behaviour.replies = replies
    told = []
    for event in run.events():
        if isinstance(event, SessionStarted) and event.session.block >= 3:
            told.append((run.clock.now(), event.seconds_left))
    end = run.clock.now()
    for at, left in told:
        truth = (end - at) / 1e9
        assert abs(left - truth) <= 0.25 * truth + 0.1


class Pair(CrowdWorkload):
    """Two instances at once."""

    name, title, primary = "pair", "two at once", "boot.ready"

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        measured = Measured()
        with crowd.created() as first, crowd.created() as second:
            for live in (first, second):
                crowd.boot(live)
            measured.facts["names"] = f"{first.name} {second.name}"
            measured.facts["idle"] = str(crowd.idle_rate)
            measured.add(BOOT[5], second.since_request()["ready"])
        return measured


def crowds(behaviours: Mapping[str, Behaviour], *, times: int) -> Runner:
    run = runner(behaviours, rounds=1)
    arms = [Arm(name=name, driver="fake", spec=SPEC) for name in behaviours]
    workloads = [WorkloadPlan(name="boot"), WorkloadPlan(name="pair", blocks=times, crowd=True)]
    plan = Plan(arms=arms, workloads=workloads, baseline=arms[0].name, rounds=1, seed=1)
    run.workloads = {"boot": registry.workload("boot"), "pair": Pair()}
    run.schedule = Fixed(plan, Estimate({"boot": 0.0, "pair": 1.0}))
    return run


def test_a_crowd_starts_its_own_instances_in_blocks_that_come_last() -> None:
    found = trials(crowds({"a": Behaviour(), "b": Behaviour()}, times=3))
    pairs = [each for each in found if each.cell.workload == "pair"]
    assert found[-len(pairs) :] == pairs
    assert [each.block for each in pairs] == [2, 2, 3, 3, 4, 4]
    assert {each.cell.arm for each in pairs} == {"a", "b"}
    assert {each.facts["idle"] for each in pairs} == {"0.0"}
    assert all(each.role == "measured" and each.status == "ok" and each.samples for each in pairs)
    names = " ".join(each.facts["names"] for each in pairs).split()
    assert len(set(names)) == len(names) == 12


def test_a_crowd_that_fails_leaves_nothing_and_the_next_arm_goes_on() -> None:
    run = crowds({"a": Behaviour(fail_create=(4,)), "b": Behaviour()}, times=2)
    pairs = [each for each in trials(run) if each.cell.workload == "pair"]
    assert sorted((each.cell.arm, each.status) for each in pairs) == [
        ("a", "failed"),
        ("a", "ok"),
        ("b", "ok"),
        ("b", "ok"),
    ]
    assert all(each.alive == {} for each in run.drivers.values() if isinstance(each, FakeDriver))


def test_the_idle_rate_is_that_of_the_latest_quiet_moments() -> None:
    run = runner({"a": Behaviour()})
    assert run._idle_rate(Settled(0.0, True, 0.1)) == 0.0
    assert run._idle_rate(Settled(0.1, True, 0.1)) == pytest.approx(0.05)
    assert run._idle_rate(Settled(5.0, False, 3.0)) is None
    for _ in range(IDLE_MOMENTS):
        rate = run._idle_rate(Settled(0.02, True, 0.1))
    assert rate == pytest.approx(0.02)


class OnFiles(FakeDriver):
    """One whose instances start from files, and that looks what of them is in memory when one is asked for."""

    files: tuple[Path, ...] = ()

    def image_files(self) -> Sequence[Path]:
        return self.files

    def create(self, spec: Spec, *, name: str) -> Instance:
        self.seen.append(pagecache.residency(self.files).share)
        made = super().create(spec, name=name)
        for file in self.files:
            file.read_bytes()
        return made

    def __init__(self, *, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.seen: list[float] = []


def test_a_cold_arm_is_cold_before_each_instance_and_a_warm_one_after_its_first() -> None:
    run = crowds({"warm": Behaviour(), "cold": Behaviour()}, times=2)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        drivers = {name: OnFiles(clock=run.drivers["warm"].clock) for name in ("warm", "cold")}  # type: ignore[arg-type]
        for name, driver in drivers.items():
            driver.files = (Path(folder, name),)
            driver.files[0].write_bytes(os.urandom(1 << 20))
        pagecache.drop(drivers["warm"].files)
        arms = [Arm(name=name, driver="fake", spec=msgspec.structs.replace(SPEC, page_cache=name)) for name in drivers]
        workloads = [WorkloadPlan(name="boot"), WorkloadPlan(name="pair", blocks=2, crowd=True)]
        plan = Plan(arms=arms, workloads=workloads, baseline="warm", rounds=3, seed=1)
        run.drivers, run.accelerators = drivers, dict.fromkeys(drivers, "simulated")
        run.schedule = Fixed(plan, Estimate({"boot": 0.0, "pair": 1.0}))
        found = trials(run)
    # a pair's second instance starts beside the first, as those of a storm do
    assert drivers["cold"].seen == [0, 0, 0, 0, 0, 1, 0, 1]
    assert drivers["warm"].seen == [0, *[1] * 7]
    told = {(each.cell.arm, each.cell.workload, each.block): each.facts.get(RESIDENT) for each in found}
    assert {told["cold", "boot", block] for block in range(4)} == {"0.0% of 1.0 MB"}
    assert [told["warm", "boot", block] for block in range(4)] == [None, "100.0% of 1.0 MB", None, None]
    assert told["cold", "pair", 4] == "0.0% of 1.0 MB"
    assert {each.cell.spec.page_cache for each in found if each.cell.arm == "cold"} == {"cold"}


def test_what_cannot_be_cold_fails_its_session_and_leaves_nothing() -> None:
    run = crowds({"a": Behaviour()}, times=1)
    arm = Arm(name="a", driver="fake", spec=msgspec.structs.replace(SPEC, page_cache="cold"))
    workloads = [WorkloadPlan(name="boot"), WorkloadPlan(name="pair", blocks=1, crowd=True)]
    plan = Plan(arms=[arm], workloads=workloads, baseline="a", rounds=1, seed=1)
    run.schedule = Fixed(plan, Estimate({"boot": 0.0, "pair": 1.0}))
    found = trials(run)
    assert {each.status for each in found} == {"failed"}
    assert found[0].reason == found[-1].reason == "The driver fake cannot start cold."


def test_ending_a_run_between_trials_destroys_the_instance_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []  # whoever else holds a block's steps must not keep its instance alive

    def steps(run: Runner, block: Block) -> Generator[Event, None, None]:
        kept.append(Runner._one_by_one(run, block))
        return kept[-1]

    monkeypatch.setattr("tare_bench.runner._KINDS", {"boot": steps})
    run = runner({"a": Behaviour()})
    driver = run.drivers["a"]
    assert isinstance(driver, FakeDriver)
    events = run.events()
    while not isinstance(next(events), TrialFinished):
        pass
    assert driver.alive
    events.close()
    assert driver.alive == {}
