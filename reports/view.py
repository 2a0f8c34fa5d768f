"""From an analysis to rows of text and marks: pure, with nothing left for a renderer to compute or to decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tare_bench.across import Across
from tare_bench.analysis import Analysis
from tare_bench.audit import Audit
from tare_bench.compare import Verdict
from tare_bench.nights import History

from .language import _, ngettext
from .published import Published, published
from .view_across import AcrossView, across_counts, across_view, across_words
from .view_audit import AuditView, audit_line, audit_view
from .view_boot import SameBootView, same_boot_view
from .view_charts import Forest, Sweep, Waterfall, forest, sweeps, waterfall
from .view_format import count, one_line
from .view_history import HistoryView, history_view, history_words
from .view_memory import SheetView, memory
from .view_method import KVM_EVIDENCE, Facts, Method, NoticeView, facts_tables, method, notices
from .view_points import Detail, details
from .view_seed import SeedTable, seed_table
from .view_storms import Storms, storms
from .view_tables import Table, tables
from .view_trust import Trust, noise_words, trust, twin_words, twins_differ
from .view_words import EMULATED, SIMULATED, VERDICT_WORDS, arm_label, headline, verdict_counts

__all__ = ["KVM_EVIDENCE", "Badge", "Page", "answer", "headline", "view"]


@dataclass(frozen=True, slots=True)
class Badge:
    """Something that tells how far the page can be trusted, or a count of verdicts."""

    kind: str
    """Its class on the page: better, worse, same, open, none, alarm, plain."""
    shape: str
    text: str
    verdict: str = ""
    """The class of the verdicts that it counts; empty where it counts none."""
    count: str = ""
    """How many these are."""


@dataclass(frozen=True, slots=True)
class Page:
    """All of a report."""

    title: str
    """Of the browser's tab: the mark and the counts come first."""
    mark: str
    """The favicon's class: that of the gravest verdict."""
    count: str
    """What stands in the favicon."""
    run: str
    started: str
    answer: list[str]
    counts: tuple[Badge, ...]
    trust: tuple[Badge, ...]
    watermark: str
    across: AcrossView | None
    """The earlier run that this one is held against, where there is one."""
    history: HistoryView | None
    seed: SeedTable
    tables: list[Table]
    memory: tuple[SheetView, ...]
    waterfall: Waterfall | None
    same_boot: SameBootView | None
    forest: Forest | None
    sweeps: list[Sweep]
    storms: Storms | None
    details: list[Detail]
    audit: AuditView
    audit_line: str
    """All grades on one line; empty where there is none."""
    facts: tuple[tuple[str, Facts], ...]
    notices: tuple[NoticeView, ...]
    method: Method
    proof: Trust
    published: tuple[Published, ...]


_COUNTED: tuple[tuple[Verdict, str, str], ...] = (
    ("slower/larger", "worse", "◆"),
    ("faster/smaller", "better", "●"),
    ("equivalent", "same", "■"),
    ("undecided", "open", "○"),
    ("not enough data", "none", "–"),
    ("not compared: emulated", "none", "–"),
)


def view(analysis: Analysis, across: Across | None = None, history: History | None = None) -> Page:
    """The report of one run, against an earlier one and as the latest of many where these are given.

    Raises nothing: what is not there is said.
    """
    counts, drawn = _badges(verdict_counts(analysis)), details(analysis)
    leading = _badges(across_counts(across)) if across else counts
    return Page(
        title=_title(analysis, leading),
        mark=leading[0].kind if leading else "none",
        count=leading[0].count if leading else "–",
        run=one_line(analysis.run.manifest.run),
        started=one_line(analysis.run.manifest.started_at),
        answer=answer(analysis, across, history),
        across=across_view(analysis, across) if across else None,
        history=history_view(history) if history else None,
        counts=counts,
        trust=_trust(analysis),
        watermark=_(SIMULATED) if analysis.run.simulated else "",
        seed=seed_table(analysis),
        tables=tables(analysis, frozenset(each.strip.id for each in drawn)),
        memory=memory(analysis),
        waterfall=waterfall(analysis),
        same_boot=same_boot_view(analysis),
        forest=forest(analysis),
        sweeps=sweeps(analysis),
        storms=storms(analysis),
        details=drawn,
        audit=audit_view(analysis),
        audit_line=audit_line(analysis),
        facts=facts_tables(analysis),
        notices=notices(analysis),
        method=method(analysis),
        proof=trust(analysis),
        published=published(),
    )


def answer(analysis: Analysis, across: Across | None = None, history: History | None = None) -> list[str]:
    """The answer in sentences: what has changed, where that was asked, and then what the run itself says."""
    changed = [*(across_words(analysis, across) if across else ()), *(history_words(history) if history else ())]
    return [*changed, *headline(analysis)]


def _badges(found: Mapping[Verdict, int]) -> tuple[Badge, ...]:
    """How many primary comparisons have each verdict, the gravest first."""
    return tuple(
        Badge(
            kind,
            shape,
            _("{n} {verdict}", n=found[verdict], verdict=_(VERDICT_WORDS[verdict])),
            verdict=kind,
            count=str(found[verdict]),
        )
        for verdict, kind, shape in _COUNTED
        if found.get(verdict)
    )


def _title(analysis: Analysis, counts: tuple[Badge, ...]) -> str:
    arms = " / ".join(one_line(arm.name) for arm in analysis.run.manifest.plan.arms)
    run = analysis.run
    labels = [_("partial")] * (not run.finished) + [_(SIMULATED)] * run.simulated + [_(EMULATED)] * bool(run.emulated)
    marks = ", ".join(f"{badge.shape} {badge.text}" for badge in counts) or _("nothing compared")
    return " · ".join([*labels, marks, arms, "Tare"])


def _trust(analysis: Analysis) -> tuple[Badge, ...]:
    badges = [
        Badge("alarm", "▲", f"{_(label)}: {one_line(arm.name)}")
        for arm in analysis.run.manifest.plan.arms
        if (label := arm_label(analysis, arm.name))
    ]
    if analysis.fairness is not None:
        badges += [_fairness(audit) for audit in analysis.fairness.audits]
    if not analysis.run.finished:
        badges.append(Badge("alarm", "▲", _("partial: still going on") if analysis.run.in_flight else _("partial")))
    failed = sum(analysis.outcomes.get(status, 0) for status in ("failed", "timeout"))
    total = sum(analysis.outcomes.values())
    badges.append(
        Badge(
            "alarm" if failed else "plain",
            "",
            ngettext("{failed} of {n} trial failed", "{failed} of {n} trials failed", total, failed=failed),
        )
    )
    if words := noise_words(analysis):
        badges.append(Badge("plain", "", words))
    if words := twin_words(analysis):
        differ = twins_differ(analysis)
        badges.append(Badge("alarm" if differ else "plain", "▲" if differ else "", words))
    blocks = {trial.block for trial in analysis.run.trials if trial.role == "measured"}
    badges.append(Badge("plain", "", ngettext("{n} block measured", "{n} blocks measured", len(blocks))))
    warned = len(notices(analysis))
    if warned:
        badges.append(Badge("plain", "", count(warned, "notice")))
    return tuple(badges)


def _fairness(audit: Audit) -> Badge:
    alarm = audit.grade == "C"
    return Badge(
        "alarm" if alarm else "plain",
        "▲" if alarm else "",
        _("fairness {grade}: {arm}", grade=audit.grade, arm=one_line(audit.arm)),
    )
