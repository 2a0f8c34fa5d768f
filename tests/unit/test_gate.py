"""A gate: a regression, not knowing, and what failed are three things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from nights import night, seen
from runs import METRICS, PRIMARY, Outcome, Setting, build
from tare_bench.across import across
from tare_bench.gate import STATUS, Judgement, judge_pairs, judge_runs
from tare_bench.model import Run

TWO = Setting(
    rounds=40, arms=("old", "new"), names={"old": "docker", "new": "docker"}, accelerators={}, workloads=("boot",)
)


def _run(factor: Callable[[str, str, int], float] = lambda arm, metric, block: 1.0, setting: Setting = TWO) -> Run:
    run = build(replace(setting, factor=factor))
    plan = msgspec.structs.replace(run.manifest.plan, baseline="old")
    return msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, plan=plan))


def _judge(run: Run, *pairs: tuple[str, str]) -> Judgement:
    return judge_pairs(run, pairs or [("old", "new")], METRICS, PRIMARY)


def _slower(by: float) -> Callable[[str, str, int], float]:
    return lambda arm, metric, block: by if arm == "new" and metric.startswith("boot.") else 1.0


def test_ten_percent_more_is_a_regression_at_a_size_inside_its_interval() -> None:
    found = _judge(_run(_slower(1.15)))
    (watched,) = found.watched
    assert (found.outcome, watched.outcome, STATUS[found.outcome]) == ("regression", "regression", 4)
    assert watched.effect is not None
    assert watched.effect.low is not None
    assert watched.effect.high is not None
    assert watched.effect.low < 1.15 < watched.effect.high


def test_the_same_thing_twice_passes() -> None:
    assert _judge(_run(setting=replace(TWO, rounds=150))).outcome == "pass"


def test_a_gain_passes_and_is_told() -> None:
    found = _judge(_run(_slower(0.8)))
    assert found.outcome == "pass"
    assert [each.arm for each in found.gains] == ["new"]


def test_the_pair_is_what_is_named_whatever_the_run_s_own_baseline() -> None:
    found = _judge(_run(_slower(1.3)), ("new", "old"))
    assert (found.outcome, found.watched[0].against) == ("pass", "new")
    assert found.watched[0].verdict == "faster/smaller"


def test_too_few_pairs_are_not_knowing() -> None:
    found = _judge(_run(_slower(1.3), replace(TWO, rounds=4)))
    assert (found.outcome, STATUS[found.outcome]) == ("undecided", 5)


def test_trials_that_failed_are_no_regression() -> None:
    def outcome(arm: str, workload: str, block: int) -> Outcome:
        return ("failed", "docker: no space left on device") if arm == "new" and block % 2 else None

    found = _judge(_run(_slower(1.3), replace(TWO, outcome=outcome)))
    assert (found.outcome, STATUS[found.outcome]) == ("failed", 1)
    assert "pairs were lost" in found.watched[0].reason


def test_a_run_without_a_watched_value_is_loud() -> None:
    found = _judge(msgspec.structs.replace(_run(), trials=[]))
    assert (found.outcome, found.reason) == ("failed", "nothing that is watched was measured")


def test_on_a_noisy_host_a_regression_is_not_knowing() -> None:
    run = _run(_slower(1.3))
    trials = [
        msgspec.structs.replace(each, facts={**each.facts, "not settled": "1.2 CPUs busy after 5.0 s"})
        if each.block % 4 == 0
        else each
        for each in run.trials
    ]
    found = _judge(msgspec.structs.replace(run, trials=trials))
    assert found.outcome == "undecided"
    assert found.watched[0].reason == "the host was too noisy to say"


@pytest.mark.parametrize(("by", "worst"), [(1.3, "regression"), (1.0, "failed")])
def test_the_graver_wins(by: float, worst: str) -> None:
    def outcome(arm: str, workload: str, block: int) -> Outcome:
        return ("failed", "broken") if arm == "third" and block % 2 else None

    names = {"old": "docker", "new": "docker", "third": "docker"}
    setting = replace(TWO, arms=("old", "new", "third"), names=names, outcome=outcome)
    found = _judge(_run(_slower(by), setting), ("old", "new"), ("old", "third"))
    assert found.outcome == worst
    assert {each.outcome for each in found.watched if each.arm == "third"} == {"failed"}


def _reads(arm: str, metric: str, block: int) -> float:
    return 0.8 if (arm, metric) == ("native", "fio-randread.iops") else 1.0


def test_between_two_runs_a_loss_is_a_regression_and_nothing_is_red_without_one() -> None:
    base, worse, same = night(1), night(2, _reads), night(3)
    assert judge_runs(across(seen(base), seen(worse)), worse).outcome == "regression"
    assert judge_runs(across(seen(base), seen(same)), same).outcome in ("pass", "undecided")


def test_unlike_machines_are_not_knowing() -> None:
    base, new = (night(number, _reads, {"cpu model name": name}) for number, name in enumerate(("one", "other")))
    found = judge_runs(across(seen(base), seen(new)), new)
    assert (found.outcome, found.watched) == ("undecided", [])
    assert "unlike" in found.reason
