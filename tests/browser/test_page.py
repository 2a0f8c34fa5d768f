"""The page in a real browser: silent, self-contained, whole without scripts, and never wider than a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from audits import audited, hostile_audit, reading
from runs import METRICS, PRIMARY, Setting, build, hostile, hostile_rates, troubled
from tare_bench.analysis import analyse
from tare_bench.model import Run
from tare_bench.reports.html import render_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.needs("chromium")

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
DARK = "--blink-settings=preferredColorScheme=0"
RUNS: dict[str, Callable[[], Run]] = {
    "usual": build,
    "troubled": troubled,
    "hostile": hostile,
    "throughput": lambda: build(Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk", "isolation"))),
    "hostile throughput": hostile_rates,
    "audited": lambda: audited(reading(1, "native"), reading(2, "docker"), reading(3, "kvm")),
    "hostile audit": hostile_audit,
    "simulated": lambda: build(Setting(accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated"))),
}


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    dom: str
    messages: list[str]
    requests: list[str]


def _visit(folder: Path, page: str, *options: str) -> Seen:
    """Open a page in a browser of its own and say what it showed, complained about and asked for."""
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(page, encoding="utf-8")
    own = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr", "--dump-dom")
    command = [str(CHROMIUM), *QUIET, *own, *options, file.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True, encoding="utf-8", errors="replace")
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(dom=done.stdout, messages=messages, requests=_asked_by_the_page(log))


def _asked_by_the_page(log: Path) -> list[str]:
    """Addresses that a page asked for; what the browser asks for by itself has no origin."""
    events: list[dict[str, Any]] = json.loads(log.read_text(encoding="utf-8"))["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    return [each["url"] for each in asked if each.get("initiator", "not an origin") != "not an origin"]


def _render(run: Run) -> str:
    return render_html(analyse(run, METRICS, PRIMARY))


def test_the_instruments_see_what_they_must(tmp_path: Path) -> None:
    seen = _visit(tmp_path, "<script>console.log('here')</script><img src='http://127.0.0.1:9/x.png'>")
    assert any("here" in message for message in seen.messages)
    assert "http://127.0.0.1:9/x.png" in seen.requests


@pytest.mark.parametrize(
    ("name", "options"), [*((name, ()) for name in RUNS), ("usual", (DARK,))], ids=[*RUNS, "usual in the dark"]
)
def test_the_page_is_silent_and_asks_for_nothing(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    seen = _visit(tmp_path, _render(RUNS[name]()), *options)
    assert seen.messages == []
    assert seen.requests == []
    assert 'id="answer"' in seen.dom


def test_it_is_not_the_policy_that_keeps_it_from_asking(tmp_path: Path) -> None:
    page = _render(build())
    open_page = page.replace("default-src 'none'", "default-src *")
    assert open_page != page
    assert _visit(tmp_path, open_page).requests == []


TWO = """<!DOCTYPE html><title>two</title>
<iframe id="on" srcdoc="{page}"></iframe><iframe id="off" sandbox="allow-same-origin" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const [on, off] = ["on", "off"].map(id => {{
    const body = document.getElementById(id).contentDocument.body;
    body.querySelectorAll("#tools, .sort, .copy").forEach(each => each.remove());  // what only scripts can do
    return body.innerText;
  }});
  document.body.dataset.same = on === off && on.length > 3000;
}});
</script>"""


def test_scripts_make_no_difference(tmp_path: Path) -> None:
    assert 'data-same="true"' in _visit(tmp_path, TWO.format(page=html.escape(_render(hostile())))).dom
    scripted = "<p>" + 1000 * "long " + "</p><script>document.write('on')</script>"
    (tmp_path / "control").mkdir()
    assert 'data-same="false"' in _visit(tmp_path / "control", TWO.format(page=html.escape(scripted))).dom


def _sheets(folder: Path, page: str) -> int:
    """On how many sheets of paper a page is printed."""
    folder.mkdir()
    file, paper = folder / "page.html", folder / "page.pdf"
    file.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={paper}", file.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    return len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))


def test_print_opens_what_is_folded(tmp_path: Path) -> None:
    style = _render(build()).partition("<style>")[2].partition("</style>")[0]
    body = f"<details><summary>more</summary>{400 * '<p>a line</p>'}</details>"
    assert _sheets(tmp_path / "page", f"<!DOCTYPE html><style>{style}</style>{body}") > 5
    assert _sheets(tmp_path / "control", f"<!DOCTYPE html>{body}") == 1


FRAME = """<!DOCTYPE html><title>frame</title><body style="margin:0">
<iframe id="frame" style="width:360px;height:800px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const inside = document.getElementById("frame").contentDocument;
  const root = inside.documentElement;
  document.body.dataset.beyond = root.scrollWidth - root.clientWidth;
  const over = [...inside.querySelectorAll("body *")].filter(each =>
    !each.closest(".scroll, .watermark, .skip, svg") && each.getBoundingClientRect().right > root.clientWidth + 1);
  document.body.dataset.over = over.map(each => each.tagName + "." + each.className).slice(0, 5).join(" ");
}});
</script>"""


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("usual", True),
        ("usual", False),
        ("troubled", False),
        ("hostile", False),
        ("throughput", False),
        ("hostile throughput", False),
    ],
)
def test_a_phone_never_scrolls_sideways(tmp_path: Path, name: str, folded: bool) -> None:
    page = _render(RUNS[name]())
    if not folded:
        page = page.replace("<details>", "<details open>")
    seen = _visit(tmp_path, FRAME.format(page=html.escape(page)))
    assert 'data-beyond="0"' in seen.dom
    assert 'data-over=""' in seen.dom
