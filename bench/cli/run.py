"""`tare run`: check, prepare, measure, keep, render."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .. import config, hostfacts, leases, registry, store, tuning
from ..clock import MonotonicClock
from ..driver import Kind
from ..errors import TareError
from ..model import Accelerator, Manifest, Notice, Plan
from ..pairs import primary_pairs
from ..runner import BlocksSkipped, Event, Runner, SessionStarted, TrialFinished
from ..schedule import Fixed, schedule
from .common import AS_JSON, LANG, RESULTS, ROOTFS, plan_line, plan_options, say, show_notices, split, wait_for
from .exports import EXPORTS, reserved
from .interrupts import Guard, Interrupted, guarded
from .ready import Ready, make_ready

if TYPE_CHECKING:
    from tare_bench.reports.progress import Progress

EMULATED_DEADLINE = 180.0


@click.command()
@plan_options
@ROOTFS
@RESULTS
@AS_JSON
@EXPORTS
@click.option("--progress", type=click.Choice(["auto", "plain", "json", "none"]), default="auto", show_default=True)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser at the end.")
@LANG
def run(
    plan_file: Path | None,
    drivers: tuple[str, ...],
    workloads: tuple[str, ...],
    rootfs_reference: str,
    results: Path,
    as_json: bool,
    export: tuple[str, ...],
    progress: Literal["auto", "plain", "json", "none"],
    open_page: bool,
    lang: str,
    **options: Any,
) -> int:
    """Measure what PLAN.toml says (by default native, docker and kvm), and put the answer on one page.

    Drivers that cannot run here are left out with a notice, unless you named them. Each finished trial is kept at
    once: a Ctrl-C renders what is there.

    \b
    tare run --quick                       about a minute, once the images are built
    tare run -d docker,kvm --rounds 40     only these two, with more pairs
    tare run -w boot,memory                only these workloads
    """
    from tare_bench.reports.language import language

    from .report import finish

    configured = config.configure(
        config.Options(plan=plan_file, drivers=split(drivers), workloads=split(workloads), **options)
    )
    if configured.source:
        say(plan_line(configured.source))
    with guarded() as guard, reserved(export) as exports:
        opened: list[Path] = []
        interrupt: Interrupted | None = None
        failure: TareError | None = None
        try:
            _measure(configured, rootfs_reference, results, progress, opened.append, guard)
        except Interrupted as signal_seen:
            interrupt = signal_seen
        except TareError as error:
            failure = error
        if not opened:
            raise interrupt or failure or TareError("Nothing was measured.")
        try:
            with guard.deferred(), language(lang):
                status = finish(
                    opened[0], as_json=as_json, open_page=open_page, quick=options["quick"], exports=exports
                )
        except TareError as error:  # what broke the run breaks its page, too: a disk that is full
            raise failure or error from None
    if failure is not None:
        raise failure
    return interrupt.exit_status if interrupt is not None else status


def _measure(
    configured: config.Configured,
    reference: str,
    results: Path,
    mode: Literal["auto", "plain", "json", "none"],
    opened: Callable[[Path], None],
    guard: Guard,
) -> None:
    """Make everything ready, run the plan, and undo what was made. `opened` is told the run's folder."""
    identity = store.new_id()
    # Before anything is downloaded or started, so that it is not for nothing.
    with store.room(results), leases.measuring(wait_for), tidied(guard) as stack:
        lease = leases.take(identity)
        stack.callback(lease.release)
        busy = hostfacts.busy_share(MonotonicClock())
        ready = make_ready(configured, reference, lease, stack, say)
        plan = _resolved(configured.plan, ready)
        host = stack.enter_context(tuning.tuned(identity, say)) if plan.tune else tuning.Tuned()
        order = scheduled(plan, ready.accelerators)
        manifest = _manifest(identity, plan, ready, order, busy | host.facts(), host.notices())
        show_notices(manifest.notices)
        writer = store.Writer(results, manifest)
        stack.callback(writer.close)
        opened(writer.folder)
        _run(_runner(plan, ready, order), writer, mode)


@contextlib.contextmanager
def tidied(guard: Guard) -> Iterator[contextlib.ExitStack]:
    """What was opened is closed in the end, and no first signal cuts that short."""
    stack = contextlib.ExitStack()
    try:
        yield stack
    finally:
        with guard.deferred():
            stack.close()


def _resolved(plan: Plan, ready: Ready) -> Plan:
    """The plan for the arms that can run."""
    import msgspec

    arms = [msgspec.structs.replace(arm, spec=ready.spec(arm.spec)) for arm in ready.arms]
    names = [arm.name for arm in arms]
    baseline = plan.baseline if plan.baseline in names else config.baseline(None, arms)
    twins = {twin: of for twin, of in plan.twins.items() if of in names}
    if plan.twins and not twins:
        twins = {config.TWIN.format(baseline): baseline}
    return msgspec.structs.replace(plan, arms=arms, baseline=baseline, twins=twins)


def scheduled(plan: Plan, accelerators: Mapping[str, Accelerator]) -> Fixed:
    """What comes next in a run of this plan, and when it ends."""
    metrics, primary = registry.metrics(plan.workloads), registry.primaries(plan.workloads)
    return schedule(plan, _priors(plan), primary_pairs(plan, accelerators, metrics, primary))


def _priors(plan: Plan) -> dict[str, float]:
    return {each.name: registry.planned(each).seconds for each in plan.workloads}


def _manifest(
    identity: str, plan: Plan, ready: Ready, order: Fixed, host: dict[str, str], notices: list[Notice]
) -> Manifest:
    import msgspec

    facts = hostfacts.collect() | {"instance cpus": ",".join(map(str, ready.cpus))} | host
    guests = any(driver.kind == Kind.VM for driver in ready.drivers.values())
    largest = max(arm.spec.memory for arm in plan.arms)
    return Manifest(
        run=identity,
        tare_version=version("tare-bench"),
        started_at=store.utc_now(),
        command=shlex.join(["tare", *sys.argv[1:], *_seeded(plan)]),
        plan=msgspec.structs.replace(plan, stopping_rule=order.rule()),
        host=facts,
        drivers=ready.described,
        accelerators=ready.accelerators,
        rootfs=ready.rootfs.facts(),
        notices=[*ready.notices, *hostfacts.notices(facts, largest, guests=guests), *notices],
    )


def _seeded(plan: Plan) -> list[str]:
    return [] if any(word.startswith("--seed") for word in sys.argv) else ["--seed", str(plan.seed)]


def _runner(plan: Plan, ready: Ready, order: Fixed) -> Runner:
    workloads = {each.name: registry.planned(each) for each in plan.workloads}
    of = {arm.name: plan.twins.get(arm.name, arm.name) for arm in plan.every_arm}
    return Runner(
        drivers={name: ready.drivers[arm] for name, arm in of.items()},
        accelerators={name: ready.accelerators[arm] for name, arm in of.items()},
        workloads={"boot": registry.workload("boot"), **workloads},
        schedule=order,
        clock=next(iter(ready.drivers.values())).clock,
        boot_seconds={name: _deadline(plan, ready.accelerators[arm]) for name, arm in of.items()},
    )


def _deadline(plan: Plan, accelerator: Accelerator) -> float:
    return EMULATED_DEADLINE if accelerator == "tcg" else plan.boot_deadline


def _run(runner: Runner, writer: store.Writer, mode: Literal["auto", "plain", "json", "none"]) -> None:
    from tare_bench.reports import progress

    from .common import stderr

    shown = progress.make(mode, stderr())
    notices: list[Notice] = []
    finished = False
    try:
        # Closed here and now, not when the collector comes by: an instance may be alive in it.
        with contextlib.closing(runner.events()) as events:
            notices += _follow(events, runner, writer, shown)
        finished = True
    except Interrupted as interrupt:
        notices.append(Notice(code="interrupted", subject="run", message=f"The run was ended by {interrupt}."))
        raise
    finally:
        shown.close()
        after = hostfacts.volatile()
        notices += hostfacts.changes(writer.host, after)
        # Without its end a run is one that was ended from outside: no reason to hide what ended it.
        with contextlib.nullcontext() if finished else contextlib.suppress(TareError):
            stops = runner.schedule.end() if finished else ()
            writer.end(finished=finished, notices=notices, stops=stops, host=after)


def _follow(events: Iterable[Event], runner: Runner, writer: store.Writer, shown: Progress) -> list[Notice]:
    """Keep and show every event. Returns what there is to say about the run afterwards."""
    notices: list[Notice] = []
    order = runner.schedule
    done, expected = 0, None
    for event in events:
        if isinstance(event, SessionStarted):
            session, left = event.session, event.seconds_left
            shown.session(session.arm.name, session.block, order.last_block, done, order.steps, left, event.workload)
            done += 1
            if expected is None and session.block == 1:
                expected = (runner.elapsed(), left, order.last_block)
        elif isinstance(event, TrialFinished):
            writer.append(event.trial, event.artifacts)
            cell = event.trial.cell
            shown.trial(event.trial.trial, cell.arm, cell.workload, event.trial.status, event.trial.reason)
        elif isinstance(event, BlocksSkipped):
            notices.append(_out_of_time(event))
    if expected is not None:
        took = runner.elapsed() - expected[0]
        more = order.last_block - expected[2]
        further = f", with {more} further block{'s' * (more != 1)}" if more else ""
        say(f"After the first block {expected[1]:.0f} s were expected for the rest; it took {took:.0f} s{further}.")
    return notices


def _out_of_time(event: BlocksSkipped) -> Notice:
    """Names what did not fit, by kind of block and with its workloads."""
    parts = []
    for kind in ("boot", "throughput", "crowd"):
        blocks = [block for block in event.blocks if block.kind == kind]
        if blocks:
            names = dict.fromkeys(each.name for block in blocks for s in block.sessions for each in s.workloads)
            parts.append(f"{len(blocks)} blocks of {kind} ({', '.join(names) or 'boot alone'})")
    words = f"Did not fit into the time and was not started: {'; '.join(parts)}."
    return Notice(code="out-of-time", subject="run", message=words, hint="More --max-time, or fewer rounds.")
