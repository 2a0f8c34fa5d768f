"""`tare plan`: what a run would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import config, registry
from ..model import Plan
from ..plan import blocks
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
    seconds = schedule.estimate.left(schedule.sessions)
    if as_json:
        print_json({"plan": planned, "rule": schedule.rule(), "seconds": seconds, "order": _order(planned)})
        return 0
    if configured.source:
        click.echo(f"plan: {configured.source}")
    _show(planned, schedule, seconds)
    return 0


def _schedule(planned: Plan) -> Fixed:
    priors = {each.name: registry.workload(each.name).seconds for each in planned.workloads}
    return Fixed(list(blocks(planned)), Estimate(priors), planned.max_time)


def _order(planned: Plan) -> list[list[str]]:
    return [[session.arm.name for session in block.sessions] for block in blocks(planned)]


def _show(planned: Plan, schedule: Fixed, seconds: float) -> None:
    for arm in planned.arms:
        mark = ", the baseline" if arm.name == planned.baseline else ""
        click.echo(f"arm {arm.name}: {arm.driver}, {arm.spec.vcpus} vCPU, {arm.spec.memory >> 20} MiB{mark}")
    for workload in planned.workloads:
        often = "every block" if workload.blocks is None else f"{workload.blocks} blocks"
        click.echo(f"workload {workload.name}: {often}")
    click.echo(f"seed {planned.seed}; {schedule.rule()}")
    for index, names in enumerate(_order(planned)):
        role = "warm-up" if index < planned.warmup else "measured"
        click.echo(f"block {index + 1:3} {role:8} {', '.join(names)}")
    click.echo(f"about {seconds:.0f} s by first guesses, images and checks apart; a run corrects this as it goes")
