"""What comes next and how long it will take."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import repeat

import msgspec
import pytest
from tare_bench import registry, stats
from tare_bench.model import Accelerator, Arm, Cell, Plan, Role, Sample, Spec, Status, Trial, WorkloadPlan
from tare_bench.pairs import primary_pairs
from tare_bench.plan import Block, blocks
from tare_bench.schedule import Estimate, Fixed, Precision
from tare_bench.schedule import schedule as scheduled
from test_plan import plan


def schedule(*, rounds: int = 10, max_time: float | None = None, seconds: float = 10.0, **often: int | None) -> Fixed:
    estimate = Estimate({"boot": 0.0, "memory": 1.0, "cpu": 2.0})
    for arm in ("arm0", "arm1", "arm2"):
        estimate.observe(arm, {"boot": seconds})
    planned = msgspec.structs.replace(plan(rounds=rounds, **often), max_time=max_time)
    return Fixed(planned, estimate)


def test_all_blocks_come_where_there_is_no_limit() -> None:
    fixed = schedule()
    assert [block.index for block in fixed.next_blocks(repeat(1e9))] == list(range(11))
    assert fixed.skipped == []
    assert "Fixed: 10 measured blocks of boot after 1 of warm-up;" in fixed.rule()


def test_no_block_starts_that_would_not_fit() -> None:
    fixed = schedule(max_time=100.0)
    # asked before and after each; a block takes 30 s: at 70 s one still fits, at 70.5 s none does
    found = list(fixed.next_blocks(iter([0.0, 30.0, 40.0, 70.0, 70.0, 70.5, 70.5])))
    assert [block.index for block in found] == [0, 1, 2]
    assert [block.index for block in fixed.skipped] == list(range(3, 11))
    assert "100 s" in fixed.rule()


def test_the_first_block_always_runs() -> None:
    fixed = schedule(max_time=0.5)
    assert [block.index for block in fixed.next_blocks(repeat(100.0))] == [0]


def test_a_block_is_judged_by_the_longest_of_its_kind() -> None:
    # half a minute is expected, but one has taken 45 s: at 75 s no other starts, though 30 s would still fit
    fixed = schedule(max_time=110.0)
    found = list(fixed.next_blocks(iter([0.0, 30.0, 30.0, 75.0, 75.0])))
    assert [block.index for block in found] == [0, 1]
    # the warm-up, which may be longer, is a kind of its own
    fixed = schedule(max_time=110.0)
    found = list(fixed.next_blocks(iter([0.0, 45.0, 75.0, 105.0, 105.0])))
    assert [block.index for block in found] == [0, 1]
    # one of another kind is judged for itself
    other = schedule(max_time=100.0, rounds=1, memory=1)
    assert len(list(other.next_blocks(iter([0.0, 60.0, 60.0, 90.0])))) == 2


def test_what_was_not_seen_on_an_arm_is_as_on_the_others_or_as_guessed() -> None:
    estimate = Estimate({"memory": 1.0})
    block: Block = list(blocks(plan(memory=None)))[1]
    session = next(each for each in block.sessions if each.arm.name == "arm0")
    assert estimate.session(session) == pytest.approx(0.2 + 1.0)
    estimate.observe("arm1", {"boot": 5.0, "memory": 3.0})
    assert estimate.session(session) == pytest.approx(0.2 + 3.0)
    estimate.observe("arm0", {"boot": 1.0, "memory": 2.0})
    assert estimate.session(session) == pytest.approx(1.0 + 2.0)


def test_what_is_left_is_the_rest_of_the_block_and_all_later_ones() -> None:
    fixed = schedule(rounds=3)
    found = list(blocks(plan(rounds=3)))
    assert fixed.seconds_left() == pytest.approx(4 * 30.0)
    assert fixed.seconds_left(found[1], 1) == pytest.approx(2 * 10.0 + 2 * 30.0)
    assert fixed.seconds_left(found[3], 2) == pytest.approx(10.0)


# By precision

SPEC = Spec(vcpus=1, memory=1 << 29)
Value = Callable[[str, str, int], float | None]
"""Of an arm, a workload and a block; None: the trial fails."""


def precise(
    *workloads: WorkloadPlan, arms: int = 3, most: int = 40, max_time: float | None = None, throughput: int = 0
) -> Precision:
    planned = Plan(
        arms=[Arm(name=f"arm{number}", driver="fake", spec=SPEC) for number in range(arms)],
        workloads=[WorkloadPlan(name="boot"), *workloads],
        baseline="arm0",
        rounds=10,
        max_rounds=most,
        throughput_rounds=throughput,
        max_time=max_time,
        seed=1,
    )
    accelerators: dict[str, Accelerator] = {}
    pairs = primary_pairs(planned, accelerators, registry.metrics(), registry.primaries())
    found = scheduled(planned, {}, pairs)
    assert isinstance(found, Precision)
    return found


def follow(precision: Precision, value: Value, seconds: float = 10.0, failed: Status = "failed") -> list[Block]:
    """Run it: every session's trials have these values, and a block takes that long."""
    done: list[Block] = []
    for block in precision.next_blocks(iter(lambda: seconds * len(done), None)):
        for session in block.sessions:
            names = (["boot"] if block.kind == "boot" else []) + [each.name for each in session.workloads]
            for name in names:
                precision.observe(
                    trial(session.arm.name, name, block, value(session.arm.name, name, block.index), failed)
                )
        done.append(block)
    return done


def trial(arm: str, workload: str, block: Block, value: float | None, failed: Status = "failed") -> Trial:
    primary = registry.primaries()[workload]
    metric = registry.metrics()[primary]
    status: Status = failed if value is None else "ok"
    role: Role = block.role
    return Trial(
        trial="t",
        cell=Cell(arm=arm, driver="fake", accelerator="none", workload=workload, spec=SPEC),
        instance="i",
        age_s=None,
        block=block.index,
        position=0,
        role=role,
        status=status,
        started_at="",
        samples=[] if value is None else [Sample(metric=primary, value=value, unit=metric.unit)],
    )


def noise(factors: dict[str, float], spread: dict[str, float], seed: int = 2) -> Value:
    dice = random.Random(seed)
    return lambda arm, workload, block: 0.1 * factors.get(arm, 1.0) * (1 + dice.gauss(0, spread.get(arm, 0.001)))


def why(precision: Precision) -> dict[tuple[str, str], str]:
    return {(stop.workload, stop.arm): stop.why for stop in precision.end()}


def test_a_plan_with_one_number_is_fixed_and_looks_at_nothing() -> None:
    planned = plan(rounds=3)
    assert type(scheduled(planned, {}, [])) is Fixed
    assert type(scheduled(msgspec.structs.replace(planned, max_rounds=3), {}, [])) is Fixed
    assert scheduled(planned, {}, []).end() == []


def test_what_is_decided_at_once_takes_no_further_block() -> None:
    precision = precise()
    done = follow(precision, noise({"arm1": 2.0}, {}))
    assert len(done) == 11
    assert why(precision) == {("boot", "arm1"): "different", ("boot", "arm2"): "equivalent"}


def test_further_blocks_follow_until_every_pair_is_closed_and_then_hold_its_arms_only() -> None:
    precision = precise()
    done = follow(precision, noise({"arm1": 2.0, "arm2": 1.12}, {"arm2": 0.05}))
    further = done[11:]
    assert further
    assert all(block.kind == "boot" and block.role == "measured" for block in further)
    assert all({session.arm.name for session in block.sessions} == {"arm0", "arm2"} for block in further)
    assert [block.index for block in done] == list(range(len(done)))
    assert why(precision) == {("boot", "arm1"): "different", ("boot", "arm2"): "different"}


def test_what_would_take_more_than_there_can_be_is_not_tried() -> None:
    precision = precise(most=20)
    done = follow(precision, noise({"arm1": 1.06}, {"arm1": 0.2}))
    assert len(done) == 11
    stop = next(stop for stop in precision.end() if stop.arm == "arm1")
    assert (stop.why, stop.pairs) == ("beyond the budget", 10)
    assert stop.needed is not None
    assert stop.needed > 20


@pytest.mark.parametrize(("seed", "order"), [(11, "bbbbtttttt"), (22, "ttbbbbbbb")])
def test_the_budget_goes_to_the_pair_that_is_nearest_to_its_decision(seed: int, order: str) -> None:
    # which of the two is nearer after ten pairs is the seed's doing: that one's kind of blocks comes first
    precision = precise(WorkloadPlan(name="sysbench-cpu", together=True), arms=2, throughput=10, most=60)
    dice = random.Random(seed)

    def value(arm: str, workload: str, block: int) -> float:
        spread = 0.08 if workload == "boot" else 0.1
        return (1.15 if arm == "arm1" else 1.0) * (1 + dice.gauss(0, spread if arm == "arm1" else 0.0))

    assert "".join(block.kind[0] for block in follow(precision, value)[22:]) == order
    assert set(why(precision).values()) == {"different"}


def test_no_further_block_starts_that_would_not_fit() -> None:
    precision = precise(max_time=125.0)
    done = follow(precision, noise({"arm2": 1.12}, {"arm2": 0.05}))
    assert len(done) <= 12
    assert why(precision)["boot", "arm2"] in ("out of time", "beyond the budget")


def test_an_arm_that_fails_closes_its_pair() -> None:
    precision = precise()
    done = follow(precision, lambda arm, workload, block: None if arm == "arm1" and block % 3 == 0 else 0.1)
    assert len(done) == 11
    assert why(precision) == {("boot", "arm1"): "pairs lost", ("boot", "arm2"): "equivalent"}


@pytest.mark.parametrize("status", ["failed", "timeout", "skipped"])
def test_a_workload_that_yields_nothing_is_no_reason_to_go_on(status: Status) -> None:
    # skipped: its program is not in the rootfs, and will not be in the next block either
    precision = precise(WorkloadPlan(name="memory"))
    done = follow(precision, lambda arm, workload, block: None if workload == "memory" else 0.1, failed=status)
    assert len(done) == 12  # boot's own: with four pairs, ending early takes eleven values
    assert why(precision)["memory", "arm1"] == "pairs lost"


def test_the_rule_says_all_of_it_before_the_first_trial() -> None:
    rule = precise(max_time=300.0, throughput=10).rule()
    for words in ("10 measured blocks of boot after 1 of warm-up", "40 of a kind at most", "300 s", "From 10 pairs on"):
        assert words in rule
    assert "99.75 %" in rule  # a tenth of the risk of two pairs at 97.5 %
    assert "97.5 %" in rule


def test_what_a_plan_can_detect_goes_by_its_pairs() -> None:
    precision = precise(max_time=1000.0)
    (pair, least, most), *_ = precision.pairs_of()
    assert (pair.metric.name, least) == ("boot.ready", 10)
    assert least < most <= 40
    where = stats.log_region(0.05)
    assert stats.detectable(0.1, most, where, 0.97) < stats.detectable(0.1, least, where, 0.97)
    assert precision.seconds_left() < precision.seconds_most() <= 1000.0
