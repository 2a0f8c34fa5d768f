"""`tare plan`: what a run would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import config, registry
from ..model import Plan
from ..plan import Block, blocks
from ..schedule import Estimate, Fixed
from .common import AS_JSON, plan_options, print_json, split


@click.command()
@plan_options
@click.option("--toml", is_flag=True, help="Print the plan as a file that `tare run` reads.")
@AS_JSON
def plan(
    plan_file: Path | None,
    drivers: tuple[str, ...],
    workloads: tuple[str, ...],
    toml: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Show the arms, the order and how long it will take. Runs nothing."""
    configured = config.configure(
        config.Options(plan=plan_file, drivers=split(drivers), workloads=split(workloads), **options)
    )
    planned = configured.plan
    if toml:
        click.echo(config.as_toml(planned), nl=False)
        return 0
    schedule = _schedule(planned)
    seconds = schedule.seconds_left()
    if as_json:
        print_json(
            {
                "plan": planned,
                "rule": schedule.rule(),
                "seconds": seconds,
                "order": [_order(block) for block in blocks(planned)],
            }
        )
        return 0
    if configured.source:
        click.echo(f"plan: {configured.source}")
    _show(planned, schedule, seconds)
    return 0


def _schedule(planned: Plan) -> Fixed:
    priors = {each.name: registry.workload(each.name).seconds for each in planned.workloads}
    return Fixed(list(blocks(planned)), Estimate(priors), planned.max_time)


def _order(block: Block) -> list[str]:
    return [session.arm.name for session in block.sessions]


def _show(planned: Plan, schedule: Fixed, seconds: float) -> None:
    for arm in planned.arms:
        mark = ", the baseline" if arm.name == planned.baseline else ""
        click.echo(f"arm {arm.name}: {arm.driver}, {arm.spec.vcpus} vCPU, {arm.spec.memory >> 20} MiB{mark}")
    for workload in planned.workloads:
        kind = " of throughput" if workload.together else ""
        click.echo(f"workload {workload.key}: {planned.times(workload)} blocks{kind}")
    click.echo(f"seed {planned.seed}; {schedule.rule()}")
    for block in blocks(planned):
        role = "warm-up" if block.role == "warmup" else "measured"
        kind = "throughput" if block.turns else "boot"
        click.echo(f"block {block.index + 1:3} {role:8} {kind:10} {', '.join(_order(block))}")
    click.echo(f"about {seconds:.0f} s by first guesses, images and checks apart; a run corrects this as it goes")
