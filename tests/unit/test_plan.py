"""A plan spread out into blocks: whole, even, and the same for the same seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tare_bench.model import Arm, Plan, Spec, WorkloadPlan
from tare_bench.plan import blocks, orders

SPEC = Spec(vcpus=1, memory=1 << 29)


def plan(arms: int = 3, rounds: int = 10, seed: int = 1, warmup: int = 1, **often: int | None) -> Plan:
    return Plan(
        arms=[Arm(name=f"arm{number}", driver="fake", spec=SPEC) for number in range(arms)],
        workloads=[
            WorkloadPlan(name="boot"),
            *(WorkloadPlan(name=name, blocks=count) for name, count in often.items()),
        ],
        baseline="arm0",
        rounds=rounds,
        seed=seed,
        warmup=warmup,
    )


@given(arms=st.integers(1, 6), rounds=st.integers(1, 30), seed=st.integers(0, 2**31), warmup=st.integers(0, 3))
def test_every_block_holds_every_arm_once(arms: int, rounds: int, seed: int, warmup: int) -> None:
    found = list(blocks(plan(arms, rounds, seed, warmup)))
    assert [block.index for block in found] == list(range(warmup + rounds))
    assert [block.role for block in found] == ["warmup"] * warmup + ["measured"] * rounds
    for block in found:
        assert sorted(session.arm.name for session in block.sessions) == [f"arm{number}" for number in range(arms)]
        assert [session.position for session in block.sessions] == list(range(arms))
        assert {(session.block, session.role) for session in block.sessions} == {(block.index, block.role)}
    names = [session.name for block in found for session in block.sessions]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 8


@given(rounds=st.integers(1, 40), count=st.integers(1, 40))
def test_a_workload_runs_as_often_as_planned_and_spread_evenly(rounds: int, count: int) -> None:
    found = [block for block in blocks(plan(rounds=rounds, memory=count)) if block.role == "measured"]
    has = [[each.name for each in block.sessions[0].workloads] == ["memory"] for block in found]
    assert sum(has) == min(count, rounds)
    at = [index for index, there in enumerate(has) if there]
    gaps = {later - earlier for earlier, later in itertools.pairwise(at)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_in_one_block_all_arms_do_the_same() -> None:
    for block in blocks(plan(memory=6, disk=1, cpu=None)):
        assert len({tuple(each.name for each in session.workloads) for session in block.sessions}) == 1


def test_idle_memory_is_that_of_a_fresh_instance() -> None:
    _, measured, *_ = blocks(plan(cpu=None, memory=None, disk=None))
    assert [each.name for each in measured.sessions[0].workloads] == ["memory", "cpu", "disk"]


def test_a_warm_up_only_boots() -> None:
    first, *_ = blocks(plan(memory=None))
    assert all(session.workloads == () for session in first.sessions)


def test_the_order_is_the_seeds_and_changes_from_block_to_block() -> None:
    def order(seed: int) -> list[tuple[str, ...]]:
        return [tuple(each.arm.name for each in block.sessions) for block in blocks(plan(seed=seed, rounds=60))]

    assert order(1) == order(1)
    assert order(1) != order(2)
    counted = Counter(order(1))
    assert len(counted) == 6
    # none always follows the same one
    followers = {name: {row[row.index(name) - 1] for row in order(1)} for name in ("arm0", "arm1", "arm2")}
    assert all(len(each) == 2 for each in followers.values())


@given(count=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_over_a_square_every_arm_follows_every_other_and_stands_at_every_place_equally_often(
    count: int, seed: int
) -> None:
    names = [f"arm{number}" for number in range(count)]
    rows = count if count % 2 == 0 or count == 1 else 2 * count
    found = list(itertools.islice(orders(names, random.Random(seed)), rows))
    assert all(sorted(row) == names for row in found)
    places = Counter((place, name) for row in found for place, name in enumerate(row))
    assert len(places) == count**2
    assert len(set(places.values())) == 1
    follows = Counter(pair for row in found for pair in itertools.pairwise(row))
    assert len(follows) == count * (count - 1)
    assert len(set(follows.values())) <= 1


def test_a_twin_boots_in_every_block_of_boot_and_does_nothing_else() -> None:
    planned = msgspec.structs.replace(plan(memory=None, cpu=None), twins={"arm0 A/A": "arm0"}, throughput_rounds=3)
    together = [
        msgspec.structs.replace(each, together=each.name == "cpu") if each.name != "boot" else each
        for each in planned.workloads
    ]
    for block in blocks(msgspec.structs.replace(planned, workloads=together)):
        twins = [session for session in block.sessions if session.arm.name == "arm0 A/A"]
        assert len(twins) == (block.kind == "boot")
        assert all(session.workloads == () for session in twins)
        assert not any("A/A" in name for turn in block.turns for name in turn.arms)


def test_crowds_have_blocks_of_their_own_which_come_last() -> None:
    planned = plan(rounds=2, memory=None)
    crowds = [WorkloadPlan(name="ramp", blocks=3, crowd=True), WorkloadPlan(name="storm", blocks=1, crowd=True)]
    found = list(blocks(msgspec.structs.replace(planned, workloads=[*planned.workloads, *crowds])))
    assert [block.kind for block in found] == ["boot"] * 3 + ["crowd"] * 3
    assert [sorted(turn.workload.name for turn in block.turns) for block in found[3:]] == [
        ["ramp", "storm"],
        ["ramp"],
        ["ramp"],
    ]
    assert [block.index for block in found] == list(range(6))
