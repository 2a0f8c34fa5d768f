"""`tare plan`: what a run would do, without doing it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from .. import as_toml, config, registry, stats, tuning
from ..errors import DriverUnavailable
from ..model import Arm, Plan, WorkloadPlan
from ..plan import Block, blocks, kind_of
from ..schedule import Fixed
from .common import AS_JSON, plan_line, plan_options, print_json, say, split
from .ready import require_networks
from .run import scheduled

HOW = {
    "boot": "an instance ends before the next begins",
    "throughput": "all instances stay up and take turns",
    "crowd": "each workload starts as many instances as it needs",
}
"""What happens in blocks of each kind."""


@click.command()
@plan_options
@click.option("--toml", is_flag=True, help="Print the plan as a file that `tare run` reads.")
@click.option("-v", "--verbose", is_flag=True, help="Show the order of the arms in every block, too.")
@AS_JSON
def plan(
    plan_file: Path | None,
    drivers: tuple[str, ...],
    workloads: tuple[str, ...],
    toml: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Show the arms, the workloads, the kinds of blocks and how long it will take. Runs nothing."""
    configured = config.configure(
        config.Options(plan=plan_file, drivers=split(drivers), workloads=split(workloads), **options)
    )
    planned = configured.plan
    _refuse_networks(configured)
    if configured.source and (toml or as_json):
        say(plan_line(configured.source))
    if toml:
        click.echo(as_toml.text(planned), nl=False)
        return 0
    schedule = scheduled(planned, {})
    seconds = schedule.seconds_left()
    if as_json:
        print_json(
            {
                "plan": planned,
                "rule": schedule.rule(),
                "seconds": seconds,
                "seconds_most": schedule.seconds_most(),
                "detectable": _detectable(schedule),
                "order": [_order(block) for block in blocks(planned)],
            }
        )
        return 0
    if configured.source:
        click.echo(plan_line(configured.source))
    _show(planned, schedule)
    if verbose:
        _show_order(planned)
    return 0


def _refuse_networks(configured: config.Configured) -> None:
    """What is known without opening a driver. Raises DriverUnavailable where an arm that was asked for is refused."""
    for arm in configured.plan.arms:
        if arm.spec.network == "none":
            continue
        try:
            require_networks(registry.driver(arm.driver, arm.options), [arm])
        except DriverUnavailable as error:
            if arm.driver in configured.asked:
                raise
            say(f"{arm.name} would be left out: {error.brief} {error.details}")


def _order(block: Block) -> list[str]:
    return [session.arm.name for session in block.sessions]


def _show(planned: Plan, schedule: Fixed) -> None:
    for arm in planned.arms:
        click.echo(f"arm {arm.name}: {_arm(arm)}{', the baseline' if arm.name == planned.baseline else ''}")
    for twin, of in planned.twins.items():
        click.echo(f"arm {twin}: {of} a second time, in blocks of boot: its control")
    every = list(blocks(planned))
    for kind, how in HOW.items():
        of_kind = [block for block in every if block.kind == kind]
        if not of_kind:
            continue
        measured = sum(1 for block in of_kind if block.role == "measured")
        click.echo(f"blocks of {kind}: {measured} measured after {len(of_kind) - measured} of warm-up; {how}")
        for workload in planned.workloads:
            if kind_of(workload) == kind:
                click.echo(f"  {_workload(workload)}: {planned.times(workload)} blocks")
    click.echo(f"seed {planned.seed}")
    click.echo(schedule.rule())
    if planned.tune:
        click.echo(f"the host is tuned meanwhile: {', '.join(tuning.KNOBS)}, caches dropped")
    _show_time(planned, schedule, every)


def _arm(arm: Arm) -> str:
    options = "".join(f", {key} = {value}" for key, value in arm.options.items())
    cache = "" if arm.spec.cache == "auto" else f", cache {arm.spec.cache}"
    cold = "" if arm.spec.page_cache == "warm" else f", page cache {arm.spec.page_cache}"
    path = "" if arm.spec.network == "none" else f", network {arm.spec.network}"
    return f"{arm.driver}, {arm.spec.vcpus} vCPU, {arm.spec.memory >> 20} MiB{cache}{cold}{path}{options}"


def _workload(workload: WorkloadPlan) -> str:
    params = ", ".join(f"{key} = {value}" for key, value in workload.params.items())
    own = f" your own, `{workload.own.command.strip().partition(chr(10))[0]}`" if workload.own else ""
    return f"{workload.name}{f' ({params})' if params else ''}{own}"


def _show_time(planned: Plan, schedule: Fixed, every: list[Block]) -> None:
    seconds = dict.fromkeys(HOW, 0.0)
    for block in every:
        seconds[block.kind] += schedule.estimate.block(block)
    parts = ", ".join(f"{value:.0f} s of {kind}" for kind, value in seconds.items() if value)
    total, most = sum(seconds.values()), schedule.seconds_most()
    words = f"about {total:.0f} s" if most <= total else f"at least about {total:.0f} s, at most {most:.0f} s,"
    click.echo(f"{words} of measuring by first guesses ({parts}); a run corrects this as it goes")
    if planned.max_time is not None and total > planned.max_time:
        click.echo(f"that is more than its {planned.max_time:.0f} s: the last blocks would not be started")
    click.echo("checks and images come before: minutes the first time, seconds when they are built")
    detectable = _detectable(schedule)
    if detectable:
        click.echo("the smallest ratio that would be seen 8 times in 10:")
    for key, words in detectable.items():
        click.echo(f"  {key}: {words}")


def _detectable(schedule: Fixed) -> dict[str, str]:
    """What a difference must be to be seen, by the spread that each metric had on a test machine."""
    pairs = schedule.pairs_of()
    level = stats.primary_level(len(pairs))
    shown: dict[str, str] = {}
    for pair, least, most in pairs:
        spread = registry.planned(pair.workload).spread
        if spread is None or pair.metric.scale != "ratio":
            continue
        where = stats.region(pair.metric.region, ratio=True)
        words = [
            f"{math.exp(stats.detectable(spread, count, where, level)):.3g}x with {count} pairs"
            for count in dict.fromkeys((least, most))
            if count >= stats.values_needed(level)
        ]
        shown[pair.workload.key] = f"{', '.join(words) or 'none: too few pairs'} (a spread of {spread:.2g} assumed)"
    return shown


def _show_order(planned: Plan) -> None:
    for block in blocks(planned):
        role = "warm-up" if block.role == "warmup" else "measured"
        click.echo(f"block {block.index + 1:3} {role:8} {block.kind:10} {', '.join(_order(block))}")
