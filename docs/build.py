"""Builds the documentation's site: `./noxw -s docs`.

The pages are README, CHANGELOG and CONTRIBUTING, and what is in docs/, at their own places, so that their links to each
other hold as they stand. Beside them come pages that are made here: every metric, every command, and a real report.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from tare_bench import registry
from tare_bench.cli import COMMANDS as ORDER
from tare_bench.cli.report import write_page
from tare_bench.metrics import DISK, LIFECYCLE, MEMORY, Metric

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SAMPLE = Path("docs/sample/report.html")
MARK = ".buildinfo"
"""Sphinx's file in what it has built."""

PAGES = {
    "README.md": "index.md",
    "README.ko.md": "index.ko.md",
    "docs/evidence/README.md": "docs/evidence/index.md",
    "docs/sample/README.md": "docs/sample/index.md",
}
"""Those that have another name in the site: a README is what a folder opens with."""

CONTENTS = """
```{toctree}
:hidden:
:caption: Use

docs/report
docs/sample/index
docs/engines
docs/commands
docs/metrics
```

```{toctree}
:hidden:
:caption: Understand

docs/methodology
docs/architecture
docs/evidence/index
```

```{toctree}
:hidden:
:caption: Extend

docs/adding-a-driver
docs/adding-a-workload
CONTRIBUTING
CHANGELOG
```

```{toctree}
:hidden:
:caption: 한국어

index.ko
```
"""

COMMANDS = """# Commands

As `--help` tells them, and made from the program itself. The README has [examples](../index.md#commands).

```{{eval-rst}}
.. click:: tare_bench.cli:cli
   :prog: tare
   :nested: full
   :commands: {order}
```
"""

METRICS = """# Metrics

Made from the program itself; `tare list metrics` prints the same definitions. Durations, instances and verdicts are
explained in [how things are measured](methodology.md).

*Compared* says how two arms are: as a ratio, as a difference in the metric's own unit, or as such (exact). The *region*
is what does not matter between them, the *resolution* the least difference that the instrument can see.
"""

EMBEDDED = """
```{raw} html
<p><a href="report.html">Open it by itself</a></p>
<iframe src="report.html" title="A report by Tare" loading="lazy" style="width: 100%; height: 80vh"></iframe>
```
"""


def stage(source: Path) -> None:
    """Put all that the site is made of into a folder."""
    shutil.copytree(DOCS, source / "docs", ignore=shutil.ignore_patterns("*.py", "__pycache__", SAMPLE.name))
    for path in (*ROOT.glob("*.md"), ROOT / "LICENSE"):
        shutil.copy(path, source)
    for name, called in PAGES.items():
        (source / name).rename(source / called)
    for page in source.rglob("*.md"):
        page.write_text(_renamed(page.read_text(encoding="utf-8")), encoding="utf-8")
    _append(source / "index.md", CONTENTS)
    _append(source / "docs/sample/index.md", EMBEDDED)
    (source / "docs/commands.md").write_text(COMMANDS.format(order=",".join(ORDER)), encoding="utf-8")
    (source / "docs/metrics.md").write_text("\n".join([METRICS, *_metrics()]), encoding="utf-8")
    render(source / "extra" / SAMPLE)


def _renamed(text: str) -> str:
    """A page whose links name a README by what it is called in the site."""
    return re.sub(r"(\]\([\w./-]*?)README(\.ko)?\.md", r"\1index\2.md", text)


def _append(page: Path, text: str) -> None:
    page.write_text(page.read_text(encoding="utf-8") + text, encoding="utf-8")


def _metrics() -> Iterator[str]:
    primaries = {metric: workload for workload, metric in registry.primaries().items()}
    declared = {name: registry.workload(name) for name in registry.names(registry.WORKLOADS)}
    groups = {"Life of an instance": LIFECYCLE, "Memory of an idle instance": MEMORY, "Disk": DISK}
    groups |= {f"`{name}`: {each.title}": each.metrics for name, each in declared.items()}
    seen: set[str] = set()
    for title, metrics in groups.items():
        fresh = [metric for metric in metrics if metric.name not in seen]
        if fresh:
            yield f"\n## {title}\n"
        for metric in fresh:
            seen.add(metric.name)
            yield _metric(metric, primaries.get(metric.name))


def _metric(metric: Metric, primary_of: str | None) -> str:
    region = f"{metric.region:.0%}" if metric.scale == "ratio" else f"{metric.region:g} {metric.unit}"
    facts = {
        "primary": f"of the workload `{primary_of}`" if primary_of else "",
        "unit": metric.unit,
        "better": metric.better,
        "compared": metric.scale,
        "region": region if metric.scale != "exact" and metric.better != "neither" else "",
        "resolution": f"{metric.resolution:g} {metric.unit}" if metric.resolution else "",
    }
    said = " · ".join(f"{name}: {fact}" for name, fact in facts.items() if fact)
    return f"({metric.name})=\n### `{metric.name}`: {metric.title}\n\n{metric.definition}\n\n{said}\n"


def render(path: Path) -> None:
    """Make the page of the run that ships with the package: the sample is `tare demo`'s run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with as_file(files("tare_bench").joinpath("demo")) as folder:
        write_page(folder, path)


def build(site: Path) -> int:
    """Build the site into that folder; a warning fails it. Returns the exit status."""
    if site.is_dir() and any(site.iterdir()) and not (site / MARK).is_file():
        raise SystemExit(f"{site} holds something else: name a folder that is empty or not there")
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="tare-docs-") as made:
        source, doctrees = Path(made, "source"), Path(made, "doctrees")
        stage(source)
        extra = f"--define=html_extra_path={source / 'extra'}"
        options = (
            "--quiet",
            "--fail-on-warning",
            "--keep-going",
            f"--conf-dir={DOCS}",
            f"--doctree-dir={doctrees}",
            extra,
        )
        done = subprocess.run([sys.executable, "-m", "sphinx", *options, source, site], check=False)
        return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--refresh-sample", action="store_true", help=f"render {SAMPLE} again, and build nothing")
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "site", help="where to; by default site/")
    asked = parser.parse_args()
    if asked.refresh_sample:
        render(ROOT / SAMPLE)
        return 0
    return build(asked.site)


if __name__ == "__main__":
    sys.exit(main())
