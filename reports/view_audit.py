"""The fairness audit as rows of text: the grades, what differs and whose doing it is, and what each arm got."""

from __future__ import annotations

from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.audit import GRADES, Audit, Difference, Reading

from .language import N_, NN_, _, ngettext
from .view_format import clean, one_line, quantity
from .view_reasons import worded
from .view_words import arm_name

NO_AUDIT = N_(
    "This run has no audit: it was made without the workload audit, ended before it, or is older than it. What each "
    "side got is not known, and there is no grade. With -w audit beside the other workloads it is read."
)
UNKNOWN = N_("not read")
_SHOWN = 6
"""How many differences a line names before it counts the rest."""

_BYTES = ("Memory", "Memory, inside", "Swap")
_READ = {"engine": N_("from the engine"), "inside": N_("from inside")}
_CAUSES = {
    "technology": N_("the technology"),
    "axis": N_("a declared axis"),
    "other": N_("something else"),
    "unknown": N_("unknown"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One difference."""

    what: str
    read: str
    baseline: str
    arm: str
    cause: str
    why: str
    alarm: bool
    """Whether it makes the grade C."""


@dataclass(frozen=True, slots=True)
class GradeView:
    """One comparison's audit."""

    arm: str
    baseline: str
    grade: str
    alarm: bool
    meaning: str
    """In a sentence, with what makes the grade."""
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class AuditView:
    """The section."""

    missing: str
    """Why there is no audit; empty where there is one."""
    grades: tuple[GradeView, ...]
    arms: tuple[str, ...]
    got: tuple[tuple[str, str, tuple[str, ...]], ...]
    """What was read, from where, and each arm's value."""


def audit_view(analysis: Analysis) -> AuditView:
    """The section of one run; what its texts hold is made harmless."""
    found = analysis.fairness
    if found is None:
        return AuditView(_(NO_AUDIT), (), (), ())
    arms = [arm.name for arm in analysis.run.manifest.plan.arms]
    return AuditView(
        missing="" if found.audits else _("There is one arm only: nothing is compared, and there is no grade."),
        grades=tuple(_grade(analysis, audit) for audit in found.audits),
        arms=tuple(arm_name(analysis, arm) for arm in arms),
        got=tuple(_got(reading, arms) for reading in found.readings),
    )


def audit_line(analysis: Analysis) -> str:
    """All grades on one line, the gravest first; empty where there is none."""
    found = analysis.fairness
    if found is None or not found.audits:
        return ""
    audits = sorted(found.audits, key=lambda audit: audit.grade, reverse=True)
    parts = [f"{audit.grade} {arm_name(analysis, audit.arm)}{_because(audit)}" for audit in audits]
    against = arm_name(analysis, audits[0].baseline)
    return _("Fairness against {baseline}: {parts}.", baseline=against, parts=_("; ").join(parts))


_EQUAL = NN_("{n} thing of {all} is equal.", "{n} things of {all} are equal.")


def _grade(analysis: Analysis, audit: Audit) -> GradeView:
    equal = ngettext(*_EQUAL, audit.equal, all=audit.equal + len(audit.differences))
    return GradeView(
        arm=arm_name(analysis, audit.arm),
        baseline=arm_name(analysis, audit.baseline),
        grade=audit.grade,
        alarm=audit.grade == "C",
        meaning=f"{_(GRADES[audit.grade])}{_because(audit)}. {equal}",
        rows=tuple(map(_row, audit.differences)),
    )


def _because(audit: Audit) -> str:
    """The differences that make the grade, by name."""
    names = [_name(each) for each in audit.because]
    more = [_("{n} more", n=len(names) - _SHOWN)] if len(names) > _SHOWN else []
    return f" ({', '.join([*names[:_SHOWN], *more])})" if names else ""


def _name(found: Difference) -> str:
    what = worded(one_line(found.what))
    return _("{what} (not read)", what=what) if found.cause == "unknown" else what


def _row(found: Difference) -> Row:
    one, other = _apart(found.baseline, found.arm)
    axis = f": {one_line(found.axis)}" if found.axis else ""
    return Row(
        what=worded(one_line(found.what)),
        read=_(_READ[found.read]),
        baseline=_value(found.what, one),
        arm=_value(found.what, other),
        cause=f"{_(_CAUSES[found.cause])}{axis}",
        why=worded(clean(found.why)),
        alarm=found.cause in ("other", "unknown"),
    )


def _apart(one: str, other: str) -> tuple[str, str]:
    """Of values that are lists only the lines that differ."""
    if not one or not other or ("\n" not in one and "\n" not in other):
        return one, other
    left, right = one.splitlines(), other.splitlines()
    lines = ([each for each in mine if each not in theirs] for mine, theirs in ((left, right), (right, left)))
    first, second = ("\n".join(each) or _("nothing more") for each in lines)
    return first, second


def _value(what: str, text: str) -> str:
    if what in _BYTES and text.isascii() and text.isdigit() and len(text) < 20:
        return quantity(int(text), "B")
    return clean(text) or _(UNKNOWN)


def _got(reading: Reading, arms: list[str]) -> tuple[str, str, tuple[str, ...]]:
    values = tuple(_value(reading.what, reading.values.get(arm, "")) for arm in arms)
    return worded(one_line(reading.what)), _(_READ[reading.read]), values
