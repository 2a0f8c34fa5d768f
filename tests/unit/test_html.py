"""The page: one file, whole, escaped, the same to the byte, and accessible as far as its text can tell."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from audits import audited, hostile_audit, reading
from runs import HOSTILE, METRICS, PRIMARY, Outcome, Setting, build, hostile, hostile_rates, troubled
from tare_bench import registry, store
from tare_bench.analysis import analyse
from tare_bench.model import Run
from tare_bench.reports.html import render_html

VOID = {"meta", "link", "br", "img", "hr", "input"}
TEN = Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk", "isolation"))
SETTINGS: dict[str, Callable[[], Run]] = {
    "usual": build,
    "troubled": troubled,
    "hostile": hostile,
    "simulated": lambda: build(Setting(accelerators=dict.fromkeys(("native", "docker", "kvm"), "simulated"))),
    "throughput": lambda: build(TEN),
    "hostile throughput": hostile_rates,
    "cut short": lambda: build(replace(TEN, throughput_done=0)),
    "alone": lambda: build(Setting(arms=("docker",), rounds=2)),
    "audited": lambda: audited(reading(1, "native"), reading(2, "docker"), reading(3, "kvm")),
    "hostile audit": hostile_audit,
    "broken": lambda: build(Setting(outcome=_broken)),
}


def _broken(arm: str, workload: str, block: int) -> Outcome:
    return "failed", "nothing works"


class Reader(HTMLParser):
    """Collects tags, and sees that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def _render(run: Run) -> str:
    metrics = METRICS
    if run.manifest.run == HOSTILE:
        metrics = {
            name: msgspec.structs.replace(metric, title=HOSTILE, definition=HOSTILE) for name, metric in METRICS.items()
        }
    return render_html(analyse(run, metrics, PRIMARY))


@cache
def _page(name: str) -> tuple[str, Reader]:
    page, reader = _without_ours(_render(SETTINGS[name]())), Reader()
    reader.feed(page)
    reader.close()
    return page, reader


SCRIPT = f"<script>{files('tare_bench.reports').joinpath('templates/page.js').read_text(encoding='utf-8')}</script>\n"


def _without_ours(page: str) -> str:
    """The page without the one script that is ours and the same in every page: nothing else may run."""
    assert page.count(SCRIPT) == 1
    return page.replace(SCRIPT, "")


every_page = pytest.mark.parametrize("name", SETTINGS)


@every_page
def test_what_is_opened_is_closed(name: str) -> None:
    assert _page(name)[1].open == []


@every_page
def test_nothing_is_fetched_and_nothing_runs(name: str) -> None:
    for tag, attributes in _page(name)[1].tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base", "form")
        for key, value in attributes.items():
            assert not key.startswith("on"), f"{tag} has {key}"
            if key in ("href", "src", "xlink:href", "srcset", "action"):
                assert value is not None
                assert value.startswith(("#", "data:")), f"{tag} {key}={value}"
    assert not re.search(r"@import|url\((?!#)", _page(name)[0])


@every_page
def test_the_policy_forbids_what_is_not_there(name: str) -> None:
    policies = [attributes for tag, attributes in _page(name)[1].tags if attributes.get("http-equiv")]
    ours = SCRIPT.removeprefix("<script>").removesuffix("</script>\n").encode()
    only = base64.b64encode(hashlib.sha256(ours).digest()).decode()
    assert [policy["content"] for policy in policies] == [
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{only}'"
    ]


@every_page
def test_ids_are_unique_and_links_lead_somewhere(name: str) -> None:
    tags = _page(name)[1].tags
    ids = Counter(attributes["id"] for _, attributes in tags if "id" in attributes)
    assert [key for key, n in ids.items() if n > 1] == []
    links = [value for _, a in tags for key in ("href", "xlink:href") if (value := a.get(key)) and value[0] == "#"]
    links += [f"#{key}" for _, a in tags for key in (a.get("aria-labelledby") or "").split()]
    links += re.findall(r"url\((#[^)]*)\)", _page(name)[0])
    assert {link[1:] for link in links} <= set(ids)


@every_page
def test_every_picture_has_a_role_and_a_name(name: str) -> None:
    for tag, attributes in _page(name)[1].tags:
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")


@every_page
def test_what_scrolls_can_be_reached_by_keyboard(name: str) -> None:
    scrolls = [attributes for _, attributes in _page(name)[1].tags if attributes.get("class") == "scroll"]
    assert scrolls
    for attributes in scrolls:
        assert attributes.get("tabindex") == "0"
        assert attributes.get("role") == "group"  # not a landmark: there are dozens of them
        assert attributes.get("aria-label") or attributes.get("aria-labelledby")


@every_page
def test_headings_go_down_one_at_a_time(name: str) -> None:
    levels = [int(tag[1]) for tag, _ in _page(name)[1].tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_hostile_names_are_text_and_nothing_else() -> None:
    page, reader = _page("hostile")
    assert HOSTILE not in page
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e]", page)
    assert "<script>alert('x')</script>\"&'" in reader.text


def test_the_same_run_gives_the_same_bytes() -> None:
    assert _render(build()) == _render(build())


def test_hostile_parameters_are_text_and_nothing_else() -> None:
    page, reader = _page("hostile throughput")
    assert HOSTILE not in page
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e]", page)
    assert "Redis GET, connections <script>alert('x')</script>\"&'" in reader.text


def test_throughput_is_drawn_and_said_in_tables() -> None:
    page, reader = _page("throughput")
    for place in ("rates", "forest", "sweep-redis.get.rate", "throughput"):
        assert f'id="{place}"' in page
    charts = re.findall(r"<svg role=.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 23
    assert all("EMULATED" in svg and "var(--ink)" in svg for svg in charts)
    for words in ("Redis GET, 10 connections (inside, loopback)", "5000 × request", "Host CPU for each event"):
        assert words in reader.text
    assert '{"' not in reader.text


def test_a_section_that_was_not_begun_says_so_and_has_no_empty_table() -> None:
    section = _page("cut short")[0].partition('<section id="throughput"')[2].partition("</section>")[0]
    assert "0 of 10 planned blocks of throughput measured" in section
    assert "<table" not in section


def test_a_run_that_was_stored_before_there_was_throughput_still_renders() -> None:
    folder = Path(__file__).parents[1] / "data/runs/before-throughput"
    manifest = (folder / store.MANIFEST).read_text(encoding="utf-8")
    assert "throughput_rounds" not in manifest
    assert '"cache"' not in manifest
    page = render_html(analyse(store.load(folder), registry.metrics(), registry.primaries()))
    assert "kvm (EMULATED) takes 20.8 times as long to boot" in page
    assert "not recorded" in page
    assert 'id="forest"' in page


def test_a_run_that_was_stored_before_twins_and_audits_still_renders() -> None:
    folder = Path(__file__).parents[1] / "data/runs/before-precision"
    assert "twins" not in (folder / store.MANIFEST).read_text(encoding="utf-8")
    page = render_html(analyse(store.load(folder), registry.metrics(), registry.primaries()))
    assert "No arm was measured twice in this run." in page
    assert "The number of blocks was fixed before the first trial" in page


def test_a_usual_page_is_light_enough_to_be_mailed() -> None:
    assert len(_page("usual")[0].encode()) < 400_000
    assert len(_page("throughput")[0].encode()) < 800_000


def test_the_answer_is_in_title_heading_and_favicon() -> None:
    page, reader = _page("usual")
    assert "<title>EMULATED · ◆ 2 slower/larger" in page
    icon = next(attributes for tag, attributes in reader.tags if tag == "link")
    assert icon["rel"] == "icon"
    assert (icon["href"] or "").startswith("data:image/svg+xml,")
    assert "%3E2%3C/text%3E" in (icon["href"] or "")
    assert re.search(r"<h1[^>]*>kvm \(EMULATED\) takes 41\.8 times as long to boot", page)


def test_emulation_is_in_plain_sight_in_tables_and_charts() -> None:
    page, _ = _page("usual")
    assert page.count('<span class="label">EMULATED</span>') >= 18
    for svg in re.findall(r"<svg role=.*?</svg>", page, flags=re.DOTALL):
        assert "EMULATED" in svg


def test_a_simulated_page_is_watermarked_and_others_are_not() -> None:
    assert '<div class="watermark" aria-hidden="true"><span>SIMULATED</span></div>' in _page("simulated")[0]
    assert 'class="watermark"' not in _page("usual")[0]


def test_charts_keep_their_text_and_follow_the_theme() -> None:
    page, _ = _page("usual")
    charts = re.findall(r"<svg role=.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 10
    for svg in charts:
        assert "<text" in svg
        assert "var(--ink)" in svg
        assert not re.search(r"#[0-9a-fA-F]{6}\b(?!\))", re.sub(r'(href="#|url\(#)[^")]*', "", svg))
        assert "font-family" not in svg
        assert "<style" not in svg


def test_a_name_with_dollars_is_no_formula_for_a_chart() -> None:
    setting = Setting(arms=("docker", "$x_1$"), names={"$x_1$": "docker"}, accelerators={}, workloads=("boot",))
    charts = re.findall(r"<svg role=.*?</svg>", _render(build(setting)), flags=re.DOTALL)
    assert charts
    assert all(">\u200b$x_1$<" in svg or ">$x_1$<" in svg for svg in charts)


def test_a_name_in_any_script_is_drawn_without_a_warning() -> None:
    setting = Setting(arms=("docker", "컨테이너"), names={"컨테이너": "docker"}, accelerators={}, workloads=("boot",))
    page = _render(build(setting))
    assert page.count("컨테이너</text>") >= 2


def test_every_chart_has_a_table_that_says_the_same() -> None:
    page, reader = _page("usual")
    folds = page.count('<details class="fold"')
    assert folds == 4  # boot, memory, disk and a rate
    assert page.count("The same as a table") == folds + 2  # and the waterfall and the forest
    assert "docker" in reader.text
    assert "not there" in reader.text


def test_failures_are_told_where_they_count() -> None:
    text = _page("troubled")[1].text
    for words in ("docker: no space left on device", "not READY within 180 s", "the rootfs has no sysbench"):
        assert words in text
    assert "2 of 180 trials failed" in text


def test_the_samples_can_be_taken_from_the_page() -> None:
    _, reader = _page("usual")
    link = next(attributes for tag, attributes in reader.tags if attributes.get("download"))
    head, _, data = (link["href"] or "").partition(",")
    assert head == "data:text/csv;charset=utf-8;base64"
    assert base64.b64decode(data).decode().startswith("trial,arm,workload,block")


def test_how_it_was_measured_is_all_there() -> None:
    text = _page("usual")[1].text
    for words in (
        "tare run --driver native,docker,kvm --seed 7",
        "A fixed number of blocks: 12.",
        "The host reads the first byte of the agent's READY.",
        "READY + 1.0 s",
        "Measurement floor",
        "Known biases",
        "AMD EPYC 7763",
        "27.3.1",
        "tare check kvm says what is missing",
        "2026-11-24T04:40:00Z",
    ):
        assert words in text


def test_no_run_at_all_is_still_a_page() -> None:
    page, reader = _page("broken")
    assert "There is not enough data to compare" in page
    assert "No boot was measured in this run." in reader.text


def _variables(block: str) -> dict[str, tuple[float, float, float]]:
    found = re.findall(r"--([a-z0-9-]+): #([0-9a-f]{6});", block)
    return {name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, code in found}  # type: ignore[misc]  # three of them


def _luminance(colour: tuple[float, float, float]) -> float:
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_contrast_in_both_themes(theme: str) -> None:
    style = _page("usual")[0].partition("<style>")[2].partition("</style>")[0]
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    colours = _variables(light) if theme == "light" else _variables(dark)

    def contrast(text: str, ground: str) -> float:
        pair = sorted((_luminance(colours[text]), _luminance(colours[ground])))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    for ground in ("paper", "card"):
        for text in ("ink", "muted", "link", "better", "worse", "same", "alarm"):
            assert contrast(text, ground) >= 4.5, f"{text} on {ground}"
    assert contrast("alarm", "alarm-bg") >= 4.5
    for arm in range(6):
        assert contrast(f"arm-{arm}", "paper") >= 3.0
