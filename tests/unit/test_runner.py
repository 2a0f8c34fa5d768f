"""A whole plan on the fake driver's clock: events, records, failures, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tare_bench import registry
from tare_bench.drivers.fake import Behaviour, FakeClock, FakeDriver, Reply
from tare_bench.errors import InstanceError
from tare_bench.model import Accelerator, Arm, Plan, Spec, Trial, WorkloadPlan
from tare_bench.plan import blocks
from tare_bench.runner import BlocksSkipped, Runner, SessionStarted, TrialFinished
from tare_bench.schedule import Estimate, Fixed

SPEC = Spec(vcpus=1, memory=1 << 29)
CPU = "sysbench cpu --threads=1 --time=1 run"


def runner(
    behaviours: Mapping[str, Behaviour],
    *,
    rounds: int = 6,
    seed: int = 1,
    workloads: Sequence[str] = ("sysbench-cpu",),
    max_time: float | None = None,
    accelerator: Accelerator = "simulated",
) -> Runner:
    clock = FakeClock()
    arms = [Arm(name=name, driver="fake", spec=SPEC) for name in behaviours]
    planned = [WorkloadPlan(name="boot"), *(WorkloadPlan(name=name) for name in workloads)]
    plan = Plan(arms=arms, workloads=planned, baseline=arms[0].name, rounds=rounds, seed=seed)
    known = {each.name: registry.workload(each.name) for each in planned}
    priors = {name: each.seconds for name, each in known.items()}
    return Runner(
        drivers={name: FakeDriver(each, clock=clock, seed=3) for name, each in behaviours.items()},
        accelerators=dict.fromkeys(behaviours, accelerator),
        workloads=known,
        schedule=Fixed(list(blocks(plan)), Estimate(priors), max_time),
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
        assert names == (["boot", "stop"] if block == 0 else ["boot", "sysbench-cpu", "stop"])
    assert all(each.status == "ok" and each.samples and not each.reason for each in found)
    assert {each.role for each in found if each.block == 0} == {"warmup"}
    assert {each.role for each in found if each.block > 0} == {"measured"}


def test_trials_of_one_instance_say_so() -> None:
    found = trials(runner({"a": Behaviour(), "b": Behaviour()}, rounds=2))
    for each in found:
        assert each.instance == f"b{each.block}p{each.position}"
        assert (each.age_s is None) == (each.cell.workload == "boot")


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
    assert outcome(found, 1) == {"boot": "ok", "sysbench-cpu": "failed", "isolation": "failed", "stop": "failed"}
    assert outcome(found, 6)["boot"] == "ok"


def test_a_workload_that_fails_spoils_nothing_else() -> None:
    found = trials(
        runner({"a": Behaviour(replies={CPU: Reply(status=3, stderr=b"broken")})}, workloads=("sysbench-cpu",))
    )
    assert outcome(found, 1) == {"boot": "ok", "sysbench-cpu": "failed", "stop": "ok"}
    failed = next(each for each in found if each.status == "failed")
    assert f"artifacts/{failed.trial}/error.txt" in failed.artifacts
    assert f"artifacts/{failed.trial}/fake.txt" in failed.artifacts


def test_a_program_that_is_not_there_is_a_skipped_cell_with_that_reason() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(status=127)})}))
    skipped = [each for each in found if each.status == "skipped"]
    assert len(skipped) == 6
    assert {each.reason for each in skipped} == {"The rootfs has no `sysbench`."}
    assert all(not each.samples and not each.artifacts for each in skipped)


def test_a_workload_that_hangs_is_a_timeout() -> None:
    found = trials(runner({"a": Behaviour(replies={CPU: Reply(seconds=1000)})}, rounds=1))
    assert outcome(found, 1) == {"boot": "ok", "sysbench-cpu": "timeout", "stop": "ok"}


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
