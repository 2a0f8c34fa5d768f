"""The pages that the browser is shown: each is rendered once, of a run that the unit tests know too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

import msgspec
from audits import audited, hostile_audit, reading
from nights import night, seen
from runs import HOSTILE, METRICS, PRIMARY, Setting, build, hostile, hostile_rates, troubled
from tare_bench import registry, store
from tare_bench.across import across
from tare_bench.analysis import analyse
from tare_bench.model import Run
from tare_bench.nights import history
from tare_bench.reports.html import render_html
from tare_bench.reports.language import language


def rendered(run: Run) -> str:
    """The page of a run of `runs`; a hostile one's metrics are hostile too."""
    metrics = METRICS
    if run.manifest.run == HOSTILE:
        odd = {"title": HOSTILE, "definition": HOSTILE}
        metrics = {name: msgspec.structs.replace(metric, **odd) for name, metric in METRICS.items()}
    return render_html(analyse(run, metrics, PRIMARY))


def demo() -> str:
    """The page of the run that ships."""
    with as_file(files("tare_bench").joinpath("demo")) as folder:
        run = store.load(folder)
    planned = run.manifest.plan.workloads
    return render_html(analyse(run, registry.metrics(planned), registry.primaries(planned)))


def _slower(arm: str, metric: str, block: int) -> float:
    return 1.3 if arm == "native" else 1.0


def comparison() -> str:
    """The page of a run against an earlier one, of a host that has changed since."""
    new = seen(night(2, _slower, {"kernel": "6.2"}))
    return render_html(new, across(seen(night(1)), new))


def nightly() -> str:
    """The page of the latest of many runs."""
    runs = [seen(night(number, host={"kernel": "6.1"})) for number in range(6)]
    runs += [seen(night(number, _slower, {"kernel": "6.2"})) for number in range(6, 12)]
    return render_html(runs[-1], None, history(runs))


def korean(make: Callable[[], str]) -> Callable[[], str]:
    """The same page in Korean."""

    def made() -> str:
        with language("ko"):
            return make()

    return made


_PAGES: dict[str, Callable[[], str]] = {
    "usual": lambda: rendered(build()),
    "demo": demo,
    "troubled": lambda: rendered(troubled()),
    "hostile": lambda: rendered(hostile()),
    "throughput": lambda: rendered(
        build(Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk", "isolation")))
    ),
    "hostile throughput": lambda: rendered(hostile_rates()),
    "audited": lambda: rendered(audited(reading(1, "native"), reading(2, "docker"), reading(3, "kvm"))),
    "hostile audit": lambda: rendered(hostile_audit()),
    "simulated": lambda: rendered(build(Setting(accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated")))),
    "one driver": lambda: rendered(build(Setting(arms=("docker",), rounds=2))),
    "comparison": comparison,
    "history": nightly,
    "demo in Korean": korean(demo),
    "comparison in Korean": korean(comparison),
    "history in Korean": korean(nightly),
    "nothing measured": lambda: rendered(
        build(Setting(outcome=lambda arm, workload, block: ("failed", "nothing works")))
    ),
}
EVERY = tuple(_PAGES)
WHOLE = ("demo", "comparison", "history in Korean")
"""Those that between them hold every part that a page can have."""


@cache
def page(name: str) -> str:
    """A page by its name, whole."""
    return _PAGES[name]()


def opened(text: str) -> str:
    """A page with nothing folded."""
    return text.replace("<details", "<details open")


def without_scripts(text: str) -> str:
    """What a browser that runs no script shows: axe is one itself, so it can't be seen with scripts off."""
    head, *rest = text.split("<script")
    return head + "".join(part.partition("</script>")[2] for part in rest)
