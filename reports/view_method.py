"""How it was measured, and on what: plan, definitions, known biases, host facts, notices, the data itself."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from tare_bench import pressure
from tare_bench.analysis import Analysis
from tare_bench.compare import Row
from tare_bench.metrics import FLOOR, RESIDENT, Metric
from tare_bench.model import Arm, Notice, Plan, Spec, Trial, WorkloadPlan, canonical

from .language import N_, _
from .view_cells import region_text
from .view_format import clean, count, identifier, inert, measured, one_line, quantity
from .view_labels import COST, COST_TITLE, group_of, parameter_words
from .view_tables import BETTER
from .view_words import COLD, arm_name

KVM_EVIDENCE = N_("The KVM path is shown by a boot sector only.")
"""How far the accelerated path has been tried: said wherever an arm ran on KVM."""

MAX_EMBEDDED = 500_000
"""Bytes of samples that a page carries in itself."""

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as the page defines it."""

    id: str
    name: str
    title: str
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class NoticeView:
    """A notice with what to do about it."""

    code: str
    subject: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One workload with its parameters, and how it was run."""

    name: str
    blocks: str
    work: str
    """The amount that every arm was given in each trial; a dash where it isn't sized."""
    cache: str
    """How a guest's disk went through the host's page cache; a dash without a guest."""


@dataclass(frozen=True, slots=True)
class Method:
    """Section 10."""

    plan: Facts
    workloads: tuple[Planned, ...]
    order: tuple[tuple[str, str], ...]
    """By block: the arms in the order in which they ran."""
    floors: Facts
    definitions: tuple[Definition, ...]
    biases: tuple[str, ...]
    command: str
    csv: str
    """The samples; empty where they are too many to be carried by the page."""
    csv_place: str
    """Where the data lies, in words."""


def method(analysis: Analysis) -> Method:
    """How the run was made, whole."""
    data = samples_csv(analysis)
    small = len(data.encode()) <= MAX_EMBEDDED
    return Method(
        plan=_plan(analysis),
        workloads=tuple(_planned(analysis, each) for each in analysis.run.manifest.plan.workloads),
        order=_order(analysis),
        floors=tuple((arm_name(analysis, arm), measured(floor, "s")) for arm, floor in analysis.floors.items()),
        definitions=tuple(map(definition, _shown(analysis))),
        biases=_biases(analysis),
        command=clean(analysis.run.manifest.command),
        csv=data if small else "",
        csv_place=_("trials.jsonl, in the run's folder"),
    )


def _plan(analysis: Analysis) -> Facts:
    manifest = analysis.run.manifest
    plan, rootfs = manifest.plan, manifest.rootfs
    spec = next(iter(plan.arms)).spec if plan.arms else None
    return (
        (_("Run"), one_line(manifest.run)),
        (_("Started"), one_line(manifest.started_at)),
        ("Tare", one_line(manifest.tare_version)),
        (_("Arms"), "\n".join(_arm(analysis, arm) for arm in plan.arms)),
        (_("Baseline"), one_line(plan.baseline)),
        (_("Blocks"), _blocks(plan)),
        (_("Order"), " ".join([_(_ORDER), *([_(_ORDER_TOGETHER)] if plan.throughput_rounds else [])])),
        (_("Seed of the order"), str(plan.seed)),
        (_("Stopping rule"), one_line(plan.stopping_rule) or _("not stated")),
        (_("Each instance gets"), _given(spec) if spec else "–"),
        *(((_("Image in memory when asked for"), resident),) if (resident := _resident(analysis)) else ()),
        (_("Boot deadline"), f"{plan.boot_deadline:g} s"),
        (_("Host tuning"), _("asked for: see the machine's facts") if plan.tune else _("none")),
        (_("Root filesystem"), f"{one_line(rootfs.digest)}, {quantity(rootfs.size, 'B')}, {one_line(rootfs.recipe)}"),
    )


def _given(spec: Spec) -> str:
    return _(
        "{cpus} vCPU, {memory}, network {network}: a limit for a container, the whole size of a guest, its kernel "
        "included",
        cpus=spec.vcpus,
        memory=quantity(spec.memory, "B"),
        network=spec.network,
    )


def _resident(analysis: Analysis) -> str:
    """By arm, the last that was read before a measured boot."""
    told = {
        trial.cell.arm: trial.facts[RESIDENT]
        for trial in analysis.run.trials
        if trial.role == "measured" and trial.cell.workload == "boot" and RESIDENT in trial.facts
    }
    return "\n".join(f"{arm_name(analysis, arm)}: {one_line(words)}" for arm, words in told.items())


_ORDER = N_(
    "Each block holds every arm once, in an order from the seed in which every arm follows every other equally often; "
    "an instance ends before the next one begins."
)
_ORDER_TOGETHER = N_(
    "In a block of throughput one instance of each arm is up; the workloads follow each other in a shuffled order, and "
    "all arms do one back to back, in an order shuffled for each."
)


def _blocks(plan: Plan) -> str:
    """How many of each kind, and what became of their warm-up."""
    least = _("at least {n}") if plan.max_rounds else "{n}"
    boot = {"boot": least.format(n=plan.rounds), "warmup": count(plan.warmup, "warm-up block")}
    if not plan.throughput_rounds:
        return _("{boot} of boot after {warmup}, kept apart", **boot)
    return _(
        "{boot} of boot after {warmup}, then {rates} of throughput after {sizing} in which the work is sized; warm-ups "
        "are kept apart",
        **boot,
        rates=least.format(n=plan.throughput_rounds),
        sizing=count(plan.throughput_warmup, "warm-up block"),
    )


def _planned(analysis: Analysis, workload: WorkloadPlan) -> Planned:
    plan, trials = analysis.run.manifest.plan, _trials_of(analysis, workload)
    row = Row(metric="", workload=workload.name, params=canonical(workload.params))
    kind = "crowds" if workload.crowd else "throughput" if workload.together else "boot"
    times, done = plan.times(workload), len({trial.block for trial in trials})
    return Planned(
        name=", ".join([one_line(workload.name), *parameter_words(row)]),
        blocks=_(_KINDS[kind], n=times)
        if done >= times
        else _("{blocks}, {n} measured", blocks=_(_KINDS[kind], n=times), n=done),
        work=_work(analysis, workload, trials) or "–",
        cache=_cache(trials) or "–",
    )


_KINDS = {"boot": N_("{n} of boot"), "throughput": N_("{n} of throughput"), "crowds": N_("{n} of crowds")}


def _trials_of(analysis: Analysis, workload: WorkloadPlan) -> list[Trial]:
    return [
        trial
        for trial in analysis.run.trials
        if trial.role == "measured" and trial.cell.workload == workload.name and trial.cell.params == workload.params
    ]


def _work(analysis: Analysis, workload: WorkloadPlan, trials: list[Trial]) -> str:
    """`5000 × request`: from the trials, since the warm-up sized it."""
    amounts = dict.fromkeys(one_line(trial.facts["work"]) for trial in trials if "work" in trial.facts)
    cost = analysis.metrics.get(f"{workload.name}{COST}")
    # What is done is named in the title of what it costs: it is taken off there, and has a translation of its own.
    unit = f" × {_(one_line(cost.title).removeprefix(COST_TITLE))}" if cost else ""
    return ", ".join(f"{amount}{unit}" for amount in amounts)


def _cache(trials: list[Trial]) -> str:
    modes = dict.fromkeys(
        _("not recorded") if trial.cell.spec.cache == "auto" else trial.cell.spec.cache
        for trial in trials
        if trial.cell.accelerator in ("kvm", "tcg")
    )
    return ", ".join(modes)


def _arm(analysis: Analysis, arm: Arm) -> str:
    options = ", ".join(f"{one_line(key)} = {one_line(value)}" for key, value in arm.options.items())
    driver = "" if arm.driver == arm.name else _(": driver {driver}", driver=one_line(arm.driver))
    cold = f", {_(COLD)}" if arm.spec.page_cache == "cold" else ""
    return f"{arm_name(analysis, arm.name)}{driver}{cold}{f', {options}' if options else ''}"


def _order(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """In a block of throughput a line for each workload, since each has an order of its own."""
    together = {(each.name, canonical(each.params)) for each in analysis.run.manifest.plan.workloads if each.together}
    blocks: dict[str, dict[str, dict[str, None]]] = {}
    for trial in analysis.run.trials:
        name = f"{trial.block}" if trial.role == "measured" else _("{block} (warm-up)", block=trial.block)
        row = Row(metric="", workload=trial.cell.workload, params=canonical(trial.cell.params))
        turn = ""
        if (row.workload, row.params) in together:
            turn = f"{', '.join([one_line(row.workload), *parameter_words(row)])}: "
        blocks.setdefault(name, {}).setdefault(turn, {})[one_line(trial.cell.arm)] = None
    return tuple(
        (block, "\n".join(f"{turn}{', '.join(arms)}" for turn, arms in turns.items()))
        for block, turns in blocks.items()
    )


def _shown(analysis: Analysis) -> list[Metric]:
    floor = [FLOOR] if analysis.floors and FLOOR.name not in analysis.metrics else []
    return sorted([*analysis.metrics.values(), *floor], key=lambda metric: metric.name)


def definition(metric: Metric) -> Definition:
    """What a number means, as the metric itself says."""
    scale = {
        "ratio": _("compared as a ratio"),
        "difference": _("compared as a difference"),
        "exact": _("shown as such"),
    }
    parts = [_("unit {unit}", unit=one_line(metric.unit)), _(BETTER[metric.better]), scale[metric.scale]]
    if metric.resolution:
        parts.append(_("resolution {value}", value=quantity(metric.resolution, metric.unit)))
    if metric.scale != "exact" and metric.better != "neither":
        parts.append(_("differences within {region} do not matter", region=region_text(metric)))
    return Definition(
        id=identifier("metric", metric.name),
        name=one_line(metric.name),
        title=_(one_line(metric.title)),
        text=_(clean(metric.definition)),
        detail="; ".join(parts),
    )


_EMULATED_BIAS = N_(
    "An EMULATED guest interprets every instruction. Its times say what emulation costs, not what a virtual machine "
    "costs, and the memory of its process holds the emulator's translation cache."
)
_GUEST_MEMORY = N_(
    "The memory of a guest is that of its virtual machine monitor; a guest's own page cache is inside it, while a "
    "container's is the host's."
)
_NATIVE = N_(
    "native is a mount namespace with the same CPU and memory limits and no PID namespace: a floor, no isolation."
)
_RATES = N_(
    "Rates are by the tool's own clock inside the instance, which is held against the host's. The work is the same for "
    "every arm, sized in the warm-up on the fastest one."
)
_EXPLORATORY = N_(
    "Only primary comparisons have intervals at a level that allows for their number. All others are marked "
    "exploratory: among twenty of them, one is expected to be wrong."
)
_ONE_MACHINE = N_("One machine was measured. Another processor, kernel or disk may turn a close result around.")


def _biases(analysis: Analysis) -> tuple[str, ...]:
    manifest = analysis.run.manifest
    accelerators, drivers = set(manifest.accelerators.values()), {arm.driver for arm in manifest.plan.arms}
    known = (
        (not accelerators.isdisjoint({"kvm", "tcg"}), KVM_EVIDENCE),
        ("tcg" in accelerators, _EMULATED_BIAS),
        (not accelerators.isdisjoint({"kvm", "tcg"}), _GUEST_MEMORY),
        ("native" in drivers, _NATIVE),
        (any(group_of(metric) == "throughput" for metric in analysis.metrics.values()), _RATES),
        (True, _EXPLORATORY),
        (True, _ONE_MACHINE),
    )
    return tuple(_(text) for applies, text in known if applies)


def facts_tables(analysis: Analysis) -> tuple[tuple[str, Facts], ...]:
    """What the machine and each driver said of themselves."""
    manifest = analysis.run.manifest
    drivers = {arm.driver for arm in manifest.plan.arms}
    named = [(_("Host"), manifest.host), (_("Host, while measured trials ran"), pressure.summary(analysis.run.trials))]
    named += [(_("Host, at the end"), analysis.run.host_after)]
    named += [
        (_("Driver {name}", name=name) if name in drivers else _("Driver of {name}", name=name), facts)
        for name, facts in manifest.drivers.items()
    ]
    return tuple(
        (one_line(title), tuple((one_line(key), clean(value)) for key, value in facts.items()))
        for title, facts in named
        if facts
    )


def notices(analysis: Analysis) -> tuple[NoticeView, ...]:
    """Each notice once, in the order in which they were made."""
    run = analysis.run
    found = dict.fromkeys(map(_notice, [*run.manifest.notices, *run.notices, *analysis.notices]))
    return tuple(found)


def _notice(notice: Notice) -> NoticeView:
    return NoticeView(one_line(notice.code), one_line(notice.subject), clean(notice.message), clean(notice.hint))


def samples_csv(analysis: Analysis) -> str:
    """Every sample, one a line, in SI base units. A text that a spreadsheet would run as a formula is quoted."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(
        ("trial", "arm", "workload", "block", "position", "role", "status", "metric", "value", "unit", "error")
    )
    for trial in analysis.run.trials:
        head = (trial.trial, trial.cell.arm, trial.cell.workload, trial.block, trial.position, trial.role, trial.status)
        for sample in trial.samples:
            writer.writerow([inert(each) for each in (*head, sample.metric, sample.value, sample.unit, sample.error)])
        if target.tell() > MAX_EMBEDDED:
            break  # more than a page carries: what is left would only be thrown away
    return target.getvalue()
