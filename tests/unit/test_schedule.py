"""What comes next and how long it will take."""

from __future__ import annotations

from itertools import repeat

import pytest
from tare_bench.plan import Block, blocks
from tare_bench.schedule import Estimate, Fixed
from test_plan import plan


def schedule(*, rounds: int = 10, max_time: float | None = None, seconds: float = 10.0, **often: int | None) -> Fixed:
    estimate = Estimate({"boot": 0.0, "memory": 1.0, "cpu": 2.0})
    for arm in ("arm0", "arm1", "arm2"):
        estimate.observe(arm, {"boot": seconds})
    return Fixed(list(blocks(plan(rounds=rounds, **often))), estimate, max_time)


def test_all_blocks_come_where_there_is_no_limit() -> None:
    fixed = schedule()
    assert [block.index for block in fixed.next_blocks(repeat(1e9))] == list(range(11))
    assert fixed.skipped == []
    assert "10 measured blocks of boot;" in fixed.rule()


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
